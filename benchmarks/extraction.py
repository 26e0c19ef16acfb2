"""The extract stage beside its parts alone: decoding, the bare network, writing.

    python benchmarks/extraction.py [--row NAME]... [--pictures FOLDER] [--scale 1] [--rounds 3]
        [--device cpu] [--amp off] [--threads N]

Random weights. Rows from arrays read random pixels; rows from files read the pictures of a folder
over and over, or noise of 500 x 375 pixels that is written as JPEG where no folder is given. In
every round, in one process and with equally many threads:

- decode alone: the pixels of every batch, by the threads that extraction takes;
- forward alone: the network on ready batches in memory, float32 and scaled, under inference mode;
- write alone: the same rows into a new store, chunk by chunk;
- extract: the whole stage, less what it costs on one batch (reading the checkpoint, making the
  store), which does not grow with the images.

Ratios of 1 are the best there is. By the clock: the slowest part alone, or the sum of all processor
seconds spread over all processors where that is more, over the stage's time. Where parts share
processors, no order of work beats that. By processor time: the sum of the parts over the stage's.
Where other programs take the processors, only the last means something. The table is added to
docs/results/extraction.md; the exit code is 1 where a median by the clock is below 0.95.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extract import extract
from ltood.images.arrays import ImageSplit
from ltood.images.decoding import decode
from ltood.images.files import ImageFiles
from ltood.networks.backbone import Backbone, ImageSpec, build_backbone
from ltood.networks.checkpoint import write_checkpoint
from ltood.runtime.devices import autocast, deterministic, resolve_precision
from ltood.runtime.process import keep_freed_memory
from ltood.store.features import FeatureStore
from ltood.store.layout import StoreSpec
from ltood.store.writer import FeatureWriter

RESULT = Path(__file__).parents[1] / "docs" / "results" / "extraction.md"
BOUND = 0.95
CLASSES = ("a", "b")


class Row(NamedTuple):
    """One line of the table."""

    backbone: str
    settings: dict[str, Any]
    side: int
    files: bool
    images: int
    batch: int


_VIT = {"model": "vit_base_patch16_224"}
_RESNET = {"model": "resnet50"}
ROWS = {
    "ResNet-18 (CIFAR), arrays": Row("cifar_resnet", {"variant": "18"}, 32, False, 768, 128),
    "DenseNet-BC-100, arrays": Row("densenet_bc100", {}, 32, False, 768, 128),
    "ResNet-50, arrays": Row("timm_model", _RESNET, 224, False, 64, 16),
    "ResNet-50, JPEG": Row("timm_model", _RESNET, 224, True, 64, 16),
    "ViT-B/16, arrays": Row("timm_model", _VIT, 224, False, 32, 8),
    "ViT-B/16, JPEG": Row("timm_model", _VIT, 224, True, 32, 8),
}


class Images:
    """Images of one split, as extraction reads them."""

    def __init__(self, source: ImageSplit | ImageFiles) -> None:
        self._source = source
        self.class_names, self.class_counts = CLASSES, np.array([1, 1])
        self.manifest = {
            "dataset": "made",
            "settings": {},
            "splits": {"test": {"content": str(len(source))}},
        }

    def splits(self) -> tuple[str, ...]:
        """The only one."""
        return ("test",)

    def source(self, name: str) -> Any:
        """Its images."""
        assert name == "test"
        return self._source

    split = source


def noise(folder: Path) -> list[Path]:
    """Smooth noise of the size of usual photographs, as JPEG files."""
    from PIL import Image

    rng, found = np.random.default_rng(0), []
    for place in range(32):
        small = rng.integers(256, size=(75, 100, 3), dtype=np.uint8)
        found.append(folder / f"{place}.jpg")
        Image.fromarray(small).resize((500, 375)).save(found[-1], quality=92)
    return found


def images_of(row: Row, num: int, pictures: list[Path]) -> Images:
    """The images of a row of the table."""
    labels, ids = np.full(num, -1), np.arange(num)
    if row.files:
        names = tuple(pictures[place % len(pictures)].name for place in range(num))
        return Images(ImageFiles(pictures[0].parent, names, labels, ids))
    shape = (num, row.side, row.side, 3)
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    return Images(ImageSplit(pixels, labels, ids))


class Spent(NamedTuple):
    """Seconds of one call."""

    wall: float
    processor: float


def spent(call: Callable[[], object], device: torch.device) -> Spent:
    """Time that a call takes, by the clock and of all processors."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter(), time.process_time()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Spent(time.perf_counter() - start[0], time.process_time() - start[1])


