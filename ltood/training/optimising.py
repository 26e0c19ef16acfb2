"""Which parameters are trained, at which rate, and by which optimiser."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from ltood.core.errors import ConfigError
from ltood.networks.backbone import Backbone
from ltood.recipes import TrainingRecipe
from ltood.training.plan import TrainingConfig


def choose_parameters(
    backbone: Backbone, recipe: TrainingRecipe, config: TrainingConfig
) -> list[nn.Parameter]:
    """Parameters of the backbone that are trained; the others get no gradient from here on.

    Raises:
        ConfigError: If the backbone is frozen and has no linear head to train.
    """
    trained = list(recipe.trainable(backbone))
    if config.freeze == "backbone":
        head = {id(value) for value in head_parameters(backbone)}
        if not head:
            raise ConfigError(
                f"training.freeze is backbone, and {backbone.entry_name} has no linear head that "
                "could be trained alone; set training.freeze to none, or choose another backbone."
            )
        trained = [value for value in trained if id(value) in head]
    chosen = {id(value) for value in trained}
    for value in backbone.parameters():
        value.requires_grad_(id(value) in chosen)
    return trained


def head_parameters(backbone: Backbone) -> list[nn.Parameter]:
    """Weight and bias of the linear head; none where there is no such head."""
    named = dict(backbone.named_parameters())
    return [named[name] for name in backbone.head_names()]


def set_modes(backbone: Backbone, recipe: TrainingRecipe, config: TrainingConfig) -> None:
    """Put everything into the mode of training, and a frozen backbone into that of use."""
    recipe.set_modes(backbone)
    recipe.train()
    if config.freeze == "backbone":
        backbone.eval()  # Its norms neither see nor learn statistics; the head has no modes.


def parameter_groups(
    trained: Iterable[nn.Parameter],
    others: Iterable[nn.Parameter],
    head: Iterable[nn.Parameter],
    factor: float,
) -> list[dict[str, Any]]:
    """Parameters with the factor of their learning rate, the key `factor` of each group.

    Args:
        trained: Those of the backbone that are trained.
        others: Those of the recipe.
        head: Those of the linear head.
        factor: Of all of the backbone but its head.
    """
    own = list(trained)
    if factor == 1:
        return [{"params": [*own, *others], "factor": 1.0}]
    fast = {id(value) for value in head}
    groups = [
        {"params": [value for value in own if id(value) not in fast], "factor": factor},
        {"params": [*(value for value in own if id(value) in fast), *others], "factor": 1.0},
    ]
    return [group for group in groups if group["params"]]


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to its share of `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def build_optimiser(
    groups: Iterable[Mapping[str, Any]], config: TrainingConfig
) -> torch.optim.Optimizer:
    """The optimiser that the settings name."""
    parameters = [dict(group) for group in groups]
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimiser == "sgd":
        momentum = config.momentum
        return torch.optim.SGD(
            parameters,
            rate,
            momentum,
            weight_decay=decay,
            nesterov=config.nesterov and momentum > 0,
        )
    if config.optimiser == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    return torch.optim.AdamW(parameters, rate, weight_decay=decay)
