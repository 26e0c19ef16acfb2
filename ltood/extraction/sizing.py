"""The size of batches where the setting is auto: found once, and kept with the unfinished work.

Batches of another size may round features otherwise in the last digit. So the size that was found
decides a store as one that was set does: it stands in the provenance, and a run that goes on, or
repairs, takes the same.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltood.core.errors import ConfigError, StoreError
from ltood.extraction.network import Network
from ltood.extraction.parts import part_of
from ltood.images.sources import ImageData
from ltood.runtime.console import log
from ltood.runtime.distributed import Ranks
from ltood.runtime.files import read_json, to_json_bytes, write_atomically
from ltood.runtime.provenance import digest

FILE = "batch_sizes.json"
#: Images of the largest batch on a GPU, which are more than it needs to be busy.
LARGEST = 512
#: Pixels of a batch on a CPU, such as 32 images of 224 x 224: what the network makes of them stays
#: near its caches. At most as many images as the default has.
_CPU_PIXELS, _CPU_LARGEST = 2**21, 256


@dataclass(frozen=True)
class Sizing:
    """Where sizes are kept, and the processes that must agree on one.

    Attributes:
        kept: Folder of kept splits.
        ranks: This process among those that share the work.
    """

    kept: Path
    ranks: Ranks

    def size(self, network: Network, data: ImageData, made_with: Mapping[str, Any]) -> int:
        """Images of a batch: those that an earlier run found, or what fits now.

        Args:
            network: With all that it computes.
            data: Images of all splits.
            made_with: What else decides the features; another size may fit if it changes.

        Raises:
            ConfigError: If not even one image fits.
        """
        shape = largest_shape(network, data)
        key = digest({**made_with, "shape": list(shape), "device": network.device.type})
        return self.ranks.on_rank_zero(
            lambda: self._kept_size(key, lambda: find_size(network, shape))
        )

    def _kept_size(self, key: str, find: Callable[[], int]) -> int:
        path = self.kept / FILE
        try:
            known = read_json(path, "remove it")
        except (StoreError, OSError):
            known = {}
        known = known if isinstance(known, dict) else {}
        size = known.get(key)
        if isinstance(size, int) and 1 <= size <= LARGEST:
            return size
        size = find()
        log(f"extraction.batch_size is auto: {size} images")
        write_atomically(path, to_json_bytes({**known, key: size}))
        return size


def largest_shape(network: Network, data: ImageData) -> tuple[int, ...]:
    """Height, width and channels of the largest images that the network sees."""
    parts = [part_of(data, network.backbone, 1, name, (0, 1), {}) for name in data.splits()]
    return max((part.image_shape for part in parts), key=lambda shape: shape[0] * shape[1])


def find_size(network: Network, shape: tuple[int, ...]) -> int:
    """Images of a batch for the device of a network.

    On a GPU, the largest power of two of which a quarter more fits, with all that is computed.

    Raises:
        ConfigError: If not even one image fits.
    """
    if network.device.type != "cuda":
        return size_for_cpu(shape[0] * shape[1])
    size = LARGEST
    while size and not _fits(network, (size + size // 4, *shape)):
        size //= 2
    if not size:
        raise ConfigError(
            f"device {network.device} has no room for one image of {shape[0]} x {shape[1]} pixels; "
            "free its memory, choose another device, or leave groups out of extraction.extras."
        )
    return size


def size_for_cpu(pixels: int) -> int:
    """Images of a batch on a CPU, a power of two, for images of so many pixels."""
    wanted = max(1, _CPU_PIXELS // pixels)
    return min(_CPU_LARGEST, 1 << (wanted.bit_length() - 1))


def _fits(network: Network, shape: tuple[int, ...]) -> bool:
    """Whether the device has room for a batch of black images."""
    import torch

    from ltood.runtime.devices import deterministic

    try:
        with deterministic(network.device):
            network.outputs(
                torch.zeros(shape, dtype=torch.uint8, device=network.device), network.names
            )
    except torch.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()
    return True


@contextmanager
def saying_what_fits(network: Network, size: int) -> Iterator[None]:
    """Turn a lack of memory on a GPU into an error that says what to do.

    Raises:
        ConfigError: If batches of `size` images do not fit.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"device {network.device} has no room for batches of {size} images "
            "(extraction.batch_size). What is written stays: free memory that others use and run "
            "again. With a smaller number, or auto, extraction starts over."
        ) from error
