"""Image datasets, one file each; the file name is the name in `params.yaml`."""

from ltood.datasets._image_folders import ImageFolderConfig
from ltood.datasets._outliers import open_outliers

__all__ = ["ImageFolderConfig", "open_outliers"]
