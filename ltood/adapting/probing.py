"""Learning a linear head from stored features, resumable to the bit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from ltood.adapting.rows import TrainingRows
from ltood.adapting.steps import Drawn, StepLearner
from ltood.networks.training_state import Progress
from ltood.recipes import ProbeRecipe, probe_learning_rate
from ltood.runtime.devices import upload
from ltood.store.features import FeatureSplit

#: Rows that are looked at together.
_BLOCK_ROWS = 2**14


class ProbeLearner(StepLearner):
    """One run of a linear probe.

    Attributes:
        weight: Weight of the features that the steps see, [C, D]; starts at 0.
        bias: Bias, [C].
    """

    title = "learn a linear head"

    def __init__(
        self,
        recipe: ProbeRecipe,
        num_classes: int,
        rows: TrainingRows,
        seed: int,
        device: torch.device,
        val: FeatureSplit | None = None,
    ) -> None:
        """Read the features and prepare the first step.

        Args:
            recipe: Gives losses and settings.
            num_classes: C.
            rows: What to learn from; the features of all of them are held on the device.
            seed: Decides order and views.
            device: Where the work is done.
            val: Validation rows, which are only looked at.
        """
        config = recipe.config
        super().__init__(config, rows, seed)
        self._recipe, self._config = recipe, config
        self._features = torch.from_numpy(rows.all_features()).to(device)
        self._labels = torch.from_numpy(rows.labels).to(device)
        self._val = None if val is None else _held(val, num_classes, device)
        counts = torch.bincount(self._labels, minlength=num_classes)
        self._shift = _shift(counts, config.tau)
        dim = self._features.shape[-1]
        self._mean = torch.zeros(dim, device=device)
        self._deviation = torch.ones(dim, device=device)
        if config.standardise:
            self._mean, self._deviation = _moments(self._features)
        self.weight = torch.zeros(num_classes, dim, device=device, requires_grad=True)
        self.bias = torch.zeros(num_classes, device=device, requires_grad=True)
        self._optimiser = torch.optim.SGD(
            [self.weight, self.bias],
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    @property
    def learning_rate(self) -> float:
        """Rate of the last step."""
        return float(self._optimiser.param_groups[0]["lr"])

    @torch.no_grad()
    def look(self) -> tuple[float | None, float | None]:
        """Share of right validation rows, and their cross entropy without any shift."""
        if self._val is None:
            return None, None
        right, total = 0, 0.0
        parts = (torch.split(part, _BLOCK_ROWS) for part in self._val)
        for rows, labels in zip(*parts, strict=True):
            logits = self._logits(rows.float())
            right += int((logits.argmax(dim=1) == labels).sum())
            total += float(cross_entropy(logits.double(), labels, reduction="sum"))
        num = len(self._val[1])
        return right / num, total / num

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "progress": vars(self.progress),
            "weight": self.weight.detach(),
            "bias": self.bias.detach(),
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.progress = Progress(**state["progress"])
        with torch.no_grad():
            self.weight.copy_(state["weight"])
            self.bias.copy_(state["bias"])
        self._optimiser.load_state_dict(state["optimiser"])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The head for features as they are stored, and the history of the losses."""
        weight = self.weight.detach().double() / self._deviation.double()
        bias = self.bias.detach().double() - weight @ self._mean.double()
        return {
            "weight": weight.float().cpu().numpy(),
            "bias": bias.float().cpu().numpy(),
            "history": self.losses(),
        }

    def _step(
        self, chosen: NDArray[np.int64], views: NDArray[np.int64], following: Drawn | None
    ) -> dict[str, float]:
        """Lower the losses of one batch; all rows are held, so nothing is read in advance."""
        del following
        now, steps = self.progress, self.steps_per_epoch
        done = (now.epoch + now.step / steps) / self._config.epochs
        for group in self._optimiser.param_groups:
            group["lr"] = probe_learning_rate(done, self._config)
        picked = upload(torch.from_numpy(chosen), self._features.device)
        view = upload(torch.from_numpy(views), self._features.device)
        logits = self._logits(self._features[picked, view].float()) + self._shift
        terms = self._recipe.probe_losses(logits, self._labels[picked])
        return self._descend(self._optimiser, terms)

    def _logits(self, features: Tensor) -> Tensor:
        """Of features as they are stored, [N, D] float32."""
        seen = (features - self._mean) / self._deviation
        return seen @ self.weight.T + self.bias


def _shift(counts: Tensor, tau: float) -> Tensor:
    """What logits are shifted by while learning, [C].

    Rare classes are handicapped, so the head must learn to favour them. A class without rows is
    not: it would come out above the others, which nothing in the rows speaks for.
    """
    shares = counts.double() / counts.sum()
    logs = torch.where(counts > 0, shares, 1.0).log()
    return (tau * logs).float()


def _held(
    split: FeatureSplit, num_classes: int, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """Features and labels of the rows of a split that have a class; None without any."""
    held = split.load(["features", "labels"])
    rows = (held["labels"] >= 0) & (held["labels"] < num_classes)
    if not rows.any():
        return None
    features, labels = torch.from_numpy(held["features"][rows]), held["labels"][rows]
    return features.to(device), torch.from_numpy(labels.astype(np.int64)).to(device)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature over all rows and views, [D] both; 1 where it is 0."""
    rows = features.flatten(end_dim=1)
    # Block by block in float64: rows may be many and narrow.
    blocks = torch.split(rows, _BLOCK_ROWS)
    mean = torch.stack([block.double().sum(dim=0) for block in blocks]).sum(dim=0) / len(rows)
    squares = torch.stack([(block.double() - mean).square().sum(dim=0) for block in blocks])
    deviation = (squares.sum(dim=0) / len(rows)).sqrt()
    # A feature that never changes says nothing, and rounding must not make it loud.
    still = deviation <= 1e-6 * mean.abs()
    return mean.float(), torch.where(still, 1.0, deviation).float()
