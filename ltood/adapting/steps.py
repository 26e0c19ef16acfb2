"""The loop of everything that is learned from stored rows, resumable to the bit."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.adapting.rows import TrainingRows, epoch_order
from ltood.core.errors import TrainingError
from ltood.networks.training_state import HistoryRow, Progress, StateKeeper
from ltood.runtime.console import log, progress

#: Seconds after which the state is saved again.
SAVE_SECONDS = 60.0


#: Rows of a batch and the view of each.
Drawn = tuple[NDArray[np.int64], NDArray[np.int64]]


class StepConfig(Protocol):
    """What the loop reads of the settings of a recipe."""

    @property
    def section(self) -> str:
        """Section of `params.yaml`, for messages."""

    @property
    def epochs(self) -> int:
        """Passes over the rows."""

    @property
    def batch_size(self) -> int:
        """Rows of one step."""

    @property
    def learning_rate(self) -> float:
        """Rate, for messages."""


class StepLearner(ABC):
    """One run of learning.

    Attributes:
        progress: How far it has come.
        title: What it does, for the progress bar.
    """

    title: str

    def __init__(self, config: StepConfig, rows: TrainingRows, seed: int) -> None:
        """Prepare the first step.

        Args:
            config: Settings of the loop.
            rows: What to learn from.
            seed: Decides order and views.
        """
        self.progress: Progress[HistoryRow] = Progress()
        self._loop, self._rows, self._seed = config, rows, seed
        self._drawn: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch, or one of all rows where there are fewer."""
        return max(1, len(self._rows) // self._loop.batch_size)

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, `progress` among it."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is kept of the run."""

    @property
    @abstractmethod
    def learning_rate(self) -> float:
        """Rate of the last step."""

    def look(self) -> tuple[float | None, float | None]:
        """Validation accuracy and loss after an epoch; None where nobody looks."""
        return None, None

    def losses(self) -> NDArray[np.float64]:
        """Mean of each loss term over the epochs that are done, [epochs, terms]."""
        others = ("epoch", "learning_rate", "loss", "val_accuracy", "val_loss")
        rows = self.progress.history
        return np.array([[row[name] for name in row if name not in others] for row in rows])

    @abstractmethod
    def _step(
        self, chosen: NDArray[np.int64], views: NDArray[np.int64], following: Drawn | None
    ) -> dict[str, float]:
        """Lower the losses of one batch; their values before that, by name.

        Args:
            chosen: Which of the rows, [B].
            views: Which view of each, [B].
            following: Both of the next step, where there is one in this epoch.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """End what reads in advance."""

    def run(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        """Run the steps that are left, saving the state from time to time.

        Args:
            folder: For the state.
            inputs: Saved with it, to show what it belongs to.

        Raises:
            TrainingError: If a loss is not finite.
            StoreError: If the state cannot be written.
        """
        keeper = StateKeeper(folder, inputs, SAVE_SECONDS)
        epochs, steps = self._loop.epochs, self.steps_per_epoch
        with progress(self.title, epochs * steps, unit="steps") as advance:
            advance(self.progress.epoch * steps + self.progress.step)
            while self.progress.epoch < epochs:
                self._epoch_step()
                advance(1)
                if keeper.is_due():
                    keeper.save(self.progress.epoch * steps + self.progress.step, self.state())

    def _epoch_step(self) -> None:
        """One step, and the end of the epoch where it was the last."""
        now, size = self.progress, self._loop.batch_size
        if self._drawn is None or self._drawn[0] != now.epoch:
            num = len(self._rows), self._rows.num_views
            self._drawn = (now.epoch, *epoch_order(self._seed, now.epoch, *num))
        _, order, views = self._drawn
        part = slice(now.step * size, (now.step + 1) * size)
        following = slice(part.stop, part.stop + size)
        more = now.step + 1 < self.steps_per_epoch
        terms = self._step(
            order[part], views[part], (order[following], views[following]) if more else None
        )
        for name, value in terms.items():
            now.sums[name] = now.sums.get(name, 0.0) + value
        now.step += 1
        if now.step == self.steps_per_epoch:
            means = {name: total / now.step for name, total in now.sums.items()}
            shown = ", ".join(f"{name} {mean:.4g}" for name, mean in means.items())
            done, epochs = now.epoch + 1, self._loop.epochs
            row: HistoryRow = {"epoch": done, "learning_rate": self.learning_rate, **means}
            row["loss"] = sum(means.values())
            row["val_accuracy"], row["val_loss"] = self.look()
            now.history.append(row)
            if row["val_accuracy"] is not None:
                shown += f", validation accuracy {row['val_accuracy']:.1%}"
            if done % max(1, epochs // 10) == 0 or done == epochs:
                log(f"epoch {done} of {epochs}: {shown}")
            now.epoch, now.step, now.sums = done, 0, {}

    def _descend(
        self, optimiser: torch.optim.Optimizer, terms: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """One step of the optimiser along the sum of the terms; their values by name.

        Raises:
            TrainingError: If one is not finite.
        """
        joined = torch.stack(list(terms.values()))
        optimiser.zero_grad()
        joined.sum().backward()  # type: ignore[no-untyped-call]
        # Read once, and after the gradients were asked for: a GPU works on them meanwhile.
        values = dict(zip(terms, joined.tolist(), strict=True))
        if not np.isfinite(list(values.values())).all():
            raise TrainingError(
                f"the losses of step {self.progress.step} in epoch {self.progress.epoch} are "
                f"{values}, which is not finite; lower {self._loop.section}.learning_rate "
                f"({self._loop.learning_rate}) or check the stored features."
            )
        optimiser.step()
        return values
