"""Changes of colour for batches of images, each by an amount of its own.

The definitions are those that image libraries share (Pillow's ImageEnhance and ImageOps): a
change by a factor mixes the image with a degenerate one, 0 giving the degenerate and 1 the
original. Results are truncated to whole pixel values, as there.
"""

import torch
from torch import Tensor
from torch.nn import functional

#: Weights of red, green and blue in the luma of ITU-R BT.601.
_LUMA = (0.2989, 0.587, 0.114)


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Mix with black.

    Args:
        images: [N, channels, H, W] uint8.
        factors: [N] float, 0 or more.

    Returns:
        New images, same shape.
    """
    return _mixed(images, torch.zeros_like(images[:, :, :1, :1]).float(), factors)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Mix with the mean luma of the image; arguments as for `brightness`."""
    means = _luma(images).float().mean((1, 2, 3), keepdim=True)
    return _mixed(images, means, factors)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Mix with the grey image; arguments as for `brightness`, grey images stay."""
    if images.shape[1] == 1:
        return images
    return _mixed(images, _luma(images).float(), factors)


def sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Mix with a smoothed image whose border stays; arguments as for `brightness`."""
    if min(images.shape[2:]) <= 2:
        return images
    channels = images.shape[1]
    kernel = images.new_ones((channels, 1, 3, 3), dtype=torch.float32)
    kernel[:, :, 1, 1] = 5
    smooth = images.float()
    inner = functional.conv2d(smooth, kernel / 13, groups=channels)
    smooth[:, :, 1:-1, 1:-1] = inner.round()
    return _mixed(images, smooth, factors)


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue.

    Args:
        images: [N, channels, H, W] uint8; grey ones stay.
        turns: Share of the full circle, [N] float in -0.5 to 0.5.

    Returns:
        New images, same shape.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = (images.float() / 255).unbind(1)
    largest = torch.maximum(torch.maximum(red, green), blue)
    smallest = torch.minimum(torch.minimum(red, green), blue)
    chroma = largest - smallest
    spread = torch.where(chroma == 0, 1, chroma)
    angle = torch.where(
        largest == red,
        (green - blue) / spread,
        torch.where(largest == green, 2 + (blue - red) / spread, 4 + (red - green) / spread),
    )
    angle = ((angle / 6 + turns[:, None, None]) % 1) * 6
    # Each channel is a trapezoid over the circle, with its own starting angle.
    channels = [
        largest - chroma * torch.minimum(place, 4 - place).clamp(0, 1)
        for place in ((angle + start) % 6 for start in (5, 3, 1))
    ]
    return (torch.stack(channels, 1) * 255.999).to(torch.uint8)


def greyscale(images: Tensor) -> Tensor:
    """Luma in every channel of `images`, [N, channels, H, W] uint8."""
    return _luma(images).expand_as(images)


def posterise(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest `bits` of each pixel value, [N] int64 from 0 to 8."""
    mask = (255 << (8 - bits)) & 255
    return images & mask.to(torch.uint8)[:, None, None, None]


def solarise(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert the pixel values from `thresholds` on, [N] float."""
    return torch.where(images >= thresholds[:, None, None, None], 255 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of `images`, [N, channels, H, W] uint8, to 0..255."""
    values = images.float()
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    scale = 255 / (high - low)
    flat = high == low
    scale = torch.where(flat, 1, scale)
    low = torch.where(flat, 0, low)
    return ((values - low) * scale).clamp_(0, 255).to(torch.uint8)


def equalise(images: Tensor) -> Tensor:
    """Spread the pixel values of each channel of `images`, [N, channels, H, W] uint8, evenly."""
    num, channels = images.shape[:2]
    planes = images.reshape(num * channels, -1).long()
    counts = torch.zeros((num * channels, 256), dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, planes, torch.ones_like(planes))
    levels = torch.arange(256, device=images.device)
    # All values but the highest present share out the 255 steps.
    highest = torch.where(counts > 0, levels, -1).amax(1, keepdim=True)
    step = (planes.shape[1] - counts.gather(1, highest)) // 255
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    table = torch.where(step == 0, levels, table)
    return table.gather(1, planes).to(torch.uint8).reshape(images.shape)


def _luma(images: Tensor) -> Tensor:
    """Luma [N, 1, H, W] uint8 of images [N, channels, H, W]."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return luma.to(torch.uint8)[:, None]


def _mixed(images: Tensor, degenerate: Tensor, factors: Tensor) -> Tensor:
    weights = factors.float()[:, None, None, None]
    return (weights * images + (1 - weights) * degenerate).clamp_(0, 255).to(torch.uint8)
