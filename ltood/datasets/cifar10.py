"""CIFAR-10: the official images in their binary version, long-tailed.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report,
2009 (the 10-class set). The long tail is the first rows of each class in
official order, counts as in Cao, Wei, Gaidon, Arechiga and Ma, NeurIPS 2019 (arXiv:1906.07413):
5000, 2997, 1796 and so on down to 50 at a ratio of 0.01. Nothing is downloaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ltood.core.cifar_records import CifarFiles, CifarImages, outlier_paths
from ltood.core.errors import ConfigError
from ltood.core.image_archives import check_long_tail

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
class Config:
    """Settings of CIFAR-10.

    Attributes:
        root: Folder of the unpacked archive, relative to where the command runs.
        imbalance: Profile of the training class counts; "none" keeps all 50,000 images.
        imbalance_ratio: Smallest over largest training class, above 0 and at most 1; without
            effect where `imbalance` is "none".
        ood: OOD test sets, each as name=archive, such as svhn=data/svhn.npz.
        aux: Archive of auxiliary outliers; null for none.
    """

    root: str = "data/cifar-10-batches-bin"
    imbalance: Literal["exponential", "step", "none"] = "exponential"
    imbalance_ratio: float = 0.01
    ood: tuple[str, ...] = ()
    aux: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_long_tail("datasets.cifar10", self.imbalance_ratio, self.imbalance)
        outlier_paths(self.ood, self.aux, "datasets.cifar10")
        if not self.root:
            raise ConfigError(
                "datasets.cifar10.root is empty; name the folder of the unpacked archive."
            )


class Dataset(CifarImages):
    """CIFAR-10 beside outliers from archives; an `ImageDataset`."""

    def __init__(self, config: Config) -> None:
        """Take the settings."""
        super().__init__(
            FILES,
            CLASS_NAMES,
            root=Path(config.root),
            ratio=config.imbalance_ratio,
            profile=config.imbalance,
            outliers=outlier_paths(config.ood, config.aux, "datasets.cifar10"),
        )
