"""Augmentation of whole batches of small images, on the device that holds them.

Source: the crop and flip of He et al., "Deep Residual Learning for Image Recognition", CVPR
2016 (arXiv:1512.03385), section 4.2. Random numbers are drawn on the CPU from a generator that
the caller seeds, so that every device sees the same augmentation.
"""

import torch
from torch import Tensor
from torch.nn import functional


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
    offsets = torch.randint(2 * padding + 1, (2, num, 1), generator=generator).to(images.device)
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
    return torch.where(mirrored.to(images.device), images.flip(3), images)
