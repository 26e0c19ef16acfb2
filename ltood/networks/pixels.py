"""Pixels as networks take them: floats in [0, 1], in one memory layout.

Extraction, training and prediction share it: on one kind of device the same images then meet the
same algorithms, which choose by layout, and give the same numbers.
"""

import torch
from torch import Tensor


def memory_layout(channels_last: bool | None, device: torch.device) -> torch.memory_format:
    """Memory layout that a setting `channels_last` means on `device`.

    Args:
        channels_last: None takes it on GPUs, where it is faster.
        device: Where the network computes.
    """
    last = device.type == "cuda" if channels_last is None else channels_last
    return torch.channels_last if last else torch.contiguous_format


def as_input(pixels: Tensor, layout: torch.memory_format) -> Tensor:
    """Pixels [N, channels, H, W] uint8 as floats in [0, 1]."""
    return (pixels.float() / 255).contiguous(memory_format=layout)


def images_as_input(images: Tensor, layout: torch.memory_format) -> Tensor:
    """Images [..., H, W, channels] uint8 as floats in [0, 1], [N, channels, H, W]."""
    return as_input(images.flatten(0, -4).permute(0, 3, 1, 2), layout)
