"""Methods of extra arrays and other poolings on real images: figures, and what extraction costs.

    python -m benchmarks.extra_arrays DATA_FOLDER TRAIN_NPZ WORK_FOLDER

DATA_FOLDER holds densenet_bc100_cifar10.pth (the CIFAR-10 checkpoint that DICE published, Sun and
Li, ECCV 2022), cifar10_test.npz, cifar100_partial.npz and ood32_imagenet1k_resize.npz; TRAIN_NPZ
the images and labels of the training set. Every hundredth training image is fitted on; the first
400 test images are ID, the last 200 are held out (for AdaSCALE), and 250 images of each OOD set are
tested, so that it takes minutes on one core.

WORK_FOLDER keeps checkpoint and features, so that a second run computes nothing again. Seconds
are those of one core; each group of extra arrays is added to the store of the run before.
"""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extract import extract
from ltood.images.arrays import ImageSplit
from ltood.store.features import FeatureStore
from ltood.store.pooled import PooledStore, PoolingConfig
from ltood.training.plan import Plan, TrainingConfig
from ltood.training.train import train

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
METHODS = (
    *("msp", "energy", "react", "ash", "scale", "odin", "adascale", "mahalanobis"),
    *("react_map", "ash_map", "rankfeat", "mahalanobis_layers", "gram"),
)
POOLED = ("msp", "energy", "react", "ash", "scale", "knn")
GROUPS = ("odin", "adascale", "pooling", "maps", "layers", "gram")
#: Rows of an OOD set.
MOST = 250


class Images:
    """`ImageData` of the packs."""

    class_names = tuple(str(number) for number in range(10))

    def __init__(self, data: Path, train: Path) -> None:
        def load(path: Path, images: str, labels: str | None = None) -> Any:
            with np.load(path) as archive:
                found = archive[images]
                return found, archive[labels] if labels else np.full(len(found), -1)

        pixels, labels = load(train, "images", "labels")
        tested, classes = load(data / "cifar10_test.npz", "images", "labels")
        self._splits = {
            "train": _split(pixels[::100], labels[::100]),
            "val": _split(tested[-200:], classes[-200:]),
            "test": _split(tested[:400], classes[:400]),
            "ood_cifar100": _split(*load(data / "cifar100_partial.npz", "test_images"), MOST),
            "ood_imagenet": _split(*load(data / "ood32_imagenet1k_resize.npz", "images"), MOST),
        }
        self.class_counts = np.bincount(self._splits["train"].labels, minlength=10)

    @property
    def manifest(self) -> dict[str, Any]:
        """What the splits hold."""
        content = {
            name: {"rows": len(split), "content": hashlib.sha256(split.images).hexdigest()}
            for name, split in self._splits.items()
        }
        return {"dataset": "packs", "settings": {}, "splits": content}

    def splits(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._splits)

    def split(self, name: str) -> ImageSplit:
        """Images of one split."""
        return self._splits[name]

    source = split


def _split(images: NDArray[np.uint8], labels: NDArray[Any], most: int | None = None) -> ImageSplit:
    """A split of at most so many rows, spread evenly."""
    rows = np.arange(len(labels))
    if most is not None:
        rows = np.linspace(0, len(labels) - 1, most).astype(np.int64)
    return ImageSplit(np.ascontiguousarray(images[rows]), labels[rows].astype(np.int64), rows)


def extracted(images: Images, data: Path, work: Path) -> tuple[FeatureStore, dict[str, float]]:
    """The store with all groups, and processor seconds by group."""
    out, seconds = work / "features.zarr", {}
    settings = {"mean": MEAN, "std": STD}
    plan = Plan(
        backbone="densenet_bc100",
        backbone_settings=settings,
        recipe="pretrained",
        recipe_settings={},
        training=TrainingConfig(weights=str(data / "densenet_bc100_cifar10.pth")),
        seed=0,
    )
    if not (work / "checkpoint").exists():
        train(plan, images, work / "checkpoint", "cpu", state_folder=work / "training")
    for number in range(len(GROUPS) + 1):
        extras = GROUPS[:number]
        start = time.process_time()
        extract(
            work / "checkpoint",
            images,
            out,
            ExtractionConfig(extras=extras, batch_size=50),
            device_name="cpu",
        )
        seconds[extras[-1] if extras else "plain"] = time.process_time() - start
    return FeatureStore.open(out), seconds


def main(data: Path, train_file: Path, work: Path) -> None:
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    store, seconds = extracted(Images(data, train_file), data, work)
    found: dict[str, Any] = {"seconds": seconds}
    boards: dict[str, tuple[Any, tuple[str, ...]]] = {"average": (store, METHODS)}
    boards["max"] = (PooledStore(store, PoolingConfig("max")), POOLED)
    boards["mean_std"] = (PooledStore(store, PoolingConfig("mean_std")), POOLED)
    for pooling, (seen, methods) in boards.items():
        board, timings = compare(seen, Config(methods=methods), {}, device="cpu")
        found[pooling] = {"rows": board["rows"], "timings": list(timings)}
    board, timings = compare(
        store, Config(methods=("adascale",)), {"methods": {"adascale": {"kind": "l"}}}, device="cpu"
    )
    found["adascale l"] = {"rows": board["rows"], "timings": list(timings)}
    (work / "found.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(seconds, indent=1))
    for pooling, board in found.items():
        for row in board["rows"] if pooling != "seconds" else ():
            print(pooling, table_row(row))


def table_row(row: dict[str, Any]) -> str:
    """Method, and for each OOD set FPR95 with ID positive and AUROC, in percent."""
    cells = [
        f"{100 * figures['fpr95_id_pos']:.2f} / {100 * figures['auroc']:.2f}"
        for figures in (row["ood"][name] for name in ("cifar100", "imagenet"))
    ]
    return f"| {row['method']} | {' | '.join(cells)} |"


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m benchmarks.extra_arrays DATA_FOLDER TRAIN_NPZ WORK_FOLDER")
    main(*map(Path, sys.argv[1:]))
