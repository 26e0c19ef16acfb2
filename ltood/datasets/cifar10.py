"""CIFAR-10: the official images in their binary version, long-tailed.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report,
2009 (the 10-class set). The long tail is the first rows of each class in
official order, counts as in Cao, Wei, Gaidon, Arechiga and Ma, NeurIPS 2019 (arXiv:1906.07413):
5000, 2997, 1796 and so on down to 50 at a ratio of 0.01. Nothing is downloaded.
"""

from dataclasses import dataclass

from ltood.datasets._cifar import CifarConfig, CifarImages
from ltood.datasets._cifar_files import CIFAR10

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


@dataclass(frozen=True)
class Config(CifarConfig):
    """Settings of CIFAR-10, as `CifarConfig` describes them."""

    root: str = "data/sets/cifar10/cifar-10-batches-bin"


class Dataset(CifarImages):
    """CIFAR-10 with outliers; an `ImageDataset`."""

    def __init__(self, config: Config) -> None:
        """Take the settings."""
        super().__init__(CIFAR10, CLASS_NAMES, config)
