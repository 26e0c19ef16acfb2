"""CIFAR-10: the official images in their binary version, long-tailed.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report,
2009 (the 10-class set). The long tail is the first rows of each class in
official order, counts as in Cao, Wei, Gaidon, Arechiga and Ma, NeurIPS 2019 (arXiv:1906.07413):
5000, 2997, 1796 and so on down to 50 at a ratio of 0.01. Nothing is downloaded.
"""

from dataclasses import dataclass
from typing import ClassVar

from ltood.datasets._cifar import CifarConfig, CifarFiles, CifarImages

SOURCE = (
    "CIFAR-10 by Krizhevsky, Nair and Hinton, https://www.cs.toronto.edu/~kriz/cifar.html; its "
    "authors state no licence and ask to be cited"
)

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

FILES = CifarFiles(
    title="CIFAR-10",
    setting="datasets.cifar10.root",
    address="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    rows_per_file=10_000,
    label_bytes=1,
    num_classes=len(CLASS_NAMES),
)


@dataclass(frozen=True)
class Config(CifarConfig):
    """Settings of CIFAR-10, as `CifarConfig` describes them."""

    section: ClassVar[str] = "datasets.cifar10"

    root: str = "data/sets/cifar10/cifar-10-batches-bin"


class Dataset(CifarImages):
    """CIFAR-10 beside outliers; an `ImageDataset`."""

    def __init__(self, config: Config) -> None:
        """Take the settings."""
        super().__init__(FILES, CLASS_NAMES, config)
