"""Learning the context vectors of prompts from stored features, resumable to the bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from ltood.adapting.rows import TrainingRows, epoch_order
from ltood.adapting.texts import TextEncoder
from ltood.clip.prompts import PromptBatch, learned_prompts
from ltood.core.errors import TrainingError
from ltood.networks.training_state import Progress, StateKeeper
from ltood.recipes import PromptConfig, PromptRecipe, prompt_learning_rate
from ltood.runtime.console import log, progress

#: Seconds after which the state is saved again.
SAVE_SECONDS = 60.0
#: Deviation of the random start.
_START_DEVIATION = 0.02
_START = 3


def start_context(
    config: PromptConfig, num_classes: int, encoder: TextEncoder, seed: int
) -> Tensor:
    """Context vectors before the first step, [n, W] or, class-specific, [C, n, W].

    Random vectors with deviation 0.02, or the embeddings of the words in `ctx_init`.
    """
    tower = encoder.tower
    if config.ctx_init is None:
        shape: tuple[int, ...] = (config.n_ctx, tower.width)
        if config.class_specific:
            shape = (num_classes, *shape)
        rng = np.random.default_rng([_START, seed % 2**63])
        values = _START_DEVIATION * rng.standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(values).to(tower.device)
    words = encoder.vocabulary.encode(config.ctx_init.replace("_", " "))
    context = tower.embed(torch.tensor(words, device=tower.device))
    if config.class_specific:
        context = context.expand(num_classes, -1, -1)
    return context.clone()


class Learner:
    """One run of prompt learning.

    Attributes:
        progress: How far it has come.
        context: The context vectors, which the steps change.
        frozen: Unit text embeddings of the prompts before the first step, [C, D], where the recipe
            wants them.
    """

    def __init__(
        self,
        recipe: PromptRecipe,
        names: list[str],
        encoder: TextEncoder,
        rows: TrainingRows,
        seed: int,
    ) -> None:
        """Prepare the first step.

        Args:
            recipe: Gives losses and settings.
            names: C class names.
            encoder: Text encoder, on the device of the work.
            rows: What to learn from.
            seed: Decides start, order and views.

        Raises:
            DataError: If a prompt has no words or is longer than the context.
        """
        config = recipe.config
        self.progress: Progress[list[float]] = Progress()
        self._recipe, self._config, self._rows, self._seed = recipe, config, rows, seed
        self._drawn: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None
        self._device = encoder.tower.device
        self._scale = encoder.tower.logit_scale
        self.context = start_context(config, len(names), encoder, seed).requires_grad_()
        prompts = learned_prompts(names, self.context.shape[-2], encoder.vocabulary)
        self._prompts = PromptBatch(prompts, config.position, encoder.tower, config.text_mode)
        self.frozen = self._start_text() if recipe.frozen_copies else None
        self._optimiser = torch.optim.SGD(
            [self.context],
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch, or one of all rows where there are fewer."""
        return max(1, len(self._rows) // self._config.batch_size)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "progress": vars(self.progress),
            "context": self.context.detach(),
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.progress = Progress(**state["progress"])
        with torch.no_grad():
            self.context.copy_(state["context"])
        self._optimiser.load_state_dict(state["optimiser"])

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
        epochs, steps = self._config.epochs, self.steps_per_epoch
        with progress("learn prompts", epochs * steps, unit="steps") as advance:
            advance(self.progress.epoch * steps + self.progress.step)
            while self.progress.epoch < epochs:
                self._epoch_step()
                advance(1)
                if keeper.is_due():
                    keeper.save(self.progress.epoch * steps + self.progress.step, self.state())

    def text(self) -> Tensor:
        """Unit text embeddings of the classes with the present context, [C, D]."""
        return normalize(self._prompts.encode(self.context), dim=1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is kept of the run: text embeddings, the context and the history of the losses."""
        with torch.no_grad():
            weight = self.text()
        found = {
            "weight": weight.cpu().numpy(),
            "context": self.context.detach().cpu().numpy(),
            "history": np.array(self.progress.history),
        }
        if self.frozen is not None:
            found["frozen_weight"] = self.frozen.cpu().numpy()
            found["frozen_copies"] = np.array(self._recipe.frozen_copies, dtype=np.float32)
        return found

    def _start_text(self) -> Tensor:
        with torch.no_grad():
            return self.text()

    def _epoch_step(self) -> None:
        """One step, and the end of the epoch where it was the last."""
        now, size = self.progress, self._config.batch_size
        if self._drawn is None or self._drawn[0] != now.epoch:
            num = len(self._rows), self._rows.num_views
            self._drawn = (now.epoch, *epoch_order(self._seed, now.epoch, *num))
        _, order, views = self._drawn
        part = slice(now.step * size, (now.step + 1) * size)
        terms = self._step(order[part], views[part])
        for name, value in terms.items():
            now.sums[name] = now.sums.get(name, 0.0) + value
        now.step += 1
        if now.step == self.steps_per_epoch:
            means = {name: total / now.step for name, total in now.sums.items()}
            shown = ", ".join(f"{name} {mean:.4g}" for name, mean in means.items())
            done, epochs = now.epoch + 1, self._config.epochs
            if done % max(1, epochs // 10) == 0 or done == epochs:
                log(f"epoch {done} of {epochs}: {shown}")
            now.history.append(list(means.values()))
            now.epoch, now.step, now.sums = now.epoch + 1, 0, {}

    def _step(self, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> dict[str, float]:
        """Lower the losses of one batch; their values before that, by name."""
        for group in self._optimiser.param_groups:
            done = self.progress.step / self.steps_per_epoch
            group["lr"] = prompt_learning_rate(self.progress.epoch, self._config, done)
        text = self.text() if self.frozen is None else torch.cat([self.text(), self.frozen])
        logits = self._logits("features", chosen, views, text)
        local = self._logits("local", chosen, views, text) if self._recipe.needs_local else None
        labels = torch.from_numpy(self._rows.labels[chosen]).to(self._device)
        terms = self._recipe.prompt_losses(logits, local, labels)
        total = torch.stack(list(terms.values())).sum()
        values = {name: value.item() for name, value in terms.items()}
        if not np.isfinite(list(values.values())).all():
            raise TrainingError(
                f"the losses of step {self.progress.step} in epoch {self.progress.epoch} are "
                f"{values}, which is not finite; lower {self._config.section}.learning_rate "
                f"({self._config.learning_rate}) or check the stored features."
            )
        self._optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return values

    def _logits(
        self, array: str, chosen: NDArray[np.int64], views: NDArray[np.int64], text: Tensor
    ) -> Tensor:
        """Scaled cosines of stored rows and the text."""
        stored = torch.from_numpy(self._rows.read(array, chosen, views)).to(self._device)
        return self._scale * normalize(stored, dim=-1) @ text.T
