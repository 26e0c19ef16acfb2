"""Augmentation of whole batches of small images, on the device that holds them.

Source: the crop and flip of He et al., "Deep Residual Learning for Image Recognition", CVPR
2016 (arXiv:1512.03385), section 4.2; resized crop, colour jitter and grey as in Chen et al.,
"A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020
(arXiv:2002.05709), appendix A; DeVries and Taylor, "Improved Regularization of Convolutional
Neural Networks with Cutout", 2017 (arXiv:1708.04552). Pixels are uint8 before and after each
step, as when the steps are applied to image files.

Random numbers are drawn on the CPU from a generator that the caller seeds, one set for each
image, so that every device sees the same augmentation.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from ltood.runtime.devices import upload
from ltood.training.augmentation.colours import brightness, contrast, greyscale, hue, saturation


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `padding` pixels each way; black comes in from outside.

    Args:
        images: [N, channels, H, W] of any type.
        padding: Largest shift in pixels; 0 leaves the images as they are.
        generator: Random numbers on the CPU.

    Returns:
        New images of the same shape, type and device.
    """
    if padding == 0:
        return images
    num, _, height, width = images.shape
    offsets = upload(
        torch.randint(2 * padding + 1, (2, num, 1), generator=generator), images.device
    )
    rows = (offsets[0] + torch.arange(height, device=images.device))[:, :, None]
    columns = (offsets[1] + torch.arange(width, device=images.device))[:, None, :]
    padded = functional.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    picked = torch.arange(num, device=images.device)[:, None, None]
    return padded[picked, rows, columns].permute(0, 3, 1, 2)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        images: [N, channels, H, W] of any type.
        generator: Random numbers on the CPU.

    Returns:
        New images of the same shape, type and device.
    """
    mirrored = torch.randint(2, (len(images), 1, 1, 1), generator=generator).bool()
    return torch.where(upload(mirrored, images.device), images.flip(3), images)


def random_resized_crop(
    images: Tensor,
    generator: torch.Generator,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Cut a random box from each image and stretch it to the full size, bilinearly.

    Args:
        images: [N, channels, H, W] uint8.
        generator: Random numbers on the CPU.
        area: Smallest and largest area of the box as a share of the image, uniform.
        ratio: Smallest and largest width over height, uniform in its logarithm.

    Returns:
        New images of the same shape, type and device.
    """
    boxes = crop_boxes(len(images), images.shape[2:], generator, area=area, ratio=ratio)
    return resized_crop(images, upload(boxes, images.device))


