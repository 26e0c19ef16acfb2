"""Accuracy of the published DenseNets through our loader, on real test images.

    python benchmarks/published_weights.py DATA_FOLDER

DATA_FOLDER holds densenet_bc100_cifar10.pth and densenet_bc100_cifar100.pth (the checkpoints
that DICE published, Sun and Li, ECCV 2022; HIMPLoS uses the same for CIFAR-100),
cifar10_test.npz (all official test images) and cifar100_partial.npz (the first 916 official
test images). Expected: 94.54 % and 73.69 %; exit code 1 if a figure differs by more than 0.01
points, which is one image of CIFAR-10. Takes minutes on one core.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.weights import load_weights

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)
BATCH = 100
#: Weights, images, names of the arrays, classes, accuracy in percent.
CASES = (
    ("densenet_bc100_cifar10.pth", "cifar10_test.npz", ("images", "labels"), 10, 94.54),
    (
        "densenet_bc100_cifar100.pth",
        "cifar100_partial.npz",
        ("test_images", "test_labels"),
        100,
        73.69,
    ),
)


def accuracy(weights: Path, images: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Percentage of images whose largest logit is that of their class."""
    spec = ImageSpec(3, 32, 32, MEAN, STD, num_classes)
    net = build_backbone("densenet_bc100", {}, spec).eval()
    load_weights(net, weights)
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            pixels = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2) / 255
            predicted = net(pixels).logits.argmax(1).numpy()
            correct += int((predicted == labels[start : start + BATCH]).sum())
    return 100 * correct / len(images)


def main(folder: Path) -> int:
    torch.set_num_threads(1)
    failed = False
    for weights, pictures, (image_key, label_key), num_classes, expected in CASES:
        with np.load(folder / pictures, allow_pickle=False) as archive:
            images, labels = archive[image_key], archive[label_key]
        found = accuracy(folder / weights, images, labels, num_classes)
        print(f"{weights}: {found:.2f} % of {len(images)} images, expected {expected} %")
        failed |= abs(found - expected) > 0.01
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
