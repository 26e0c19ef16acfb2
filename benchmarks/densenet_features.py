"""Our DenseNet against published features: same images, same checkpoint, same numbers.

    python benchmarks/densenet_features.py DATA_FOLDER

DATA_FOLDER holds densenet_bc100_cifar10.pth (the CIFAR-10 checkpoint that DICE published, Sun
and Li, ECCV 2022), cifar10_test.npz (the official test images) and
cifar10_densenet_features/test.npz and head.npz (features and head from the authors' own code).
Features of the first 64 images must agree to 1e-4; exit code 1 if not.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from ltood.backbones.densenet_bc100 import Config, Entry
from ltood.images.archives import read_archive
from ltood.networks.backbone import ImageSpec
from ltood.networks.weights import load_weights

ROWS = 64
TOLERANCE = 1e-4
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)


def main(folder: Path) -> int:
    torch.set_num_threads(1)
    net = Entry(Config(), ImageSpec(3, 32, 32, MEAN, STD, 10)).eval()
    load_weights(net, folder / "densenet_bc100_cifar10.pth")
    split = read_archive(folder / "cifar10_test.npz", outliers=False)
    pixels = torch.from_numpy(split.images[:ROWS]).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        output = net(pixels)
    published = folder / "cifar10_densenet_features"
    with np.load(published / "test.npz") as archive:
        difference = np.abs(output.pooled.numpy() - archive["features"][:ROWS]).max()
    head_differs = []
    with np.load(published / "head.npz") as archive:
        for name, values in net.head_arrays().items():
            if not np.array_equal(values, archive[name]):
                head_differs.append(name)
    correct = int((output.logits.argmax(1).numpy() == split.labels[:ROWS]).sum())
    print(f"largest difference of {ROWS} x {net.feature_dim} features: {difference:.2e}")
    print(f"head and last batch norm: {', '.join(head_differs) or 'nothing'} differs")
    print(f"correctly classified: {correct} of {ROWS}")
    return 0 if difference <= TOLERANCE and not head_differs else 1


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python benchmarks/densenet_features.py DATA_FOLDER")
    sys.exit(main(Path(sys.argv[1])))
