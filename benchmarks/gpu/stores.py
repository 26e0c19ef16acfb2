"""Stores, images and checkpoints of random numbers, made fast."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltood.images.arrays import ImageSplit
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.checkpoint import write_checkpoint
from ltood.store.features import FeatureWriter
from ltood.store.layout import ArraySpec, SplitSpec, StoreSpec


def random_store(path: Path, rows: int, dim: int, classes: int, dtype: str = "float16") -> Path:
    """A store whose classes are clouds and whose outliers lie between them.

    Args:
        path: Folder to create.
        rows: Training rows.
        dim: Features D.
        classes: Classes C.
        dtype: Number format of features.
    """
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, dim, generator=generator)
    weight = (centres * 0.3).numpy()
    arrays = {
        "features": ArraySpec(dtype, (dim,)),
        "logits": ArraySpec(dtype, (classes,)),
        "labels": ArraySpec("int64"),
        "ids": ArraySpec("int64"),
    }
    few = max(60, min(rows // 10, 4_096))
    sizes = {"train": rows, "val": few, "test": few, "aux": few, "ood_random": few}
    spec = StoreSpec({name: SplitSpec(num, arrays) for name, num in sizes.items()})
    head = {"weight": weight, "bias": np.zeros(classes, np.float32)}
    names = [f"class {label}" for label in range(classes)]
    counts = np.bincount(np.arange(rows) % classes, minlength=classes)
    writer = FeatureWriter.create(path, spec, {"source": "random"}, head, names, counts)
    for name in sizes:
        known = name in ("train", "val", "test")
        for start, stop in writer.missing(name):
            ids = np.arange(start, stop)
            middle = centres[ids % classes] if known else centres.mean(dim=0)
            noise = torch.randn(len(ids), dim, generator=generator)
            features = (middle + noise).relu_()
            content = {
                "features": features.numpy().astype(dtype),
                "logits": (features.numpy() @ weight.T).astype(dtype),
                "labels": ids % classes if known else np.full(len(ids), -1),
                "ids": ids,
            }
            writer.write(name, start, content)
    writer.finish()
    return path


class Images:
    """Random images of one split, or files, as `ImageData`."""

    def __init__(self, source: Any, classes: int = 10) -> None:
        """Take what holds them."""
        self._source = source
        self.class_names = tuple(f"class {number}" for number in range(classes))
        self.class_counts = np.full(classes, 10)
        content = f"{type(source).__name__} of {len(source)}"
        splits = {"train": {"rows": len(source), "content": content}}
        self.manifest: dict[str, Any] = {"dataset": "random", "settings": {}, "splits": splits}

    def splits(self) -> tuple[str, ...]:
        """Training images only."""
        return ("train",)

    def source(self, name: str) -> Any:
        """The images."""
        assert name == "train"
        return self._source

    split = source


def random_images(rows: int, side: int, classes: int = 10) -> Images:
    """Pixels in memory, so that decoding takes no part."""
    pixels = np.random.default_rng(0).integers(0, 256, (rows, side, side, 3), dtype=np.uint8)
    labels = np.arange(rows, dtype=np.int64) % classes
    return Images(ImageSplit(pixels, labels, np.arange(rows, dtype=np.int64)), classes)


def random_checkpoint(path: Path, name: str, settings: dict[str, Any], side: int) -> Path:
    """A network with random weights, as the train stage writes it."""
    torch.manual_seed(0)
    spec = ImageSpec(3, side, side, (0.5,) * 3, (0.25,) * 3, 10)
    backbone = build_backbone(name, settings, spec).eval()
    path.mkdir()
    content = {
        "backbone": {"name": name, "settings": settings},
        "recipe": {},
        "training": {},
        "seed": 0,
        "fingerprint": "",
        "class_names": [f"class {number}" for number in range(10)],
    }
    write_checkpoint(path, backbone, content)
    return path
