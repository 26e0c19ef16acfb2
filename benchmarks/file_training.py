"""Training batches from picture files, beside torchvision's ImageFolder and a DataLoader.

    python benchmarks/file_training.py [--images 1000] [--batch-size 64] [--rounds 3] [--workers N]

JPEG files of about 500 x 375 pixels (noise and shapes) are made in a temporary folder. Ours is the
stream that training reads: checksum of the file, decoding by threads, random parts of 224 pixels,
the rest of the augmentation on whole batches, two batches ahead. The other is what published
trainings run: a DataLoader with worker processes, and torchvision's transforms on PIL images, for
two views as a transform that is called twice on the opened picture. Both give float batches on
the processor and train nothing. They run in turn with equally many workers, the threads that
compute held to one. Processor seconds (user and system) are those of all threads and of all
worker processes, and are what the two are compared by. Wall time says how well the work runs side
by side only where the machine is free: *processors* shows how many of them a side had, and a busy
machine grants both the same few. The table goes to docs/results/file-training.md.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from ltood.core.prior import ClassPrior
from ltood.images.checking import check_files
from ltood.images.decoding import decoding_threads
from ltood.images.files import ImageFiles
from ltood.networks.backbone import Backbone, ImageSpec, build_backbone
from ltood.recipes import StepBatch, TrainingRecipe
from ltood.training.batches import Batches
from ltood.training.plan import Augmentation, Plan, TrainingConfig

RESULT = Path(__file__).parents[1] / "docs" / "results" / "file-training.md"
CLASSES = 4
SIZE = 224
#: Augmentation and number of views of each row of the table.
CASES: tuple[tuple[Augmentation, int], ...] = (("basic", 1), ("jitter", 1), ("jitter", 2))


class Cost(NamedTuple):
    """What one pass over the pictures takes, in seconds."""

    processor: float
    wall: float


class Views(TrainingRecipe):
    """Asks for views and learns nothing."""

    def __init__(self, prior: ClassPrior, num_views: int) -> None:
        super().__init__(prior)
        self.num_views = num_views

    def losses(self, batch: StepBatch) -> dict[str, torch.Tensor]:
        """None: what is measured are the pictures."""
        return {}


class Pictures:
    """A folder of JPEG files as `ImageData`."""

    def __init__(self, root: Path, num: int) -> None:
        """Make the files and take their checksums, which also brings them into memory."""
        rng = np.random.default_rng(0)
        labels = np.arange(num, dtype=np.int64) % CLASSES
        paths = tuple(f"class {label}/{row}.jpg" for row, label in enumerate(labels))
        for row, path in enumerate(paths):
            (root / path).parent.mkdir(exist_ok=True)
            size = (int(rng.integers(450, 551)), int(rng.integers(340, 411)))
            drawn(rng, size, row).save(root / path, quality=90)
        files = ImageFiles(root, paths, labels, np.arange(num, dtype=np.int64))
        self.files = check_files(files).files
        self.class_names = tuple(f"class {number}" for number in range(CLASSES))
        self.class_counts = np.bincount(labels, minlength=CLASSES)
        self.manifest: dict[str, Any] = {"dataset": "drawn", "settings": {}, "splits": {}}

    def splits(self) -> tuple[str, ...]:
        """Training pictures only."""
        return ("train",)

    def source(self, name: str) -> ImageFiles:
        """The files."""
        assert name == "train"
        return self.files

    def split(self, name: str) -> Any:
        """There are no arrays."""
        raise KeyError(name)


def drawn(rng: np.random.Generator, size: tuple[int, int], row: int) -> Image.Image:
    """Smooth noise with fine noise and eight shapes on it."""
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    picture = coarse.resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for number in range(8):
        left, top = (int(rng.integers(0, side)) for side in size)
        box = (left, top, left + int(rng.integers(10, 200)), top + int(rng.integers(10, 200)))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        (pen.ellipse if (row + number) % 2 else pen.rectangle)(box, fill=colour)
    fine = rng.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(picture) + fine).clip(0, 255).astype(np.uint8))


def measured(run: Callable[[], int], expected: int) -> Cost:
    """Processor and wall seconds of a call that gives `expected` views, its workers included."""
    wall, before = time.perf_counter(), processor_seconds()
    seen = run()
    cost = Cost(processor_seconds() - before, time.perf_counter() - wall)
    if seen != expected:
        raise RuntimeError(f"{seen} views were seen instead of {expected}")
    return cost


def processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def ours(data: Pictures, backbone: Backbone, kind: Augmentation, views: int, batch: int) -> int:
    """All batches of one epoch; gives the number of views seen."""
    config = TrainingConfig(epochs=1, batch_size=batch, augmentation=kind)
    plan = Plan("mobilenet_v2", {}, "cross_entropy", {}, config)
    recipe = Views(ClassPrior(data.class_counts), views)
    device = torch.device("cpu")
    stream = Batches(plan, data, recipe, backbone, device, torch.contiguous_format)
    with closing(stream):
        return sum(
            sum(len(view) for view in stream.batch(0, step).views)
            for step in range(stream.num_steps)
        )


class Several:
    """Calls a transform several times on one picture, as the published code does."""

    def __init__(self, transform: Callable[[Image.Image], torch.Tensor], num: int) -> None:
        self.transform, self.num = transform, num

    def __call__(self, picture: Image.Image) -> list[torch.Tensor]:
        """Independent views."""
        return [self.transform(picture) for _ in range(self.num)]


def plain(root: Path, kind: Augmentation, views: int, batch: int, workers: int) -> int:
    """The same with ImageFolder and DataLoader."""
    steps: list[Any] = [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip()]
    if kind == "jitter":
        jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
        steps += [transforms.RandomApply([jitter], p=0.8), transforms.RandomGrayscale(0.2)]
    once = transforms.Compose([*steps, transforms.ToTensor()])
    folder = ImageFolder(str(root), Several(once, views))
    loader = DataLoader(folder, batch_size=batch, shuffle=True, num_workers=workers)
    return sum(sum(len(view) for view in seen) for seen, _ in loader)


def rounds(options: argparse.Namespace, root: Path) -> Iterator[str]:
    """Rows of the table."""
    data = Pictures(root, options.images)
    spec = ImageSpec.of_source(data.files, CLASSES)
    backbone = build_backbone("mobilenet_v2", {}, spec)
    size, workers = options.batch_size, options.workers
    for kind, views in CASES:
        mine = partial(ours, data, backbone, kind, views, size)
        theirs = partial(plain, root, kind, views, size, workers)
        own: list[Cost] = []
        other: list[Cost] = []
        for number in range(options.rounds + 1):
            pair = [measured(run, options.images * views) for run in (mine, theirs)]
            if number:  # the first warms both up
                own.append(pair[0])
                other.append(pair[1])
        yield row(kind, views, options.images, own, other)


def row(kind: str, views: int, num: int, own: list[Cost], other: list[Cost]) -> str:
    """Medians of both sides, and of the ratio of processor time over the rounds."""
    cells = [kind, str(views)]
    for costs in (own, other):
        wall = statistics.median(cost.wall for cost in costs)
        processors = statistics.median(cost.processor / cost.wall for cost in costs)
        cells.append(f"{1000 * statistics.median(cost.processor for cost in costs) / num:.2f}")
        cells += [f"{num / wall:.0f}", f"{processors:.2f}"]
    ratios = sorted(
        theirs.processor / mine.processor for mine, theirs in zip(own, other, strict=True)
    )
    cells += [f"**{statistics.median(ratios):.2f}**", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"]
    text = " | ".join(cells)
    print(text, flush=True)
    return f"| {text} |"


def main() -> None:
    """Measure and write the page."""
    assert __doc__ is not None
    threads = decoding_threads()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=threads, help="of the DataLoader")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = list(rounds(options, Path(folder)))
        num_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*.jpg"))
    lines = [
        "# Training from picture files",
        "",
        f"{options.images} JPEG files of about 500 x 375 pixels, "
        f"{num_bytes / options.images / 1000:.0f} kB each, to batches of {options.batch_size} "
        f"with views of {SIZE} pixels,",
        f"on the processor and without a step of training. Ours decodes with {threads} thread(s), "
        "torchvision's",
        f"ImageFolder and a DataLoader with {options.workers} worker(s), on {os.cpu_count()} "
        f"processors; torch {torch.__version__.partition('+')[0]}. Medians of",
        f"{options.rounds} rounds in turn. A picture is one file, read once for all its views.",
        "",
        "Processor time, in milliseconds a picture, is that of all threads and workers. Pictures a",
        "second go by the clock, and count on the processors that each side had: where other work",
        "left fewer of them than threads, they say nothing of how well threads run side by side.",
        "What follows the crop is done on the device in training; here that is the processor too.",
        "",
        "| augmentation | views | ours: ms | a second | processors | theirs: ms | a second "
        "| processors | theirs to ours, processor time | over the rounds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"`python benchmarks/file_training.py --images {options.images}` writes this page.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
