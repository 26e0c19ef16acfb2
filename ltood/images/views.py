"""Augmented views of images: a random part of the area, perhaps mirrored.

Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015 (arXiv:1409.4842), section 6,
for the crop; its rules are those of torchvision's RandomResizedCrop. CLIP's prompt learning
takes it with the flip for its training images.

Every view is drawn for itself from the seed, the id of its image and its number, so it does
not matter which images share a batch, in which order they are read or by whom.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ltood.images.decoding import Interpolation, resized

if TYPE_CHECKING:
    from PIL.Image import Image

#: Share of the area that a view shows, and its width by its height.
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
_ATTEMPTS = 10
#: Keeps these draws apart from those that others make with the same seed.
_STREAM = 7


@dataclass(frozen=True)
class RandomViews:
    """Creation of several views of every image of a split.

    Attributes:
        num: Views V of an image.
        size: Height and width of a view in pixels.
        seed: Decides the views.
        ids: Ids of the images by row, [N].
        interpolation: Between pixels; both smooth before they shrink.
    """

    num: int
    size: int
    seed: int
    ids: NDArray[np.int64]
    interpolation: Interpolation = "bicubic"

    def __call__(self, image: "Image", row: int) -> NDArray[np.uint8]:
        """Views of the RGB image of one row, [V, size, size, 3]."""
        return np.stack([self.view(image, int(self.ids[row]), view) for view in range(self.num)])

    def view(self, image: "Image", number: int, view: int) -> NDArray[np.uint8]:
        """View number `view` of the image with the id `number`, [size, size, 3]."""
        rng = np.random.default_rng([_STREAM, self.seed, number, view])
        top, left, height, width = crop_box(
            image.height, image.width, rng.uniform, lambda stop: int(rng.integers(stop))
        )
        part = image.crop((left, top, left + width, top + height))
        pixels = np.asarray(resized(part, (self.size, self.size), self.interpolation))
        return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def crop_box(
    height: int,
    width: int,
    uniform: Callable[[float, float], float],
    below: Callable[[int], int],
    *,
    smallest: float = AREA[0],
) -> tuple[int, int, int, int]:
    """Draw a part of an image.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        uniform: Draws a number between two.
        below: Draws a whole number from 0 to below its argument.
        smallest: Least share of the area, above 0 and at most 1.

    Returns:
        Top, left, height and width of the part. Where ten draws do not fit into the image, its
        middle, as near to its own shape as the ratios allow.
    """
    for _ in range(_ATTEMPTS):
        area = height * width * uniform(smallest, AREA[1])
        ratio = math.exp(uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return below(height - h + 1), below(width - w + 1), h, w
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w
