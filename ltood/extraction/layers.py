"""Extra arrays from several layers: the means of their outputs over all places.

One more pass forwards. Layers may have different widths; their means stand side by side in one
array, [n, L, W], with zeros behind those of a layer that is narrower than the widest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.extraction.config import ExtractionConfig
from ltood.networks.backbone import Backbone
from ltood.store.layout import ArraySpec


class Layers:
    """Means of the outputs of some layers over the places of a map, or over tokens."""

    def __init__(self, backbone: Backbone, config: ExtractionConfig) -> None:
        """Take a backbone and settings, and see how wide the layers are.

        Raises:
            ConfigError: If the backbone has no such layers, or one gives no maps.
        """
        self._backbone = backbone
        self._names = chosen_layers(backbone, config)
        with torch.no_grad():
            outputs = layer_outputs(backbone, blank_image(backbone), self._names)
        self._widths = [places(output, backbone, name).shape[1] for name, output in outputs.items()]

    def settings(self) -> dict[str, Any]:
        """Names of the layers."""
        return {"layers": list(self._names)}

    def arrays(self) -> Mapping[str, ArraySpec]:
        """Means, in full precision: directions of little variance count as much as others."""
        return {"means": ArraySpec("float32", (len(self._widths), max(self._widths)))}

    def compute(self, images: Tensor, features: Callable[[], Tensor]) -> Mapping[str, Tensor]:
        """Means of each layer, [n, L, W]."""
        del features
        found = torch.zeros(len(images), *self.arrays()["means"].shape, device=images.device)
        with torch.no_grad():
            outputs = layer_outputs(self._backbone, images, self._names)
            for place, (name, output) in enumerate(outputs.items()):
                maps = places(output, self._backbone, name)
                found[:, place, : self._widths[place]] = maps.float().mean(dim=2)
        return {"means": found}


def chosen_layers(backbone: Backbone, config: ExtractionConfig) -> tuple[str, ...]:
    """Names of the submodules that count as layers, from the settings or the backbone.

    Raises:
        ConfigError: If the backbone has no submodule of a name, or none is named.
    """
    if backbone.channels_lie_last:
        raise ConfigError(
            f"extraction.layers: backbone {backbone.entry_name} keeps maps with their channels "
            "last, whose places cannot be told from channels; choose another backbone or method."
        )
    names = backbone.layer_names if config.layers == "auto" else config.layers
    if not names:
        raise ConfigError(
            f"extraction.layers is auto, and backbone {backbone.entry_name} does not say which of "
            "its modules are layers; name some in extraction.layers."
        )
    known = dict(backbone.named_modules())
    for name in names:
        if not name or name not in known:
            top = ", ".join(child for child, _ in backbone.named_children())
            raise ConfigError(
                f"extraction.layers names {name!r}, which backbone {backbone.entry_name} does not "
                f"have; its modules begin with {top}."
            )
    return names


def layer_outputs(
    backbone: Backbone, images: Tensor, names: Sequence[str]
) -> dict[str, Tensor | None]:
    """Outputs of submodules in one pass, by name; None for one that does not run.

    Args:
        backbone: In evaluation mode.
        images: Pixels scaled to [0, 1], [n, channels, H, W].
        names: Names of submodules.
    """
    found: dict[str, Tensor | None] = dict.fromkeys(names)

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(_module: object, _inputs: object, output: Any) -> None:  # noqa: ANN401
            # What follows may rectify the map in place.
            found[name] = output.clone() if isinstance(output, Tensor) else None

        return hook

    hooks = [backbone.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        backbone.embed(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def places(output: Tensor | None, backbone: Backbone, name: str) -> Tensor:
    """Channels by places: of maps [n, W, height, width] or of tokens [n, S, W], as [n, W, S].

    Raises:
        ConfigError: If the layer gave something else.
    """
    if output is not None and output.ndim == 4:
        return output.flatten(2)
    if output is not None and output.ndim == 3:
        return output.transpose(1, 2)
    given = "one tensor" if output is None else f"maps or tokens, but shape {list(output.shape)}"
    raise ConfigError(
        f"extraction.layers names {name!r}, which in backbone {backbone.entry_name} does not give "
        f"{given}; name layers whose output is [n, channels, H, W] or [n, tokens, channels]."
    )


def blank_image(backbone: Backbone) -> Tensor:
    """One black image of the size that the backbone sees, on its device."""
    some = next(backbone.parameters())
    return torch.zeros(1, backbone.images.channels, *backbone.input_size, device=some.device)


#: Classes by group.
KINDS = {"layers": Layers}
