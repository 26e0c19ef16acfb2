"""How well extraction does its parts at once: stand-ins that sleep instead of computing.

    python benchmarks/extraction_overlap.py [--rounds 3] [--out FILE]

The whole extract stage runs, with its threads, queues and files, but decoding an image, the network
and writing a chunk take a fixed time and no processor, as decoding on other processors, a GPU and a
disk do. So the clock shows what overlaps, even where processors are busy with something else. The
ratio is the time that the slowest part takes alone over that of the stage, from the difference of a
longer and a shorter run, in which starting and stopping cancel out. The table goes to
docs/results/extraction-overlap.md; the exit code is 1 where a median is below 0.95.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from PIL import Image

from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extract import extract
from ltood.images.decoding import Geometry, decode, decoding_threads
from ltood.images.files import ImageFiles
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.checkpoint import write_checkpoint
from ltood.store.writer import SplitWriter

RESULT = Path(__file__).parents[1] / "docs" / "results" / "extraction-overlap.md"
BOUND = 0.95
BATCH, BATCHES, SIDE = 32, 24, 32
#: Threads that write; see `ltood.extraction.writing`.
WRITERS = 4


class Row(NamedTuple):
    """Seconds of each part: an image decoded by one thread, a batch, a chunk written by one."""

    decode: float
    network: float
    write: float

    def alone(self, batches: int, decoding: float) -> float:
        """Time of the slowest part, if nothing else ran; decoding alone is measured."""
        return max(decoding, batches * self.network, batches * self.write / WRITERS)


def rows() -> dict[str, Row]:
    """Rows of the table, each part 0.25 s a batch where it is the slowest."""
    threads = decoding_threads()
    slow, quick = 0.25 * threads / BATCH, 0.1 * threads / BATCH
    return {
        "decoding is slowest": Row(slow, 0.1, 0.1 * WRITERS),
        "the network is slowest": Row(quick, 0.25, 0.1 * WRITERS),
        "writing is slowest": Row(quick, 0.1, 0.25 * WRITERS),
        "the network is slowest, a chunk takes as long as a batch": Row(quick, 0.25, 0.25),
        "all take equally long": Row(slow, 0.25, 0.25 * WRITERS),
    }


class Images:
    """One picture, over and over."""

    def __init__(self, folder: Path, batches: int) -> None:
        num = batches * BATCH
        names = ("one.png",) * num
        self._files = ImageFiles(folder, names, np.full(num, -1), np.arange(num))
        self.class_names, self.class_counts = ("a", "b"), np.array([1, 1])
        splits = {"test": {"content": str(num)}}
        self.manifest = {"dataset": "made", "settings": {}, "splits": splits}

    def splits(self) -> tuple[str, ...]:
        """The only one."""
        return ("test",)

    def source(self, name: str) -> ImageFiles:
        """Its files."""
        assert name == "test"
        return self._files

    split = source


def slowly(seconds: float, call: Callable[..., Any]) -> Callable[..., Any]:
    """A call that takes so long."""

    def slow(*args: Any) -> Any:
        time.sleep(seconds)
        return call(*args)

    return slow


def stage(folder: Path, row: Row, batches: int, network: type) -> float:
    """Seconds of one extraction."""
    for name in ("store", "extracting"):
        shutil.rmtree(folder / name, ignore_errors=True)
    config = ExtractionConfig(batch_size=BATCH, rows_per_chunk=BATCH)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    features = torch.zeros(BATCH, 512)
    parts = (
        mock.patch.object(Geometry, "__call__", slowly(row.decode, lambda *_: pixels)),
        mock.patch.object(network, "embed", slowly(row.network, lambda *_: (features, None))),
        mock.patch.object(SplitWriter, "write", slowly(row.write, SplitWriter.write)),
        mock.patch.object(network, "geometry", Geometry((SIDE, SIDE))),
    )
    with parts[0], parts[1], parts[2], parts[3]:
        start = time.perf_counter()
        data = Images(folder, batches)
        extract(folder / "checkpoint", data, folder / "store", config, device_name="cpu")
        return time.perf_counter() - start


def decoding(folder: Path, row: Row, batches: int) -> float:
    """Seconds of decoding alone: a sleep for each image, and what opening its file takes."""
    files = Images(folder, batches).source("test")
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    start = time.perf_counter()
    for first in range(0, len(files), BATCH):
        decode(files, range(first, first + BATCH), slowly(row.decode, lambda *_: pixels))
    return time.perf_counter() - start


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Ratios of each row."""
    Image.new("RGB", (SIDE, SIDE)).save(folder / "one.png")
    spec = ImageSpec(3, SIDE, SIDE, (0.5,) * 3, (0.25,) * 3, 2)
    settings = {"variant": "18"}
    backbone = build_backbone("cifar_resnet", settings, spec).eval()
    (folder / "checkpoint").mkdir()
    described = {"name": "cifar_resnet", "settings": settings}
    rest = {"recipe": {}, "training": {}, "seed": 0, "fingerprint": "", "class_names": ["a", "b"]}
    write_checkpoint(folder / "checkpoint", backbone, {"backbone": described, **rest})
    found: dict[str, list[float]] = {}
    stage(folder, Row(0, 0, 0), 1, type(backbone))  # Imports, once.
    for name, row in rows().items():
        for _ in range(rounds):
            alone = row.alone(BATCHES, decoding(folder, row, BATCHES))
            # The difference of two runs, so that filling and emptying the queues is taken off.
            short = stage(folder, row, BATCHES // 2, type(backbone))
            long = stage(folder, row, BATCHES + BATCHES // 2, type(backbone))
            found.setdefault(name, []).append(alone / (long - short))
        print(name, [round(ratio, 3) for ratio in found[name]], flush=True)
    return found


def main() -> int:
    """Measure and write the page; 1 where the bound is broken."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.rounds)
    lines = [
        f"| {name} | {1e3 * row.decode:.0f} | {1e3 * row.network:.0f} | {1e3 * row.write:.0f} | "
        f"{statistics.median(found[name]):.2f} ({min(found[name]):.2f} to "
        f"{max(found[name]):.2f}) |"
        for name, row in rows().items()
    ]
    text = [
        "# Extraction: what overlaps",
        "",
        f"The stage with stand-ins that sleep, {decoding_threads()} decoding and {WRITERS} writing "
        f"threads, batches of {BATCH}, {options.rounds} rounds, load of the machine "
        f"{os.getloadavg()[0]:.0f}; see `benchmarks/extraction_overlap.py`. Times are those of one "
        "thread; a ratio above 1 is chance.",
        "",
        "| | Image, ms | Batch, ms | Chunk, ms | Slowest part alone / the stage |",
        "|---|---|---|---|---|",
        *lines,
        "",
    ]
    options.out.write_text("\n".join(text))
    return int(min(statistics.median(ratios) for ratios in found.values()) < BOUND)


if __name__ == "__main__":
    sys.exit(main())