class Bench:
    """One row of the table, ready to be measured."""

    def __init__(self, row: Row, options: argparse.Namespace, folder: Path) -> None:
        self.row, self.folder, self.device = row, folder, torch.device(options.device)
        pictures = sorted(Path(options.pictures).iterdir()) if options.pictures else []
        if row.files and not pictures:
            (folder / "pictures").mkdir()
            pictures = noise(folder / "pictures")
        self.num = max(2, round(row.images * options.scale / row.batch)) * row.batch
        self.images = images_of(row, self.num, pictures)
        self.one_batch = images_of(row, row.batch, pictures)
        spec = ImageSpec(3, row.side, row.side, (0.5,) * 3, (0.25,) * 3, len(CLASSES))
        torch.manual_seed(0)
        backbone = build_backbone(row.backbone, row.settings, spec).eval()
        self.checkpoint = checkpoint(folder / "checkpoint", backbone, row)
        self.config = ExtractionConfig(batch_size=row.batch, amp=options.amp)
        self.precision = resolve_precision(self.config.amp, self.device)
        last = self.device.type == "cuda"
        self.layout = torch.channels_last if last else torch.contiguous_format
        self.backbone = backbone.to(self.device).to(memory_format=self.layout)
        self.ready = [
            (torch.from_numpy(block).permute(0, 3, 1, 2).float() / 255)
            .to(self.device)
            .contiguous(memory_format=self.layout)
            for block in self._blocks()
        ]

    def _blocks(self) -> Iterator[NDArray[np.uint8]]:
        source, geometry = self.images.source("test"), self.backbone.geometry
        for first in range(0, self.num, self.row.batch):
            rows = range(first, first + self.row.batch)
            if self.row.files:
                assert geometry is not None
                yield decode(source, rows, geometry)
            else:
                yield np.array(source.pixels[first : first + self.row.batch])

    def decode(self) -> None:
        """Decode alone."""
        for _ in self._blocks():
            pass

    def forward(self) -> None:
        """The network alone."""
        with torch.inference_mode(), deterministic(self.device):
            for block in self.ready:
                with autocast(self.device, self.precision):
                    features = self.backbone.embed(block)[0]
                self.backbone.classify(features.float())

    def write(self) -> None:
        """Write the rows of the finished store alone; they are in memory."""
        path = self.folder / "written"
        shutil.rmtree(path, ignore_errors=True)
        writer = FeatureWriter.create(path, *self.description)
        for start, arrays in self.chunks:
            writer.write("test", start, arrays)
        writer.finish()

    def extract(self, images: Images) -> None:
        """The whole stage."""
        store = self.folder / "store"
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(self.folder / "extracting", ignore_errors=True)
        extract(self.checkpoint, images, store, self.config, device_name=str(self.device))

    def warm_up(self) -> None:
        """Run everything once, and keep the rows that are written alone."""
        self.forward()
        self.extract(self.one_batch)
        self.extract(self.images)
        store = FeatureStore.open(self.folder / "store")
        split = store.split("test")
        step = store.files("test").chunk_rows
        rows = split.load(split.arrays)
        starts = range(0, self.num, step)
        self.chunks = [(s, {k: v[s : s + step] for k, v in rows.items()}) for s in starts]
        made = (store.provenance, store.head_arrays(), CLASSES, self.images.class_counts)
        spec = StoreSpec({"test": store.files("test").spec})
        self.description = (spec, *made)
        self.write()

    def round(self) -> dict[str, Spent]:
        """Seconds of each part, and of the stage."""
        found = {
            name: spent(call, self.device)
            for name, call in {
                "decode": self.decode,
                "forward": self.forward,
                "write": self.write,
                "once": lambda: self.extract(self.one_batch),
                "extract": lambda: self.extract(self.images),
            }.items()
        }
        once, more = found.pop("once"), self.num / (self.num - self.row.batch)
        pairs = zip(found["extract"], once, strict=True)
        found["extract"] = Spent(*((whole - fixed) * more for whole, fixed in pairs))
        return found


