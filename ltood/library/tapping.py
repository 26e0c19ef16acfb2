"""Capture features and logits of a network: the input and output of its last linear layer.

Nothing is assumed about the network's class or the names of its layers: images go through it
once, and the layer is taken whose output the network returns.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ltood.core.errors import ConfigError, DataError
from ltood.store.pooling import Pool, check_pool

#: Largest relative difference between what a layer gives and what the network returns.
_TOLERANCE = 1e-3


class Tap:
    """A network whose features are read at the input of one of its modules.

    Attributes:
        layer: Full name of that module.
        linear: The module where it is a linear layer, and so the classifier head; else None.
    """

    def __init__(
        self, model: nn.Module, images: Tensor, layer: str | None = None, pool: Pool | None = None
    ) -> None:
        """Find the layer by sending a few images through the network.

        Args:
            model: Network in evaluation mode.
            images: Images as the network takes them, [N, ...].
            layer: Module to read; None finds the linear layer whose output is returned.
            pool: How maps and tokens become one feature vector.

        Raises:
            ConfigError: If there is no such layer, or `pool` is unknown.
            DataError: If no linear layer gives the logits, or several do.
        """
        check_pool(pool)
        self._model, self._pool = unwrapped(model), pool
        modules = dict(self._model.named_modules())
        if layer is not None and (not layer or layer not in modules):
            raise ConfigError(
                f"layer is {layer!r}, which {kind_of(model)} does not have; its last modules are "
                f"{', '.join(list(modules)[-5:])}."
            )
        self.layer = _returned_layer(self._model, images) if layer is None else layer
        self._module = modules[self.layer]
        linear = isinstance(self._module, nn.Linear)
        self.linear: nn.Linear | None = self._module if linear else None

    def head(self) -> dict[str, Tensor]:
        """Weight [C, D] and bias [C] of the head in float32 on the CPU; empty without a head."""
        if self.linear is None:
            return {}
        weight = self.linear.weight.detach().cpu().float()
        bias = self.linear.bias
        zeros = torch.zeros(len(weight))
        return {
            "weight": weight,
            "bias": zeros if bias is None else bias.detach().cpu().float(),
        }

    @contextmanager
    def reading(self) -> Iterator["Reader"]:
        """A function from images [N, ...] to features [N, D], while the block runs."""
        found: list[Tensor] = []
        handle = self._module.register_forward_pre_hook(
            lambda _, args, kwargs: found.append(_first(args, kwargs)), with_kwargs=True
        )
        try:
            yield Reader(self, self._model, found)
        finally:
            handle.remove()

    def pooled(self, values: Tensor, rows: int) -> Tensor:
        """One vector for each image, [N, D], of what goes into the layer.

        Raises:
            DataError: If it is not [N, D] and no pooling was chosen that makes it so.
        """
        shape = list(values.shape)
        if not shape or shape[0] != rows:
            raise DataError(
                f"the input of layer {self.layer} has shape {shape} for {rows} images; it must "
                "have one row for each image. Name another layer with layer=."
            )
        if values.ndim == 2:
            return values
        if values.ndim not in (3, 4) or (self._pool == "cls" and values.ndim == 4):
            raise DataError(
                f"the input of layer {self.layer} has shape {shape}, from which "
                f"pool={self._pool!r} makes no vectors; name a layer that takes [N, D], "
                "[N, T, D] or [N, D, H, W] with layer=."
            )
        what = "tokens [N, T, D]" if values.ndim == 3 else "maps [N, D, H, W]"
        if self._pool is None:
            ways = "'mean', 'max'" + (" or 'cls' (the first token)" if values.ndim == 3 else "")
            raise DataError(
                f"the input of layer {self.layer} has shape {shape}: {what} and not one vector "
                f"per image. Choose pool={ways}, or another layer with layer=."
            )
        if self._pool == "cls":
            return values[:, 0]
        # A linear layer takes features last, whatever lies before; maps of others have them first.
        last = values.ndim == 3 or self.linear is not None
        flat = values.flatten(1, -2) if last else values.flatten(2).transpose(1, 2)
        return flat.mean(1) if self._pool == "mean" else flat.amax(1)


class Reader:
    """Sends images through a network and keeps what goes into one layer."""

    def __init__(self, tap: Tap, model: nn.Module, found: list[Tensor]) -> None:
        """Take the network and the list that its hook fills."""
        self._tap, self._model, self._found = tap, model, found

    def __call__(self, images: Tensor) -> Tensor:
        """Features of images [N, ...], [N, D].

        Raises:
            DataError: If the layer does not run exactly once.
        """
        self._found.clear()
        self._model(images)
        if len(self._found) != 1:
            raise DataError(
                f"layer {self._tap.layer} ran {len(self._found)} times for one batch; features "
                "come from a layer that runs once. Name another with layer=."
            )
        return self._tap.pooled(self._found[0].float(), len(images))


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside of DataParallel, DistributedDataParallel and torch.compile."""
    inner = getattr(model, "_orig_mod", None)
    if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = model.module
    return model if inner is None else unwrapped(inner)


def _returned_layer(model: nn.Module, images: Tensor) -> str:
    """Name of the linear layer whose output the network returns."""
    ran: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                keep = _keeper(ran, name)
                stack.callback(module.register_forward_hook(keep).remove)
        returned = model(images)
    logits = _logits(returned)
    fitting = [name for name, output in ran.items() if any(_same(output, v) for v in logits)]
    if len(fitting) == 1:
        return fitting[0]
    if not ran:
        raise DataError(
            f"{kind_of(model)} ran no linear layer, so it has no head that ltood can take; name "
            "the module whose input is the features with layer= (and pool= for maps), such as "
            "the last convolution. The store is then without head and logits."
        )
    listed = ", ".join(list(ran)[-5:])
    if fitting:
        raise DataError(
            f"{kind_of(model)} returns the outputs of several linear layers "
            f"({', '.join(fitting)}); name the one that gives the class logits with layer=."
        )
    raise DataError(
        f"{kind_of(model)} returns what none of its linear layers gives (the last ones are "
        f"{listed}), such as probabilities or outputs of a convolution; name the layer whose "
        "input is the features with layer=."
    )


def _keeper(ran: dict[str, Tensor], name: str) -> Any:  # noqa: ANN401 - a hook
    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        ran.pop(name, None)
        ran[name] = output

    return keep


def _logits(returned: object) -> list[Tensor]:
    """Tensors that may be the logits in what a network returns."""
    named = returned.get("logits") if isinstance(returned, Mapping) else None
    named = getattr(returned, "logits", named)
    if isinstance(named, Tensor):
        return [named]
    if isinstance(returned, Tensor):
        return [returned]
    values: list[object] = []
    if isinstance(returned, Mapping):
        values = list(returned.values())
    elif isinstance(returned, tuple | list):
        values = list(returned)
    return [value for value in values if isinstance(value, Tensor)]


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return torch.allclose(one.float(), other.float(), rtol=_TOLERANCE, atol=1e-5, equal_nan=True)


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    value = args[0] if args else next(iter(kwargs.values()), None)
    if not isinstance(value, Tensor):
        raise DataError(
            f"the layer takes a {type(value).__name__} and not a tensor; name another with layer=."
        )
    return value


def kind_of(model: nn.Module) -> str:
    """Class name of a model, for messages."""
    return type(unwrapped(model)).__name__
