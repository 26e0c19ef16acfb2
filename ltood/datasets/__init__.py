"""Image datasets, one file each; the file name is the name in `params.yaml`."""

from ltood.datasets._image_folders import PictureConfig
from ltood.datasets._outliers import open_outliers

__all__ = ["PictureConfig", "open_outliers"]
