"""AutoAugment and RandAugment for whole batches on their device.

Sources: Cubuk, Zoph, Mané, Vasudevan and Le, "AutoAugment: Learning Augmentation Strategies from
Data", CVPR 2019 (arXiv:1805.09501), Table 7 (the policy found on CIFAR-10); Cubuk, Zoph, Shlens
and Le, "RandAugment: Practical automated data augmentation with a reduced search space", NeurIPS
2020 (arXiv:1909.13719). Ranges of the magnitudes follow torchvision, whose operations on single
images are the yardstick of the tests; each image draws for itself, and images that drew the same
operation are changed together.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

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

_BINS = 10

#: For each sub-policy two steps: operation, probability, and bin of the magnitude (0 to 9).
CIFAR10_POLICY: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalise", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterise", 0.3, 7)),
    (("saturation", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalise", 0.6, 0), ("equalise", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("saturation", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalise", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("saturation", 0.2, 8)),
    (("solarise", 0.5, 2), ("invert", 0.0, 0)),
    (("equalise", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalise", 0.2, 0), ("equalise", 0.6, 0)),
    (("saturation", 0.9, 9), ("equalise", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarise", 0.2, 8)),
    (("brightness", 0.1, 3), ("saturation", 0.7, 0)),
    (("solarise", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarise", 0.8, 3)),
    (("equalise", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
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
RAND_OPERATIONS = ("identity", *SIGNED, "posterise", "solarise", "autocontrast", "equalise")


def autoaugment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply to each image one of the 25 sub-policies found on CIFAR-10.

    Args:
        images: [N, channels, H, W] uint8.
        generator: Random numbers on the CPU.

    Returns:
        New images of the same shape, type and device.
    """
    num = len(images)
    chosen = torch.randint(len(CIFAR10_POLICY), (num,), generator=generator)
    draws = torch.rand((2, num), generator=generator)
    signs = torch.randint(2, (2, num), generator=generator) * 2 - 1
    for turn in range(2):
        steps = [sub[turn] for sub in CIFAR10_POLICY]
        taken = draws[turn] <= torch.tensor([probability for _, probability, _ in steps])[chosen]
        bins = torch.tensor([magnitude for _, _, magnitude in steps])[chosen]
        names = sorted({name for name, _, _ in steps})
        numbers = torch.tensor([names.index(name) for name, _, _ in steps])[chosen]
        images = _apply(
            images,
            names,
            torch.where(taken, numbers, -1),
            bins / (_BINS - 1),
            signs[turn],
            150 / 331,
        )
    return images


def randaugment(
    images: Tensor, generator: torch.Generator, *, num_steps: int = 2, magnitude: float = 9
) -> Tensor:
    """Apply to each image `num_steps` random operations of one strength.

    Args:
        images: [N, channels, H, W] uint8.
        generator: Random numbers on the CPU.
        num_steps: Operations for each image, 0 or more.
        magnitude: Strength, 0 to 30.

    Returns:
        New images of the same shape, type and device.
    """
    num = len(images)
    strength = torch.full((num,), magnitude / 30)
    for _ in range(num_steps):
        chosen = torch.randint(len(RAND_OPERATIONS), (num,), generator=generator)
        signs = torch.randint(2, (num,), generator=generator) * 2 - 1
        images = _apply(images, RAND_OPERATIONS, chosen, strength, signs, 150 / 331)
    return images


def _apply(
    images: Tensor,
    names: "tuple[str, ...] | list[str]",
    chosen: Tensor,
    strengths: Tensor,
    signs: Tensor,
    reach: float,
) -> Tensor:
    """Change each image by the operation with its number in `chosen`, -1 for none."""
    images = images.clone()
    for number, name in enumerate(names):
        rows = torch.nonzero(chosen == number)[:, 0]
        if name == "identity" or not len(rows):
            continue
        amounts = magnitudes(name, strengths[rows], tuple(images.shape[2:]), reach=reach)
        if name in SIGNED:
            amounts = amounts * signs[rows]
        rows = rows.to(images.device)
        images[rows] = OPERATIONS[name](images[rows], amounts.to(images.device))
    return images


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


def _warped(images: Tensor, matrices: Tensor) -> Tensor:
    """Nearest pixels at places given by matrices [N, 2, 3] about the centre; black outside."""
    _, _, height, width = images.shape
    # The grid runs from -1 to 1 on both axes; the matrices count pixels.
    sizes = torch.tensor([width / 2, height / 2, 1.0], device=images.device)
    scaled = matrices * sizes / sizes[:2, None]
    grid = functional.affine_grid(scaled, list(images.shape), align_corners=False)
    warped = functional.grid_sample(
        images.float(), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return warped.to(torch.uint8)


def _matrices(amounts: Tensor, entries: Mapping[tuple[int, int], Tensor]) -> Tensor:
    matrices = amounts.new_zeros((len(amounts), 2, 3), dtype=torch.float32)
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1
    for (row, column), values in entries.items():
        matrices[:, row, column] = values
    return matrices


def _shear_x(images: Tensor, amounts: Tensor) -> Tensor:
    # A shear about the corner, as published, not about the centre.
    half = images.shape[2] / 2
    return _warped(images, _matrices(amounts, {(0, 1): amounts, (0, 2): amounts * half}))


def _shear_y(images: Tensor, amounts: Tensor) -> Tensor:
    half = images.shape[3] / 2
    return _warped(images, _matrices(amounts, {(1, 0): amounts, (1, 2): amounts * half}))


def _translate_x(images: Tensor, amounts: Tensor) -> Tensor:
    return _warped(images, _matrices(amounts, {(0, 2): -amounts}))


def _translate_y(images: Tensor, amounts: Tensor) -> Tensor:
    return _warped(images, _matrices(amounts, {(1, 2): -amounts}))


def _rotate(images: Tensor, amounts: Tensor) -> Tensor:
    angles = amounts * (math.pi / 180)
    cosines, sines = angles.cos(), angles.sin()
    entries = {(0, 0): cosines, (0, 1): -sines, (1, 0): sines, (1, 1): cosines}
    return _warped(images, _matrices(amounts, entries))


#: Each takes images [N, channels, H, W] uint8 and amounts [N], and gives new images.
OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda images, amounts: images,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
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
