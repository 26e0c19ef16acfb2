"""Affine changes of whole batches in Pillow's arithmetic.

Pillow reads each pixel of the result at a place of the original that is an affine function of its
centre, counted from the upper left corner. Places outside give the fill; neighbours beyond the
border are those at the border. Its cubic has the parameter -1, where torch's has -0.75.
"""

from typing import Literal

import torch
from torch import Tensor

Interpolation = Literal["nearest", "bilinear", "bicubic"]

_CUBIC = -1.0


def sampled(
    images: Tensor, matrices: Tensor, interpolation: Interpolation, fill: tuple[int, ...]
) -> Tensor:
    """Pixels at the places that matrices give.

    Args:
        images: [N, channels, H, W] uint8.
        matrices: From the centres of the new pixels (x + 0.5, y + 0.5, 1) to places of the
            original, [N, 2, 3] float64.
        interpolation: Between the pixels.
        fill: Where a place is outside, one value for all channels or one for each.

    Returns:
        New images, same shape.
    """
    height, width = images.shape[2:]
    across = torch.arange(width, device=images.device, dtype=torch.float64) + 0.5
    down = torch.arange(height, device=images.device, dtype=torch.float64)[:, None] + 0.5
    x, y = (
        row[:, 0, None, None] * across + row[:, 1, None, None] * down + row[:, 2, None, None]
        for row in matrices.unbind(1)
    )
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    values = images.double()
    if interpolation == "nearest":
        found = _picked(values, x.floor(), y.floor())
    else:
        found = _interpolated(values, x - 0.5, y - 0.5, interpolation)
    outside = images.new_tensor(fill).view(1, -1, 1, 1)
    return torch.where(inside[:, None], found.clamp_(0, 255).to(torch.uint8), outside)


def _interpolated(values: Tensor, x: Tensor, y: Tensor, interpolation: Interpolation) -> Tensor:
    """Weighted sums over the neighbours of places [N, H, W], counted from pixel centres."""
    left, top = x.floor(), y.floor()
    taps = range(2) if interpolation == "bilinear" else range(-1, 3)
    found = torch.zeros_like(values)
    for down in taps:
        row = torch.zeros_like(values)
        for across in taps:
            weight = _weight(x - left - across, interpolation)[:, None]
            row += weight * _picked(values, left + across, top + down)
        found += _weight(y - top - down, interpolation)[:, None] * row
    return found


def _weight(distance: Tensor, interpolation: Interpolation) -> Tensor:
    """Weight of a neighbour at a distance of less than 2 pixels."""
    far = distance.abs()
    if interpolation == "bilinear":
        return 1 - far
    near = ((_CUBIC + 2) * far - (_CUBIC + 3)) * far * far + 1
    further = ((_CUBIC * far - 5 * _CUBIC) * far + 8 * _CUBIC) * far - 4 * _CUBIC
    return torch.where(far < 1, near, further)


def _picked(values: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Pixels [N, channels, H, W] at columns and rows [N, H, W], those at the border beyond it."""
    height, width = values.shape[2:]
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    flat = index.long().flatten(1)[:, None].expand(-1, values.shape[1], -1)
    return values.flatten(2).gather(2, flat).view_as(values)