def checkpoint(folder: Path, backbone: Backbone, row: Row) -> Path:
    """A folder with the backbone, as the train stage writes it."""
    folder.mkdir()
    described = {"name": row.backbone, "settings": row.settings}
    rest = {"recipe": {}, "training": {}, "seed": 0, "fingerprint": ""}
    write_checkpoint(
        folder, backbone, {"backbone": described, **rest, "class_names": list(CLASSES)}
    )
    return folder


PARTS = ("decode", "forward", "write")


def by_the_clock(found: dict[str, Spent], processors: int) -> float:
    """Least time that any order of the parts takes, over the stage's."""
    slowest = max(found[name].wall for name in PARTS)
    shared = sum(found[name].processor for name in PARTS) / processors
    return max(slowest, shared) / found["extract"].wall


def of_the_slowest(found: dict[str, Spent]) -> float:
    """Time of the slowest part alone, over the stage's."""
    return max(found[name].wall for name in PARTS) / found["extract"].wall


def by_processor(found: dict[str, Spent]) -> float:
    """Processor seconds of the parts, over the stage's."""
    return sum(found[name].processor for name in PARTS) / found["extract"].processor


def line(name: str, num: int, rounds: list[dict[str, Spent]], processors: int) -> str:
    """A row of the table."""
    rates = [
        f"{num / max(1e-9, statistics.median(found[part].wall for found in rounds)):,.0f}"
        for part in (*PARTS, "extract")
    ]
    ratios = [
        [by_the_clock(found, processors) for found in rounds],
        [of_the_slowest(found) for found in rounds],
        [by_processor(found) for found in rounds],
    ]
    told = [f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios]
    return f"| {' | '.join([name, *rates, *told])} |"


def main() -> int:
    """Measure and write the page; 1 where the bound is broken."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", action="append", choices=tuple(ROWS))
    parser.add_argument("--pictures", help="folder of image files")
    parser.add_argument("--scale", type=float, default=1, help="times the images of each row")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", choices=("off", "auto", "bf16"), default="off")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    keep_freed_memory()  # as every command does
    torch.set_num_threads(options.threads)
    lines, worst = [], 1.0
    for name in options.row or ROWS:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(ROWS[name], options, Path(folder))
            bench.warm_up()
            rounds = [bench.round() for _ in range(options.rounds)]
        lines.append(line(name, bench.num, rounds, options.threads))
        print(lines[-1], flush=True)
        worst = min(
            worst, statistics.median(by_the_clock(found, options.threads) for found in rounds)
        )
    where = options.device
    if where.startswith("cuda"):
        where = torch.cuda.get_device_name(torch.device(where))
    text = [
        f"## {where}, {options.threads} threads, amp {options.amp}, {options.rounds} rounds, "
        f"load of the machine {os.getloadavg()[0]:.0f}",
        "",
        "| Network and source | Decode alone | Forward alone | Write alone | Extract |"
        " To the least possible time | To the slowest part | Processor seconds |",
        "|---|---|---|---|---|---|---|---|",
        *lines,
        "",
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("a") as file:
        file.write("\n".join(["", *text]))
    return int(worst < BOUND)


if __name__ == "__main__":
    sys.exit(main())
