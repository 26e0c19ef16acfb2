"""Groups of extra arrays that extraction can compute; see `ltood.core.extras`."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ltood.core.errors import ConfigError
from ltood.core.extras import MODULES
from ltood.extraction.config import ExtractionConfig
from ltood.store.layout import AUX_SPLIT, ArraySpec

if TYPE_CHECKING:
    from torch import Tensor

    from ltood.networks.backbone import Backbone

#: Groups of moved images, which nothing is trained or fitted on: test rows and held-out ones alone.
PERTURBED = frozenset({"odin", "adascale"})
#: Groups that no method reads of training rows.
TESTED_ONLY = PERTURBED | {"maps"}


class Extra(Protocol):
    """One group: what it holds, what decides it, and how it is computed."""

    def settings(self) -> dict[str, Any]:
        """Settings that decide the arrays, plain values."""

    def arrays(self) -> Mapping[str, ArraySpec]:
        """Arrays by name, with the shape of one row."""

    def compute(self, images: "Tensor", features: "Callable[[], Tensor]") -> "Mapping[str, Tensor]":
        """Arrays of some images, each with one row per image.

        Args:
            images: Pixels scaled to [0, 1], [n, channels, H, W] float32.
            features: Gives their features, [n, D]; a pass of its own where nobody else asked.
        """


def extra(group: str, backbone: "Backbone", config: ExtractionConfig) -> Extra:
    """A group of extra arrays for a backbone.

    Args:
        group: One of `ltood.core.extras.GROUPS`.
        backbone: In evaluation mode.
        config: Settings of extraction.

    Raises:
        ConfigError: If the backbone cannot give them.
    """
    found: Extra = importlib.import_module(MODULES[group]).KINDS[group](backbone, config)
    return found


def is_held_by(group: str, split: str) -> bool:
    """Whether a group is computed for the images of a split."""
    return group not in TESTED_ONLY or split not in ("train", AUX_SPLIT)


def check_precision(groups: tuple[str, ...], precision: str) -> None:
    """Refuse gradients and differences of what was rounded to half precision.

    Raises:
        ConfigError: If a network in half precision is to be perturbed.
    """
    perturbed = [group for group in groups if group in PERTURBED]
    if perturbed and precision != "float32":
        raise ConfigError(
            f"extraction.amp computes in {precision}, whose rounding is larger than what the "
            f"perturbed images of {perturbed[0]} change; set extraction.amp to off."
        )
