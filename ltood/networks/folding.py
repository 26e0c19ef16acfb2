"""Batch norms folded into the convolutions before them: fewer passes over the same maps.

In evaluation a batch norm multiplies each channel by a number and adds another, which a convolution
can do with other weights. What comes out differs by rounding alone. `torch.fx` follows the network
to find the convolutions whose output one batch norm alone reads.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ltood.core.errors import ConfigError
from ltood.networks.backbone import Backbone

if TYPE_CHECKING:
    from torch.fx import Node

#: The setting, for messages.
_WHERE = "extraction.fold_batch_norm"
#: Largest difference of features, relative to the largest one, that is taken for rounding.
TOLERANCE = 1e-3


def folded(backbone: Backbone) -> Backbone:
    """A copy of a backbone in which batch norms are part of convolutions.

    Modules keep their names, weights their memory layout; an identity takes the place of a batch
    norm. Weights are multiplied in float64.

    Args:
        backbone: In evaluation mode.

    Raises:
        ConfigError: If the network cannot be followed, no batch norm comes right behind a
            convolution, or the features would be others.
    """
    made = copy.deepcopy(backbone)
    modules = dict(made.named_modules())
    for conv_name, norm_name in list(_pairs(_graph(made), modules)):
        conv, norm = modules[conv_name], modules[norm_name]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        _fold(conv, norm)
        parent, _, child = norm_name.rpartition(".")
        setattr(made.get_submodule(parent), child, nn.Identity())
    _check(backbone, made)
    return made


class _Embedding(nn.Module):
    """What extraction asks of a network, as a module that can be followed."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone.embed(images)[0]


def _graph(backbone: Backbone) -> fx.Graph:
    try:
        return fx.Tracer().trace(_Embedding(backbone))
    except Exception as error:  # Whatever a network does with what is not a tensor.
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"{_WHERE} is true, but torch cannot follow backbone {backbone.entry_name} "
            f"({type(error).__name__}: {reason}); set it to false."
        ) from error


def _pairs(graph: fx.Graph, modules: dict[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """Names of convolutions and of the batch norms that alone read what they give."""
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")

    def module(node: "Node", kind: type[nn.Module]) -> str | None:
        """Name of the module that is called there and nowhere else, if it is of a kind."""
        name = str(node.target).removeprefix("backbone.")
        if node.op != "call_module" or calls[node.target] > 1:
            return None
        found = modules[name]
        hooked = found._forward_hooks or found._forward_pre_hooks
        return name if type(found) is kind and not hooked else None

    for node in graph.nodes:
        norm = module(node, nn.BatchNorm2d)
        if norm is None or modules[norm].running_mean is None or not node.args:
            continue
        source = node.args[0]
        conv = module(source, nn.Conv2d) if isinstance(source, fx.Node) else None
        if conv is not None and len(source.users) == 1:
            yield conv, norm


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give a convolution the weights with which it does the work of a batch norm too."""
    tensors = (conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    weight, bias, mean, var, scale, shift = (
        None if tensor is None else tensor.detach().double() for tensor in tensors
    )
    assert weight is not None
    assert mean is not None
    assert var is not None
    fused = fuse_conv_bn_weights(weight, bias, mean, var, norm.eps, scale, shift)
    conv.weight, conv.bias = (
        nn.Parameter(tensor.detach().float(), requires_grad=False) for tensor in fused
    )


def _check(backbone: Backbone, made: Backbone) -> None:
    """Refuse a copy that computes something else, or nothing faster."""
    norms = [
        sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
        for net in (backbone, made)
    ]
    if norms[0] == norms[1]:
        raise ConfigError(
            f"{_WHERE} is true, but in backbone {backbone.entry_name} no batch norm comes right "
            "behind a convolution; set it to false."
        )
    some = next(backbone.parameters())
    shape = (1, backbone.images.channels, *backbone.input_size)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(some)
    with torch.no_grad():
        expected, found = (net.embed(image)[0].float() for net in (backbone, made))
    if not (found - expected).abs().amax() <= TOLERANCE * expected.abs().amax():
        raise ConfigError(
            f"{_WHERE} is true, but backbone {backbone.entry_name} gives other features with it; "
            "set it to false."
        )
