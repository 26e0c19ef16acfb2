"""Learning the context vectors of prompts from stored features, resumable to the bit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from ltood.adapting.ahead import RowsAhead
from ltood.adapting.rows import TrainingRows
from ltood.adapting.steps import Drawn, StepLearner
from ltood.adapting.texts import TextEncoder
from ltood.clip.prompts import PromptBatch, learned_prompts
from ltood.networks.training_state import Progress
from ltood.recipes import PromptConfig, PromptRecipe, prompt_learning_rate
from ltood.runtime.devices import upload

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


class Learner(StepLearner):
    """One run of prompt learning.

    Attributes:
        context: The context vectors, which the steps change.
        frozen: Unit text embeddings of the prompts before the first step, [C, D], where the recipe
            wants them.
    """

    title = "learn prompts"

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
        super().__init__(config, rows, seed)
        self._recipe, self._config = recipe, config
        arrays = ("features", "local") if recipe.needs_local else ("features",)
        self._ahead = RowsAhead(rows, arrays)
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
    def learning_rate(self) -> float:
        """Rate of the last step."""
        return float(self._optimiser.param_groups[0]["lr"])

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
            "history": self.losses(),
        }
        if self.frozen is not None:
            found["frozen_weight"] = self.frozen.cpu().numpy()
            found["frozen_copies"] = np.array(self._recipe.frozen_copies, dtype=np.float32)
        return found

    def _start_text(self) -> Tensor:
        with torch.no_grad():
            return self.text()

    def close(self) -> None:
        """End the thread that reads rows."""
        self._ahead.close()

    def _step(
        self, chosen: NDArray[np.int64], views: NDArray[np.int64], following: Drawn | None
    ) -> dict[str, float]:
        """Lower the losses of one batch; their values before that, by name."""
        for group in self._optimiser.param_groups:
            done = self.progress.step / self.steps_per_epoch
            group["lr"] = prompt_learning_rate(self.progress.epoch, self._config, done)
        text = self.text() if self.frozen is None else torch.cat([self.text(), self.frozen])
        logits = self._logits("features", chosen, views, text)
        local = self._logits("local", chosen, views, text) if self._recipe.needs_local else None
        if following is not None:
            self._ahead.begin(*following)
        labels = upload(torch.from_numpy(self._rows.labels[chosen]), self._device)
        terms = self._recipe.prompt_losses(logits, local, labels)
        return self._descend(self._optimiser, terms)

    def _logits(
        self, array: str, chosen: NDArray[np.int64], views: NDArray[np.int64], text: Tensor
    ) -> Tensor:
        """Scaled cosines of stored rows and the text."""
        stored = upload(torch.from_numpy(self._ahead.read(array, chosen, views)), self._device)
        return self._scale * normalize(stored, dim=-1) @ text.T
