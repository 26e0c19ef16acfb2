"""Operations of AutoAugment and RandAugment as torchvision does them, for whole batches.

Source: Cubuk, Zoph, Mané, Vasudevan and Le, "AutoAugment: Learning Augmentation Strategies from
Data", CVPR 2019 (arXiv:1805.09501), Table 6. Ranges of the magnitudes follow torchvision, whose
operations on single images are the yardstick of the tests.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ltood.runtime.devices import upload
from ltood.training.augmentation.colours import (
    autocontrast,
    brightness,
    contrast,
    equalise,
    posterise,
    saturation,
    sharpness,
    solarise,
)

#: Operations whose amount is negated for half of the images.
SIGNED = (
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
)

#: What RandAugment draws from.
NAMES = ("identity", *SIGNED, "posterise", "solarise", "autocontrast", "equalise")


class Draws(NamedTuple):
    """What was drawn for each image, on the CPU.

    Attributes:
        strengths: Share of the largest strength, [N] in 0 to 1.
        signs: 1 or -1, [N].
        is_cubic: Interpolate bicubically, not bilinearly, [N]; where either is possible.
    """

    strengths: Tensor
    signs: Tensor
    is_cubic: Tensor

    def of(self, rows: Tensor) -> "Draws":
        """Those of some images."""
        return Draws(*(values[rows] for values in self))


def changed(name: str, images: Tensor, draws: Draws, fill: tuple[int, ...]) -> Tensor:
    """Carry out one operation on images.

    Args:
        name: Of the operation.
        images: [N, channels, H, W] uint8.
        draws: Of these images; `is_cubic` is not read.
        fill: Pixel that comes in from outside, one value for all channels or one for each.
    """
    amounts = magnitudes(name, draws.strengths, tuple(images.shape[2:]))
    if name in SIGNED:
        amounts = amounts * draws.signs
    return operated(name, images, upload(amounts, images.device), fill)


def operated(name: str, images: Tensor, amounts: Tensor, fill: tuple[int, ...]) -> Tensor:
    """The same by given amounts [N], signs included."""
    if name in COLOURS:
        return COLOURS[name](images, amounts)
    return _warped(images, WARPS[name](amounts, tuple(images.shape[2:])), fill)


def magnitudes(
    name: str, strengths: Tensor, size: tuple[int, ...], *, reach: float = 150 / 331
) -> Tensor:
    """Amounts of an operation, before their sign.

    Args:
        name: Of the operation.
        strengths: Share of the largest strength, [N] in 0 to 1.
        size: Height and width in pixels.
        reach: Largest shift as a share of the size.

    Returns:
        [N] float: tangent, pixels, degrees, relative change, bits or threshold.
    """
    if name.startswith("shear"):
        return 0.3 * strengths
    if name.startswith("translate"):
        return (reach * size[1 if name.endswith("x") else 0] * strengths).trunc()
    if name == "rotate":
        return 30 * strengths
    if name == "posterise":
        return 8 - (4 * strengths).round()
    if name == "solarise":
        return 255 * (1 - strengths)
    return 0.9 * strengths


def _warped(images: Tensor, matrices: Tensor, fill: tuple[int, ...]) -> Tensor:
    """Nearest pixels at places given by matrices [N, 2, 3] about the centre; `fill` outside."""
    _, _, height, width = images.shape
    # The grid runs from -1 to 1 on both axes; the matrices count pixels.
    sizes = upload(torch.tensor([width / 2, height / 2, 1.0]), images.device)
    scaled = matrices * sizes / sizes[:2, None]
    grid = functional.affine_grid(scaled, list(images.shape), align_corners=False)
    # Zeros come in from outside, so that `fill` is what counts as zero.
    zero = upload(torch.tensor(fill), images.device).view(1, -1, 1, 1).float()
    warped = functional.grid_sample(
        images.float() - zero, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return (warped + zero).to(torch.uint8)


def _matrices(amounts: Tensor, entries: Mapping[tuple[int, int], Tensor]) -> Tensor:
    matrices = amounts.new_zeros((len(amounts), 2, 3), dtype=torch.float32)
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1
    for (row, column), values in entries.items():
        matrices[:, row, column] = values
    return matrices


def _shear_x(amounts: Tensor, size: tuple[int, ...]) -> Tensor:
    # A shear about the corner, as published, not about the centre.
    return _matrices(amounts, {(0, 1): amounts, (0, 2): amounts * (size[0] / 2)})


def _shear_y(amounts: Tensor, size: tuple[int, ...]) -> Tensor:
    return _matrices(amounts, {(1, 0): amounts, (1, 2): amounts * (size[1] / 2)})


def _rotate(amounts: Tensor, size: tuple[int, ...]) -> Tensor:
    del size
    angles = amounts * (math.pi / 180)
    cosines, sines = angles.cos(), angles.sin()
    return _matrices(amounts, {(0, 0): cosines, (0, 1): -sines, (1, 0): sines, (1, 1): cosines})


#: Each gives matrices [N, 2, 3] for amounts [N] and the size of the images.
WARPS: Mapping[str, Callable[[Tensor, tuple[int, ...]], Tensor]] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": lambda amounts, _: _matrices(amounts, {(0, 2): -amounts}),
    "translate_y": lambda amounts, _: _matrices(amounts, {(1, 2): -amounts}),
    "rotate": _rotate,
}
#: Each takes images [N, channels, H, W] uint8 and amounts [N], and gives new images.
COLOURS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda images, amounts: images,
    "brightness": lambda images, amounts: brightness(images, 1 + amounts),
    "saturation": lambda images, amounts: saturation(images, 1 + amounts),
    "contrast": lambda images, amounts: contrast(images, 1 + amounts),
    "sharpness": lambda images, amounts: sharpness(images, 1 + amounts),
    "posterise": lambda images, amounts: posterise(images, amounts.long()),
    "solarise": solarise,
    "autocontrast": lambda images, amounts: autocontrast(images),
    "equalise": lambda images, amounts: equalise(images),
    "invert": lambda images, amounts: 255 - images,
}
