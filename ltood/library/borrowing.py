"""Run a model of the caller on a device in evaluation mode, and restore its state afterwards."""

import hashlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltood.core.errors import DataError
from ltood.library.tapping import Reader, kind_of, unwrapped
from ltood.runtime.devices import Precision, autocast, choose_device, deterministic
from ltood.runtime.provenance import minor_version


def place_of(model: nn.Module, name: str) -> torch.device | None:
    """Device to compute on; None leaves a model alone that is spread over several.

    Args:
        model: The model.
        name: As `choose_device` takes it; "auto" leaves a model on a GPU where it is.

    Raises:
        ConfigError: If the device is not there.
    """
    devices = {tensor.device for tensor in _tensors(model)}
    if name != "auto":
        return choose_device(name)
    if len(devices) > 1:
        return None
    there = next(iter(devices), torch.device("cpu"))
    return choose_device("auto") if there.type == "cpu" else there


@contextmanager
def borrowed(model: nn.Module, place: torch.device | None) -> Iterator["Borrowed"]:
    """Put a model to evaluation mode and on a device, and put it back when the block ends.

    Raises:
        DataError: If its parameters have no values yet.
    """
    modes = [(module, module.training) for module in model.modules()]
    origin = next((tensor.device for tensor in _tensors(model)), torch.device("cpu"))
    if origin.type == "meta":
        raise DataError(f"{kind_of(model)} has no weights (device meta); load them first.")
    moved = place is not None and place != origin
    try:
        model.eval()
        if moved:
            model.to(place)
        yield Borrowed(model, place or origin)
    finally:
        if moved:
            model.to(origin)
        for module, training in modes:
            module.training = training


class Borrowed:
    """A model in evaluation mode on its device.

    Attributes:
        place: The device that takes images.
    """

    def __init__(self, model: nn.Module, place: torch.device) -> None:
        """Take a model that is there."""
        floats = (tensor.dtype for tensor in _tensors(model) if tensor.is_floating_point())
        self.place, self._dtype = place, next(floats, torch.float32)

    @contextmanager
    def computing(self, precision: Precision) -> Iterator[None]:
        """Compute without gradients and, where torch can, with repeatable bits."""
        # What torch cannot repeat must not end the extraction of a model that is not ours; and
        # not inference_mode: a model may keep tensors, and be trained afterwards.
        exactly = deterministic(self.place, refuses=False)
        with exactly, autocast(self.place, precision), torch.no_grad():
            yield

    def placed(self, images: Tensor) -> Tensor:
        """Images on the model's device and in its number format."""
        return images.to(self.place, self._dtype)

    def features(self, reader: Reader, images: Tensor) -> NDArray[np.float32]:
        """Features of images [N, ...], [N, D]."""
        found: NDArray[np.float32] = reader(self.placed(images)).cpu().numpy()
        return found


def identity_of(model: nn.Module) -> dict[str, Any]:
    """Class, library and weights of a model, as plain values."""
    inner = type(unwrapped(model))
    library = inner.__module__.partition(".")[0]
    try:
        versions = {library: importlib.metadata.version(library)}
    except importlib.metadata.PackageNotFoundError:
        versions = {}
    return {
        "class": f"{inner.__module__}.{inner.__qualname__}",
        "state_sha256": _state_digest(unwrapped(model)),
        "libraries": {**versions, "torch": minor_version("torch")},
    }


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _state_digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers, with their names, types and shapes."""
    running = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            running.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().flatten()
            running.update(flat.view(torch.uint8).numpy().data)
        else:
            running.update(f"{name} {value!r}".encode())
    return running.hexdigest()