def crop_boxes(
    num: int,
    size: tuple[int, ...] | torch.Size,
    generator: torch.Generator,
    *,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> Tensor:
    """Draw boxes inside images of `size` (height, width), [num, 4] int64: top, left, height, width.

    Of ten draws the first that fits is taken; where none does, the largest centred box whose
    shape lies within `ratio`.
    """
    height, width = size
    draws = torch.rand((4, num, 10), generator=generator, dtype=torch.float64)
    areas = height * width * (area[0] + (area[1] - area[0]) * draws[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shapes = (low + (high - low) * draws[1]).exp()
    heights, widths = (areas / shapes).sqrt().round(), (areas * shapes).sqrt().round()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    heights, widths = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]
    tops = (draws[2].gather(1, first)[:, 0] * (height - heights + 1)).floor()
    lefts = (draws[3].gather(1, first)[:, 0] * (width - widths + 1)).floor()
    boxes = torch.stack([tops, lefts, heights, widths], 1)
    whole = min(max(width / height, ratio[0]), ratio[1])
    full_height = min(height, round(width / whole))
    full_width = min(width, round(height * whole))
    centred = torch.tensor(
        [(height - full_height) // 2, (width - full_width) // 2, full_height, full_width]
    )
    return torch.where(fits.any(1)[:, None], boxes, centred.double()).long()


def resized_crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Stretch one box of each image to the full size, bilinearly.

    Args:
        images: [N, channels, H, W] uint8.
        boxes: Top, left, height and width in pixels, [N, 4] int64, inside the images.

    Returns:
        New images, same shape; pixels are rounded.
    """
    tops, lefts, heights, widths = boxes.float().T
    stretched = _stretched(images.float(), tops, heights, 2)
    stretched = _stretched(stretched, lefts, widths, 3)
    return stretched.round().clamp_(0, 255).to(torch.uint8)


def _stretched(images: Tensor, starts: Tensor, lengths: Tensor, dim: int) -> Tensor:
    """Linear interpolation of `lengths` pixels from `starts` on to the whole of `dim`."""
    size = images.shape[dim]
    centres = (torch.arange(size, device=images.device) + 0.5) / size
    places = (centres * lengths[:, None] - 0.5).clamp_(min=0)
    below = places.floor()
    share = places - below
    above = torch.minimum(below + 1, lengths[:, None] - 1)

    def picked(offsets: Tensor) -> Tensor:
        index = (starts[:, None] + offsets).long()
        index = index[:, None, :, None] if dim == 2 else index[:, None, None, :]
        return images.take_along_dim(index, dim)

    weight = share[:, None, :, None] if dim == 2 else share[:, None, None, :]
    return picked(below) * (1 - weight) + picked(above) * weight


def random_jitter(
    images: Tensor,
    generator: torch.Generator,
    *,
    strength: float = 0.4,
    hue_strength: float = 0.1,
    probability: float = 0.8,
) -> Tensor:
    """Change brightness, contrast, saturation and hue of some images, in random order.

    Args:
        images: [N, channels, H, W] uint8; grey ones keep saturation and hue.
        generator: Random numbers on the CPU.
        strength: Largest relative change of brightness, contrast and saturation, 0 to 1.
        hue_strength: Largest turn of the hue, as a share of the full circle, 0 to 0.5.
        probability: Share of the images that are changed.

    Returns:
        New images of the same shape, type and device.
    """
    num, device = len(images), images.device
    changed = torch.rand(num, generator=generator) < probability
    factors = 1 + strength * (2 * torch.rand((3, num), generator=generator) - 1)
    turns = hue_strength * (2 * torch.rand(num, generator=generator) - 1)
    orders = torch.rand((num, 4), generator=generator).argsort(1)
    images = images.clone()
    # Without a turn the hue would still be rounded.
    steps = (brightness, contrast, saturation, *((hue,) if hue_strength > 0 else ()))
    for turn in range(4):
        for step, change in enumerate(steps):
            rows = torch.nonzero(changed & (orders[:, turn] == step))[:, 0]
            if len(rows):
                amounts = upload((turns if step == 3 else factors[step])[rows], device)
                rows = upload(rows, device)
                images[rows] = change(images[rows], amounts)
    return images


def random_grey(images: Tensor, generator: torch.Generator, *, probability: float = 0.2) -> Tensor:
    """Take the colour from a share `probability` of the images, [N, channels, H, W] uint8."""
    drained = torch.rand((len(images), 1, 1, 1), generator=generator) < probability
    return torch.where(upload(drained, images.device), greyscale(images), images)


def random_cutout(images: Tensor, generator: torch.Generator, *, length: int = 16) -> Tensor:
    """Blacken one square in each image; part of it may fall outside.

    Args:
        images: [N, channels, H, W] of any type.
        generator: Random numbers on the CPU.
        length: Side of the square in pixels, 1 or more.

    Returns:
        New images of the same shape, type and device.
    """
    num, _, height, width = images.shape
    inside = []
    for size in (height, width):
        centres = torch.randint(size, (num, 1), generator=generator)
        places = torch.arange(size)
        inside.append((places >= centres - length // 2) & (places < centres + (length + 1) // 2))
    squares = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(upload(squares, images.device), 0)
