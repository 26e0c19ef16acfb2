"""Image datasets, one file each; the file name is the name in `params.yaml`."""

from ltood.datasets._cifar_files import CIFAR10, CIFAR100
from ltood.datasets._image_folders import ImageFolderConfig
from ltood.datasets._outliers import open_outliers

__all__ = ["CIFAR10", "CIFAR100", "ImageFolderConfig", "open_outliers"]
