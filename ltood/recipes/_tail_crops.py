"""Parts of tail images pasted onto other images, which gives them other surroundings.

Source: Wei, Wang and Zhang, "EAT: Towards Long-Tailed Out-of-Distribution Detection", AAAI 2024,
equation 4, after CutMix (Yun et al., ICCV 2019); numbers and boxes as in the released code.
"""

import torch
from torch import Tensor

#: Both parameters of the beta distribution that the share of the background is drawn from.
_BETA = 0.9999


def pasted(backgrounds: Tensor, tail: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images with a box of a tail image each, and which tail image it is.

    Every tail image is used equally often, or once at most where there are fewer backgrounds. The
    box lies at the same place in all of them and in the tail images.

    Args:
        backgrounds: Images of head classes or outliers, [B, channels, H, W].
        tail: Images of tail classes, [T, channels, H, W].
        generator: Draws the box, on the CPU.

    Returns:
        New images, [n, channels, H, W], and rows of `tail`, [n] int64; n is 0 if B or T is.
    """
    times = len(backgrounds) // max(len(tail), 1)
    num = times * len(tail) if times else min(len(backgrounds), len(tail))
    rows = torch.arange(num, device=tail.device) % max(len(tail), 1)
    images = backgrounds[:num].clone()
    top, bottom, left, right = _box(images.shape[2], images.shape[3], generator)
    images[:, :, top:bottom, left:right] = tail[rows][:, :, top:bottom, left:right]
    return images, rows


def _box(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Borders of a box whose centre is uniform and whose area is a random share of the image."""
    # A ratio of gamma variables is beta distributed, and both can be drawn from one generator.
    one, other = torch._standard_gamma(torch.tensor([_BETA, _BETA]), generator=generator).tolist()
    side = (1 - one / (one + other)) ** 0.5
    middle = [int(torch.randint(size, (1,), generator=generator)) for size in (height, width)]
    halves = [int(size * side) // 2 for size in (height, width)]
    borders = [
        (max(centre - half, 0), min(centre + half, size))
        for centre, half, size in zip(middle, halves, (height, width), strict=True)
    ]
    return (*borders[0], *borders[1])
