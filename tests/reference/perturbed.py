"""Images as ODIN and AdaSCALE move them, one by one and pixel by pixel."""

from collections.abc import Callable

import torch
from torch import Tensor

Logits = Callable[[Tensor], Tensor]


def _gradient(logits: Logits, image: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
    pixels = image[None].clone().requires_grad_()
    objective(logits(pixels)[0]).backward()
    assert pixels.grad is not None
    return pixels.grad[0]


def odin_images(logits: Logits, images: Tensor, *, temperature: float, magnitude: float) -> Tensor:
    """Images less a step along the sign of the gradient of the cross entropy."""
    moved = []
    for image in images:

        def loss(values: Tensor) -> Tensor:
            scaled = values[None] / temperature
            return torch.nn.functional.cross_entropy(scaled, scaled.argmax(dim=1))

        moved.append(image - magnitude * torch.sign(_gradient(logits, image, loss)))
    return torch.stack(moved)


def adascale_images(
    logits: Logits, images: Tensor, std: Tensor, *, share: float, step: float
) -> Tensor:
    """Images whose values with the smallest gradients, as the network sees them, are moved."""
    moved = []
    for image in images:
        # One unit of what the first layer sees is one standard deviation in pixels.
        seen = _gradient(logits, image, torch.max) * std[0]
        flat, values = seen.flatten().tolist(), (image / std[0]).flatten().tolist()
        order = sorted(range(len(flat)), key=lambda place: abs(flat[place]))
        for place in order[: int(len(flat) * share)]:
            values[place] += step * ((flat[place] > 0) - (flat[place] < 0))
        moved.append(torch.tensor(values).view_as(image) * std[0])
    return torch.stack(moved)
