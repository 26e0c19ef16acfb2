"""Extraction of CLIP's global and local features, beside the bare tower's forward pass.

    python benchmarks/clip_extraction.py [--model ViT-B-16-quickgelu] [--images 64] [--rounds 3]
        [--batch 16] [--device cpu] [--amp off]

The real shape with random weights, random images of the model's size. The bare tower is
open_clip's own `visual` on ready batches in memory, which gives global features only and writes
nothing. Ours is the whole extract stage: a store with global features, local ones in float16,
checksums and markers; what it costs once (reading the checkpoint, making the store) is measured
on one batch and taken off. Both run in turn in one process with equally many threads. Processor
seconds are compared (on a GPU, wall seconds), those of each round with one another; the table shows
smallest, median and largest ratio, and the exit code is 1 where the median says that ours has less
than 95 % of the bare tower's speed. The table goes to docs/results/clip-extraction.md.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extract import extract
from ltood.images.arrays import ImageSplit
from ltood.networks.backbone import Backbone, ImageSpec, build_backbone
from ltood.networks.checkpoint import write_checkpoint
from ltood.runtime.devices import autocast, deterministic, resolve_precision
from ltood.runtime.process import keep_freed_memory
from ltood.store.features import FeatureStore

RESULT = Path(__file__).parents[1] / "docs" / "results" / "clip-extraction.md"
BOUND = 0.95


class Images:
    """Random images of one split, as extraction reads them."""

    def __init__(self, num: int, size: int) -> None:
        rng = np.random.default_rng(0)
        pixels = rng.integers(256, size=(num, size, size, 3), dtype=np.uint8)
        self._split = ImageSplit(pixels, np.full(num, -1), np.arange(num))
        self.class_names, self.class_counts = ("a", "b"), np.array([1, 1])
        self.manifest = {"dataset": "random", "settings": {}, "splits": {}}

    def splits(self) -> tuple[str, ...]:
        """The only one."""
        return ("test",)

    def split(self, name: str) -> ImageSplit:
        """Its images."""
        assert name == "test"
        return self._split

    source = split


def checkpoint(folder: Path, backbone: Backbone, settings: dict[str, Any]) -> Path:
    """A folder with the backbone, as the train stage writes it."""
    folder.mkdir()
    described = {"name": "clip", "settings": settings}
    rest = {"recipe": {}, "training": {}, "seed": 0, "fingerprint": "", "class_names": ["a", "b"]}
    write_checkpoint(folder, backbone, {"backbone": described, **rest})
    return folder


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Time of one call: of all threads on a processor, by the clock on a GPU."""
    if device.type != "cuda":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Seconds of every round of the bare tower, of our tower, and of the whole stage."""
    device = torch.device(options.device)
    settings = {"model": options.model}
    images = ImageSpec(3, 224, 224, (0.5,) * 3, (0.25,) * 3, 2)
    torch.manual_seed(0)
    backbone = build_backbone("clip", settings, images).eval()
    trained = checkpoint(folder / "checkpoint", backbone, settings)
    backbone = backbone.to(device)
    size = backbone.geometry.size[0] if backbone.geometry else 224
    data = Images(options.images, size)
    config = ExtractionConfig(
        batch_size=options.batch, amp=options.amp, channels_last=False, rows_per_chunk=options.batch
    )
    precision = resolve_precision(config.amp, device)
    pixels = torch.from_numpy(data.split("test").images)
    ready = [
        (block.permute(0, 3, 1, 2).float() / 255).contiguous().to(device)
        for block in torch.split(pixels, options.batch)
    ]
    visual: Any = backbone.get_submodule("clip.visual")

    def run(network: Callable[[torch.Tensor], object]) -> None:
        with torch.inference_mode(), deterministic(device), autocast(device, precision):
            for block in ready:
                network(block)

    def stage(images: Images) -> None:
        shutil.rmtree(folder / "store", ignore_errors=True)
        extract(trained, images, folder / "store", config, device_name=options.device)

    one_batch = Images(options.batch, size)
    run(visual)
    run(backbone.embed)
    stage(one_batch)
    assert FeatureStore.open(folder / "store").split("test").arrays[2:] == ["labels", "local"]
    times: dict[str, list[float]] = {"tower": [], "ours": [], "stage": []}
    for _ in range(options.rounds):
        times["tower"].append(seconds(lambda: run(visual), device))
        times["ours"].append(seconds(lambda: run(backbone.embed), device))
        once = seconds(lambda: stage(one_batch), device)
        more = options.images / (options.images - options.batch)
        times["stage"].append((seconds(lambda: stage(data), device) - once) * more)
    return times


def main() -> int:
    """Measure and write the page; 1 where the bound is broken."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-16-quickgelu")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", choices=("off", "auto", "bf16"), default="off")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.images < 2 * options.batch:
        parser.error("give at least two batches of images")
    keep_freed_memory()  # as every command does; the bare tower gains as much
    with tempfile.TemporaryDirectory() as folder:
        times = measure(options, Path(folder))
    where, wall = options.device, options.device.startswith("cuda")
    if wall:
        where = torch.cuda.get_device_name(torch.device(where))
    else:
        where = f"{torch.get_num_threads()} processor thread(s)"
    title = {
        "tower": "bare tower of open_clip, global features",
        "ours": "our tower, global and local features",
        "stage": "extract stage, global and local features in the store",
    }
    ratios = {
        name: [bare / own for bare, own in zip(times["tower"], values, strict=True)]
        for name, values in times.items()
    }
    rows = [
        f"| {title[name]} | {options.images / statistics.median(times[name]):.1f} | "
        f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f}) |"
        for name, values in ratios.items()
    ]
    lines = [
        f"### {options.model}, {where}, amp {options.amp}",
        "",
        f"{options.images} images in batches of {options.batch}, random weights, {options.rounds} "
        "rounds. From the stage is taken off what it costs once, whatever the number of images "
        "(reading the checkpoint, making the store).",
        "",
        f"| What | Images per {'' if wall else 'processor '}second, median | Speed, to the bare "
        "tower's in the same round: median (smallest to largest) |",
        "|---|---|---|",
        *rows,
        "",
    ]
    print("\n".join(lines))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(lines))
    return int(statistics.median(ratios["stage"]) < BOUND)


if __name__ == "__main__":
    sys.exit(main())
