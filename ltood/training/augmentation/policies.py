"""AutoAugment and RandAugment for whole batches on their device.

Sources: Cubuk, Zoph, Mané, Vasudevan and Le, "AutoAugment: Learning Augmentation Strategies from
Data", CVPR 2019 (arXiv:1805.09501), Table 7 (the policy found on CIFAR-10); Cubuk, Zoph, Shlens
and Le, "RandAugment: Practical automated data augmentation with a reduced search space", NeurIPS
2020 (arXiv:1909.13719). The operations are torchvision's (`operations.py`) or those of PATT's code
(`published.py`); each image draws for itself, and images that drew the same operation are changed
together.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ltood.runtime.devices import upload
from ltood.training.augmentation import operations, published
from ltood.training.augmentation.operations import Draws
from ltood.training.policies import Policies

_BINS = 10
_BLACK = (0,)

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

#: Changes images by one operation: its name, images, what was drawn for them, and the fill.
Change = Callable[[str, Tensor, Draws, tuple[int, ...]], Tensor]


def autoaugment(
    images: Tensor,
    generator: torch.Generator,
    policies: Policies | None = None,
    *,
    fill: tuple[int, ...] = _BLACK,
) -> Tensor:
    """Apply to each image one of the 25 sub-policies found on CIFAR-10.

    Args:
        images: [N, channels, H, W] uint8.
        generator: Random numbers on the CPU.
        policies: Say whose operations; the defaults if not given.
        fill: Pixel that comes in from outside, one value for all channels or one for each.

    Returns:
        New images of the same shape, type and device.
    """
    is_patt = (policies or Policies()).operations == "patt"
    change = published.auto_changed if is_patt else operations.changed
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
            Draws(bins / (_BINS - 1), signs[turn], torch.ones(num, dtype=torch.bool)),
            change,
            fill,
        )
    return images


def randaugment(
    images: Tensor,
    generator: torch.Generator,
    policies: Policies | None = None,
    *,
    fill: tuple[int, ...] = _BLACK,
) -> Tensor:
    """Apply to each image a few random operations.

    Args:
        images: [N, channels, H, W] uint8.
        generator: Random numbers on the CPU.
        policies: Say whose operations, how many, how strong and how probable; the defaults if not
            given.
        fill: Pixel that comes in from outside, one value for all channels or one for each.

    Returns:
        New images of the same shape, type and device.
    """
    policies = policies or Policies()
    num, is_patt = len(images), policies.operations == "patt"
    names = published.RAND_NAMES if is_patt else operations.NAMES
    change = published.rand_changed if is_patt else operations.changed
    for _ in range(policies.steps):
        chosen = torch.randint(len(names), (num,), generator=generator)
        signs = torch.randint(2, (num,), generator=generator) * 2 - 1
        strengths = torch.full((num,), policies.strength)
        if policies.deviation > 0:
            noise = policies.deviation * torch.randn(num, generator=generator)
            strengths = (strengths + noise).clamp_(0, 1)
        if policies.probability < 1:
            taken = torch.rand(num, generator=generator) < policies.probability
            chosen = torch.where(taken, chosen, -1)
        is_cubic = torch.ones(num, dtype=torch.bool)
        if is_patt:
            is_cubic = torch.randint(2, (num,), generator=generator).bool()
        images = _apply(images, names, chosen, Draws(strengths, signs, is_cubic), change, fill)
    return images


def _apply(
    images: Tensor,
    names: Sequence[str],
    chosen: Tensor,
    draws: Draws,
    change: Change,
    fill: tuple[int, ...],
) -> Tensor:
    """Change each image by the operation with its number in `chosen`, -1 for none."""
    images = images.clone()
    for number, name in enumerate(names):
        rows = torch.nonzero(chosen == number)[:, 0]
        if name == "identity" or not len(rows):
            continue
        on_device = upload(rows, images.device)
        images[on_device] = change(name, images[on_device], draws.of(rows), fill)
    return images
