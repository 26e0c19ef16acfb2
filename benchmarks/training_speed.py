"""One epoch of CIFAR ResNet-18, beside a plain PyTorch loop with torchvision and workers.

    python benchmarks/training_speed.py [--images 1024] [--device auto] [--augmentation jitter]

Both sides train the same net on the same random images with the same batch size, optimiser and
augmentation: ours through `ltood.training`, the other with a Dataset, torchvision's transforms on
PIL images and a DataLoader, as the published trainings do. They run in turn in one process each
and are asked `--rounds` times; the median counts. Start-up is not counted. The table goes to
docs/results/training-speed.md.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ltood.images.arrays import ImageSplit
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.training.augmentation.named import AUGMENTATIONS
from ltood.training.batches import Batches
from ltood.training.plan import Plan, TrainingConfig
from ltood.training.train import train

RESULT = Path(__file__).parents[1] / "docs" / "results" / "training-speed.md"
CLASSES = 10
SETTINGS: dict[str, Any] = {"variant": "18", "mean": None, "std": None}


class Pictures:
    """Random images as `ImageData`."""

    def __init__(self, num: int) -> None:
        """Draw them."""
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(num, dtype=np.int64) % CLASSES
        self.train = ImageSplit(images, labels, np.arange(num, dtype=np.int64))
        self.class_names = tuple(f"class {number}" for number in range(CLASSES))
        self.class_counts = np.bincount(labels, minlength=CLASSES)
        self.manifest = {"dataset": "random", "settings": {}, "splits": {"train": {"rows": num}}}

    def splits(self) -> tuple[str, ...]:
        """Training images only."""
        return ("train",)

    def split(self, name: str) -> ImageSplit:
        """The images."""
        assert name == "train"
        return self.train

    source = split


class PlainDataset(Dataset):
    """What published code reads: one PIL image at a time."""

    def __init__(self, split: ImageSplit, transform: Callable[..., torch.Tensor]) -> None:
        """Take images and transform."""
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        """Number of images."""
        return len(self.split)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        """One augmented image with its label."""
        from PIL import Image

        picture = Image.fromarray(self.split.images[row])
        return self.transform(picture), int(self.split.labels[row])


def plain_transform(kind: str) -> Callable[..., torch.Tensor]:
    """Torchvision's form of our named augmentation."""
    first = (
        transforms.RandomResizedCrop(32)
        if kind == "contrast"
        else transforms.RandomCrop(32, padding=4)
    )
    steps: list[Any] = [first, transforms.RandomHorizontalFlip()]
    if kind in ("jitter", "contrast"):
        jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
        steps += [transforms.RandomApply([jitter], p=0.8), transforms.RandomGrayscale(0.2)]
    if kind == "autoaugment":
        steps.append(transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10))
    if kind == "randaugment":
        steps.append(transforms.RandAugment())
    return transforms.Compose([*steps, transforms.ToTensor()])


def ours(data: Pictures, kind: str, batch_size: int, device: str) -> float:
    """Seconds of one epoch of our loop."""
    config = TrainingConfig(
        epochs=1,
        batch_size=batch_size,
        optimiser="sgd",
        augmentation=kind,  # type: ignore[arg-type]
        deterministic=False,
        checkpoint_minutes=60,
        amp="off",
    )
    plan = Plan("cifar_resnet", SETTINGS, "cross_entropy", {}, config)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        out, work = Path(folder) / "checkpoint", Path(folder) / "training"
        train(plan, data, out, device, state_folder=work)
        return time.perf_counter() - start


def plain(data: Pictures, kind: str, batch_size: int, device: str, workers: int) -> float:
    """Seconds of one epoch of the plain loop."""
    start = time.perf_counter()
    images = ImageSpec.of(data.train.images, CLASSES)
    net = build_backbone("cifar_resnet", SETTINGS, images).to(device).train()
    optimiser = torch.optim.SGD(
        net.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    loader = DataLoader(
        PlainDataset(data.train, plain_transform(kind)),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=device != "cpu",
    )
    criterion = nn.CrossEntropyLoss()
    for pixels, labels in loader:
        loss = criterion(net(pixels.to(device)).logits, labels.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def data_only(data: Pictures, kind: str, batch_size: int, device: str) -> tuple[float, float]:
    """Microseconds of processor time that one augmented image costs, ours and plain."""
    from ltood.core.prior import ClassPrior
    from ltood.networks.backbone import ImageSpec, build_backbone
    from ltood.recipes import build_recipe

    config = TrainingConfig(epochs=1, batch_size=batch_size, augmentation=kind)  # type: ignore[arg-type]
    plan = Plan("cifar_resnet", SETTINGS, "cross_entropy", {}, config)
    recipe = build_recipe("cross_entropy", {}, ClassPrior(data.class_counts))
    spec = ImageSpec.of_source(data.source("train"), len(data.class_names))
    backbone = build_backbone(plan.backbone, plan.backbone_settings, spec)
    batches = Batches(plan, data, recipe, backbone, torch.device(device), torch.contiguous_format)
    start = time.process_time()
    for step in range(batches.num_steps):
        batches.batch(0, step)
    own = time.process_time() - start
    rows = PlainDataset(data.train, plain_transform(kind))
    some = min(len(rows), 1024)
    start = time.process_time()
    for row in range(some):
        rows[row]
    theirs = (time.process_time() - start) / some
    return 1e6 * own / batches.num_images, 1e6 * theirs


def main() -> None:
    """Time both sides and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--augmentation", choices=AUGMENTATIONS, default="jitter")
    options = parser.parse_args()
    data = Pictures(options.images)
    kind, size, device = options.augmentation, options.batch_size, options.device
    pairs = []
    for number in range(options.rounds):
        pair = (ours(data, kind, size, device), plain(data, kind, size, device, options.workers))
        print(f"round {number + 1}: ours {pair[0]:.1f} s, plain {pair[1]:.1f} s", flush=True)
        pairs.append(pair)
    ratio = statistics.median(other / own for own, other in pairs)
    lines = [
        "# Speed of training",
        "",
        f"`python benchmarks/training_speed.py --images {options.images} --device {device} "
        f"--augmentation {kind}`: one epoch of CIFAR ResNet-18, batch {size}, beside a plain "
        f"loop with torchvision's transforms and {options.workers} workers; "
        f"{torch.get_num_threads()} threads, torch {torch.__version__.partition('+')[0]}.",
        "",
        f"One epoch takes the plain loop **{ratio:.2f}** times as long as ours (median of "
        f"{options.rounds} rounds).",
        "",
        "Processor time of one augmented image, plain over ours:",
        "",
        "| augmentation | ratio |",
        "|---|---:|",
    ]
    for name in AUGMENTATIONS:
        own, theirs = data_only(data, name, size, "cpu")
        lines.append(f"| {name} | {theirs / own:.1f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
