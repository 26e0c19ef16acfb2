"""A network that torch compiles before its first batch."""

from typing import Any

import torch
from torch import Tensor

from ltood.core.errors import ConfigError, LtoodError
from ltood.networks.backbone import Backbone


class Compiled:
    """`embed` of a backbone, compiled for batches of one size.

    Shorter batches are filled up with black images: another size would be compiled for itself,
    with other rounding, and by torch's limit not at all after some. So a batch gives the same bytes
    whoever computes it, and whatever came before. On a GPU a batch is one CUDA graph.
    """

    def __init__(
        self, backbone: Backbone, size: int, device: torch.device, layout: torch.memory_format
    ) -> None:
        """Say what to compile; nothing is compiled before the first batch.

        Args:
            backbone: In evaluation mode, on the device.
            size: Images of a batch.
            device: Where the network computes.
            layout: Memory layout of the images.
        """
        self._backbone, self._size, self._layout = backbone, size, layout
        self._on_gpu = device.type == "cuda"
        # Code of networks that were compiled earlier counts towards the same limit.
        torch.compiler.reset()
        self._embed = torch.compile(backbone.embed, dynamic=False, options=_options(self._on_gpu))

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What `Backbone.embed` gives.

        Raises:
            ConfigError: If torch cannot compile the network here.
        """
        num = len(images)
        try:
            pooled, local = self._embed(self._whole(images))
        except (LtoodError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # A compiler that is missing, or a network it cannot take.
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"extraction.compile is true, but backbone {self._backbone.entry_name} cannot be "
                f"compiled here ({type(error).__name__}: {reason}); set it to false."
            ) from error
        return self._own(pooled[:num]), None if local is None else self._own(local[:num])

    def _whole(self, images: Tensor) -> Tensor:
        """The images, and black ones up to a whole number of batches."""
        num, *shape = images.shape
        whole = -(-num // self._size) * self._size
        if whole == num:
            return images
        filled = torch.empty(
            (whole, *shape), dtype=images.dtype, device=images.device, memory_format=self._layout
        )
        filled[:num], filled[num:] = images, 0
        return filled

    def _own(self, values: Tensor) -> Tensor:
        """Values that stay: the next run of a CUDA graph writes to the same place."""
        return values.clone() if self._on_gpu else values


def _options(on_gpu: bool) -> dict[str, Any]:
    """Options of torch's compiler, as far as its version knows them."""
    # No kernel is chosen by how fast it was a moment ago: the bytes would differ from run to run.
    wanted = {"deterministic": True, "triton.cudagraphs": on_gpu}
    known = torch._inductor.list_options()
    return {key: value for key, value in wanted.items() if key in known}
