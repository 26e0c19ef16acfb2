"""Operations of AutoAugment and RandAugment as the released code of PATT does them.

Source: the two tables of operations in the training code of He et al., "Long-Tailed
Out-of-Distribution Detection: Prioritizing Attention to Tail", AAAI 2025 (arXiv:2408.06742). Its
AutoAugment shears bicubically, moves by fractions of a pixel and turns one way only. Its
RandAugment has 15 operations, four of them stronger from step to step by whole numbers; at full
strength solarising leaves an image as it is, and brightness, contrast, saturation and sharpness
always take the largest factor, 1.9. Geometry is Pillow's; colours are those of `colours.py`, which
differ from Pillow's by rounding.
"""

import math

import torch
from torch import Tensor

from ltood.runtime.devices import upload
from ltood.training.augmentation.colours import solarise
from ltood.training.augmentation.operations import COLOURS, Draws
from ltood.training.augmentation.sampling import Interpolation, sampled

#: What its RandAugment draws from.
RAND_NAMES = (
    "autocontrast",
    "equalise",
    "invert",
    "rotate",
    "posterise",
    "solarise",
    "solarise_add",
    "saturation",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
#: Largest amounts: tangent, share of the size, and degrees.
_SHEAR, _AUTO_SHIFT, _RAND_SHIFT, _TURN = 0.3, 150 / 331, 0.45, 30.0
_ENHANCED = ("brightness", "contrast", "saturation", "sharpness")


def auto_changed(name: str, images: Tensor, draws: Draws, fill: tuple[int, ...]) -> Tensor:
    """Carry out one operation of AutoAugment; arguments as for `operations.changed`."""
    strengths, signs = draws.strengths.double(), draws.signs
    if name.startswith("shear"):
        return _warped(name, images, _SHEAR * strengths * signs, "bicubic", fill)
    if name.startswith("translate"):
        return _warped(name, images, _AUTO_SHIFT * strengths * signs, "nearest", fill)
    if name == "rotate":
        return _warped(name, images, _TURN * strengths, "nearest", fill)
    if name == "posterise":
        amounts = 8 - (4 * strengths).round()
    elif name == "solarise":
        amounts = 256 * (1 - strengths)
    else:
        amounts = 0.9 * strengths * signs
    return COLOURS[name](images, upload(amounts, images.device))


def rand_changed(name: str, images: Tensor, draws: Draws, fill: tuple[int, ...]) -> Tensor:
    """Carry out one operation of RandAugment; arguments as for `operations.changed`."""
    strengths = draws.strengths.double()
    if name.startswith(("shear", "translate", "rotate")):
        largest = {"s": _SHEAR, "t": _RAND_SHIFT, "r": _TURN}[name[0]]
        return _mixed_warp(name, images, largest * strengths * draws.signs, draws.is_cubic, fill)
    on_device = upload(strengths, images.device)
    if name == "solarise_add":
        return _solarised_add(images, (110 * on_device).trunc())
    if name == "solarise":
        return solarise(images, (256 * on_device).trunc())
    if name == "posterise":
        return COLOURS[name](images, (4 * on_device).trunc())
    if name in _ENHANCED:
        return COLOURS[name](images, 1.8 * on_device - 0.9)
    return COLOURS[name](images, on_device)


def _solarised_add(images: Tensor, amounts: Tensor) -> Tensor:
    """Add whole amounts [N] to the pixel values below 128, up to 255."""
    brighter = (images + amounts[:, None, None, None]).clamp_(max=255).to(torch.uint8)
    return torch.where(images < 128, brighter, images)


def _mixed_warp(
    name: str, images: Tensor, amounts: Tensor, is_cubic: Tensor, fill: tuple[int, ...]
) -> Tensor:
    """Warp some images bicubically, the others bilinearly."""
    found = torch.empty_like(images)
    kinds: tuple[tuple[Interpolation, Tensor], ...] = (
        ("bicubic", is_cubic),
        ("bilinear", ~is_cubic),
    )
    for interpolation, wanted in kinds:
        rows = torch.nonzero(wanted)[:, 0]
        if len(rows):
            there = upload(rows, images.device)
            found[there] = _warped(name, images[there], amounts[rows], interpolation, fill)
    return found


def _warped(
    name: str,
    images: Tensor,
    amounts: Tensor,
    interpolation: Interpolation,
    fill: tuple[int, ...],
) -> Tensor:
    """Shear by a tangent, shift by a share of the size, or turn counterclockwise by degrees."""
    height, width = images.shape[2:]
    matrices = torch.zeros((len(amounts), 2, 3), dtype=torch.float64)
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1
    if name == "shear_x":
        matrices[:, 0, 1] = amounts
    elif name == "shear_y":
        matrices[:, 1, 0] = amounts
    elif name == "translate_x":
        matrices[:, 0, 2] = amounts * width
    elif name == "translate_y":
        matrices[:, 1, 2] = amounts * height
    else:
        _turn(matrices, amounts, width / 2, height / 2)
    return sampled(images, upload(matrices, images.device), interpolation, fill)


def _turn(matrices: Tensor, degrees: Tensor, x: float, y: float) -> None:
    """Turn matrices [N, 2, 3] about the point x, y."""
    angles = -degrees * (math.pi / 180)
    cosines, sines = angles.cos(), angles.sin()
    matrices[:, 0, 0] = matrices[:, 1, 1] = cosines
    matrices[:, 0, 1], matrices[:, 1, 0] = sines, -sines
    matrices[:, 0, 2] = x - cosines * x - sines * y
    matrices[:, 1, 2] = y + sines * x - cosines * y
