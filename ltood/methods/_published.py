"""Published settings of methods for known checkpoints.

Clips and percentiles are absolute numbers of one trained network. For the checkpoints
below the published ones are kept here; for any other network the entries' own defaults,
percentiles of the training activations, are the better choice.

Sources: the authors' commands, scripts and configurations for HIMPLoS (repositories HIMPLoS
and ood_benchmark), ReAct, DICE, BATS, LINe, ASH, SCALE, LTS, VRA, NAC and WeiPer, as the
module of each method cites them. The ResNet-50 is torchvision's of 76.13 % accuracy.
Only what a source states is listed; a method that is missing keeps its defaults.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from ltood.core.errors import UnknownNameError

#: Settings by checkpoint, then by method.
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "cifar10-densenet": {
        "himplos": {"percentile": 60, "clip": 1.6},
        "react": {"clip": 1.5},
        "dice": {"percentile": 90},
        "bats": {"lam": 1.0},
        "line": {"weight_percentile": 90, "activation_percentile": 90, "clip": 1.0},
        "ash": {"percentile": 95},
        "vra": {"floor_percentile": 60, "clip_percentile": 90},
    },
    "cifar100-densenet": {
        "himplos": {"percentile": 60, "clip": 1.6},
        "react": {"clip": 2.5},
        "dice": {"percentile": 90},
        "bats": {"lam": 0.8},
        "line": {"weight_percentile": 90, "activation_percentile": 10, "clip": 1.0},
        "ash": {"percentile": 95},
        "vra": {"floor_percentile": 60, "clip_percentile": 95},
    },
    "cifar10-resnet18": {"react": {"clip": 0.7}, "bats": {"lam": 3.3}},
    "cifar100-resnet18": {"react": {"clip": 0.7}, "bats": {"lam": 1.35}},
    "imagenet-resnet50": {
        "himplos": {"percentile": 30, "clip": 0.8},
        "react": {"clip": 1.0},
        "dice": {"percentile": 70},
        "bats": {"lam": 1.25},
        "line": {"weight_percentile": 10, "activation_percentile": 10, "clip": 0.8},
        "ash": {"percentile": 90},
        "scale": {"percentile": 85},
        "lts": {"percentile": 95},
        "vra": {"floor": 0.5, "clip": 1.0},
        "nac": {"alpha": 3000, "o_star": 0.01},
        "weiper_kld": {"distance": 2.4, "weight_msp": 0.25, "smoothing": 40},
    },
    "imagenet-mobilenetv2": {"himplos": {"clip": 0.2}, "ash": {"percentile": 90}},
}


def published_settings(checkpoint: str, method: str) -> dict[str, Any]:
    """Published settings of `method` for a known checkpoint; empty if none were published.

    Raises:
        UnknownNameError: If the checkpoint is not known.
    """
    if checkpoint not in PUBLISHED:
        near = difflib.get_close_matches(checkpoint, PUBLISHED, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UnknownNameError(
            f"No published settings for {checkpoint!r}.{hint} Known: {', '.join(PUBLISHED)}."
        )
    return dict(PUBLISHED[checkpoint].get(method, {}))
