"""Early stopping: when to end, as a function of the history alone, and the weights that are kept.

The best epoch is the first with the largest validation accuracy, or the smallest validation loss.
Training ends once so many epochs have passed since then as `training.early_stopping` allows, or
with the last one; the weights of the best epoch are those of the checkpoint.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ltood.core.errors import MissingNeedError
from ltood.networks.training_state import HistoryRow
from ltood.training.plan import TrainingConfig


def require_validation(config: TrainingConfig, splits: Iterable[str]) -> None:
    """Refuse early stopping without validation images.

    Raises:
        MissingNeedError: If the settings ask for it and there is no split val.
    """
    if config.early_stopping is not None and "val" not in splits:
        raise MissingNeedError(
            f"training.early_stopping is {config.early_stopping}, which needs a split val, and "
            "the data have none; add validation images, or set training.early_stopping to null."
        )


def best_row(history: Sequence[HistoryRow], config: TrainingConfig) -> HistoryRow | None:
    """The row of the best epoch so far; None where none was validated.

    What is not finite is worse than everything else.
    """
    metric = f"val_{config.early_stopping_on}"
    best, best_cost = None, math.inf
    for row in history:
        value = row[metric]
        if value is None:
            continue
        cost = -value if config.early_stopping_on == "accuracy" else value
        cost = cost if math.isfinite(cost) else math.inf
        if best is None or cost < best_cost:
            best, best_cost = row, cost
    return best


def is_over(history: Sequence[HistoryRow], config: TrainingConfig) -> bool:
    """Whether there is no further epoch to train."""
    done = len(history)
    if config.early_stopping is None or done >= config.epochs:
        return done >= config.epochs
    best = best_row(history, config)
    if not history or history[-1][f"val_{config.early_stopping_on}"] is None:
        return False  # Nobody has looked whether it was better.
    return best is not None and done - int(best["epoch"] or 0) >= config.early_stopping


class BestWeights:
    """Tensors of some modules as they were after the best epoch, held on the CPU.

    Attributes:
        tensors: By number of the module and name; empty before anything was kept.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        """Take note of the modules."""
        self._modules = list(modules)
        self.tensors: dict[str, Tensor] = {}

    def keep(self) -> None:
        """Keep the tensors as they are now."""
        self.tensors = {
            f"{number}.{name}": value.detach().cpu().clone()
            for number, module in enumerate(self._modules)
            for name, value in module.state_dict().items()
        }

    def restore(self, tensors: Mapping[str, Any]) -> None:
        """Take over what a saved state kept."""
        self.tensors = dict(tensors)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the kept tensors into the modules."""
        for number, module in enumerate(self._modules):
            start = f"{number}."
            module.load_state_dict(
                {
                    name.removeprefix(start): value
                    for name, value in self.tensors.items()
                    if name.startswith(start)
                }
            )
