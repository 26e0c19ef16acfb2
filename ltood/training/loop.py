"""The loop: steps, epochs, validation, and states to continue from."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltood.core.errors import TrainingError
from ltood.images.sources import ImageData
from ltood.networks.backbone import Backbone
from ltood.networks.checkpoint_files import HISTORY
from ltood.networks.pixels import memory_layout
from ltood.networks.training_state import HistoryRow, Progress, StateKeeper, history_csv
from ltood.recipes import TrainingRecipe
from ltood.runtime.console import duration, log, progress
from ltood.runtime.devices import Precision
from ltood.runtime.distributed import Ranks
from ltood.runtime.files import write_atomically
from ltood.training.batches import Batches
from ltood.training.counted import derive_seed
from ltood.training.forward import Forward
from ltood.training.live import LIVE, live_curves
from ltood.training.optimising import (
    build_optimiser,
    choose_parameters,
    head_parameters,
    parameter_groups,
    set_modes,
    set_rate,
)
from ltood.training.plan import Plan, learning_rate
from ltood.training.sharing import (
    all_reduce_gradients,
    share_recipe_gradients,
    share_recipe_state,
)
from ltood.training.stepping import ExponentialMovingAverage, micro_batches
from ltood.training.stopping import BestWeights, best_row, is_over
from ltood.training.validation import Seen, Validation
from ltood.training.work import STATE

#: Check losses for NaN every so many steps on a GPU; each check synchronises it.
_CHECK_STEPS = 20


class Run:
    """A backbone under training."""

    def __init__(
        self,
        plan: Plan,
        data: ImageData,
        backbone: Backbone,
        recipe: TrainingRecipe,
        device: torch.device,
        precision: Precision,
        ranks: Ranks | None = None,
    ) -> None:
        """Move everything to the device and build the optimiser."""
        self.plan, self.config, self.device = plan, plan.training, device
        self.ranks, self.class_names = ranks or Ranks(), data.class_names
        self.layout = memory_layout(self.config.channels_last, device)
        self.backbone = backbone.to(device).to(memory_format=self.layout)
        self.recipe = recipe.to(device)
        self.val = Validation(data, backbone, device, self.layout, self.ranks)
        self.check_steps = _CHECK_STEPS if device.type == "cuda" else 1
        # First, because it replaces batch norms where there are several ranks.
        self.forward = Forward(backbone, device, precision, self.ranks)
        self.trained = choose_parameters(backbone, recipe, self.config)
        self.batches = Batches(
            plan, data, recipe, backbone, device, self.layout, self.ranks, self.forward
        )
        if self.config.compile:
            backbone.compile()
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        groups = parameter_groups(
            self.trained,
            recipe.parameters(),
            head_parameters(backbone),
            self.config.backbone_rate,
        )
        self.optimiser = build_optimiser(groups, self.config)
        self.best = BestWeights((backbone, recipe))
        self.averaged = ExponentialMovingAverage((backbone, recipe), self.config.ema)
        self.progress: Progress[HistoryRow] = Progress()
        self.num_seen, self.begun = 0, time.monotonic()
        self.pending: list[tuple[int, tuple[str, ...], Tensor, int]] = []

    def close(self) -> None:
        """End the threads that decode."""
        self.batches.close()
        self.val.close()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; an empty one is a fresh start."""
        if not state:
            return
        self.backbone.load_state_dict(state["backbone"])
        self.recipe.load_state_dict(state["recipe"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state.get("scaler", {}))
        self.averaged.restore(state.get("averaged", {}))
        self.best.restore(state.get("best", {}))
        self.progress = Progress(**state["progress"])
        log(f"training resumes after epoch {self.progress.epoch}, step {self.progress.step}.")

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        state: dict[str, Any] = {
            "backbone": self.backbone.state_dict(),
            "recipe": self.recipe.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": vars(self.progress),
        }
        if self.scaler.is_enabled():
            state["scaler"] = self.scaler.state_dict()
        if self.averaged.decay:
            state["averaged"] = self.averaged.weights
        if self.best.tensors:
            state["best"] = self.best.tensors
        return state

    def run(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        """Train the epochs that are left.

        Args:
            folder: For states and the history so far.
            inputs: Saved with the states, so that it is known what they belong to.
        """
        first, num_steps = self.ranks.rank == 0, self.batches.num_steps
        seconds = 60 * self.config.checkpoint_minutes
        keeper = StateKeeper(folder / STATE, inputs, seconds, active=first)
        with live_curves(folder / LIVE, wanted=first and self.config.live) as show:
            show(self.progress.history)
            while not is_over(self.progress.history, self.config):
                self._epoch(keeper)
                show(self.progress.history)
                if first:
                    write_atomically(folder / HISTORY, history_csv(self.progress.history).encode())
                if self.progress.epoch % self.config.checkpoint_epochs == 0:
                    keeper.save(self.progress.epoch * num_steps, self.state())

    def _epoch(self, keeper: StateKeeper) -> None:
        """Take the steps that are left of an epoch, and look at what they brought."""
        num_steps = self.batches.num_steps
        title = f"epoch {self.progress.epoch + 1} of {self.config.epochs}"
        with progress(title, self.batches.num_images, "images") as advance:
            advance(self.batches.images_before(self.progress.step))
            while self.progress.step < num_steps:
                advance(self._step(), self._means())
                if keeper.is_due():
                    self._check_losses()
                    self._check_weights()
                    keeper.save(self.progress.epoch * num_steps + self.progress.step, self.state())
        self._end_epoch()

    def _means(self) -> str:
        """Mean of each loss term over the checked steps of the epoch."""
        seen = self.batches.images_before(self.progress.step) - sum(row[3] for row in self.pending)
        return ", ".join(f"{name} {total / seen:.3f}" for name, total in self.progress.sums.items())

    def _step(self) -> int:
        """Take the next step of the optimiser; gives the number of its images."""
        epoch, step = self.progress.epoch, self.progress.step
        # For layers such as dropout that draw from the global state.
        torch.manual_seed(derive_seed(self.plan.seed, epoch, step, "layers"))
        batch = self.batches.batch(epoch, step)
        rate = learning_rate(
            epoch * self.batches.num_steps + step, self.batches.num_steps, self.config
        )
        set_rate(self.optimiser, rate)
        set_modes(self.backbone, self.recipe, self.config)
        self.optimiser.zero_grad()
        names: tuple[str, ...] = ()
        total: Tensor | None = None
        for part, share in micro_batches(batch, self.config.accumulate):
            terms = self.recipe.losses(part)
            values = torch.stack([term.float() for term in terms.values()])
            if share < 1:
                values = values * share
            torch.autograd.backward(self.scaler.scale(values.sum()))
            names = tuple(terms)
            total = values.detach() if total is None else total + values.detach()
        assert total is not None
        all_reduce_gradients(self.trained, self.ranks)
        share_recipe_gradients(self.recipe, self.ranks)
        if self.config.clip_norm is not None:
            self.scaler.unscale_(self.optimiser)
            parameters = [*self.trained, *self.recipe.parameters()]
            torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.averaged.update()
        self.pending.append((step, names, total, len(batch.labels)))
        self.progress.step += 1
        self.num_seen += len(batch.labels)
        if len(self.pending) >= self.check_steps:
            self._check_losses()
        return len(batch.labels)

    def _check_losses(self) -> None:
        """Add up the losses of the last steps and refuse those that are not finite."""
        for step, names, values, num in self.pending:
            for name, value in zip(names, values.tolist(), strict=True):
                if not math.isfinite(value):
                    raise TrainingError(
                        f"the loss term {name} became {value} in epoch "
                        f"{self.progress.epoch + 1}, step {step + 1}; set training.learning_rate "
                        "lower, training.warmup_epochs higher or training.amp to off."
                    )
                self.progress.sums[name] = self.progress.sums.get(name, 0.0) + value * num
        self.pending.clear()

    def _check_weights(self) -> None:
        """Refuse weights that the last step broke, which its losses do not show yet."""
        parameters = [*self.trained, *self.recipe.parameters()]
        if parameters and not torch.stack([value.isfinite().all() for value in parameters]).all():
            raise TrainingError(
                f"weights became NaN or infinite in epoch {self.progress.epoch + 1}, step "
                f"{self.progress.step}; set training.clip_norm to a number such as 1, "
                "training.learning_rate lower or training.amp to off."
            )

    def _end_epoch(self) -> None:
        """Validate and begin the next epoch."""
        self._check_losses()
        share_recipe_state(self.recipe, self.ranks)
        self._check_weights()
        done = self.progress.epoch + 1
        last_step = done * self.batches.num_steps - 1
        means = {
            name: total / self.batches.num_images for name, total in self.progress.sums.items()
        }
        validates = done % self.config.validation_epochs == 0 or done == self.config.epochs
        row: HistoryRow = {
            "epoch": done,
            "learning_rate": learning_rate(last_step, self.batches.num_steps, self.config),
            **means,
            "loss": sum(means.values()),
            "val_accuracy": None,
            "val_loss": None,
        }
        history = [*self.progress.history, row]
        if validates:
            with self.averaged.applied():
                seen = self._validate()
                # Ranks on different devices may round otherwise, and must agree when to stop.
                row["val_accuracy"], row["val_loss"] = self.ranks.broadcast(tuple(seen))
                if self.config.early_stopping and best_row(history, self.config) is row:
                    self.best.keep()
        self.progress = Progress(done, history=history)
        over = is_over(history, self.config)
        reports = done % max(1, self.config.epochs // 10) == 0 or over
        if reports and self.ranks.rank == 0:
            accuracy = row["val_accuracy"]
            right = "" if accuracy is None else f", validation accuracy {accuracy:.1%}"
            news = f"epoch {done} of {self.config.epochs}: loss {row['loss']:.4f}{right}"
            log(f"{news}, {self._pace(0 if over else self.config.epochs - done)}")

    @property
    def kept(self) -> HistoryRow | None:
        """The row of the epoch whose weights are the result; None before the first epoch."""
        history = self.progress.history
        best = best_row(history, self.config) if self.best.tensors else None
        return best or (history[-1] if history else None)

    def end(self) -> None:
        """Put the weights into the network that are the result, after the last epoch."""
        if not self.best.tensors:
            self.averaged.apply()
            return
        self.best.apply()
        kept = self.kept
        if kept is not None and self.ranks.rank == 0:
            log(
                f"the weights of epoch {kept['epoch']} are kept, of {self.progress.epoch} that "
                f"were trained: its validation {self.config.early_stopping_on} was best."
            )

    def _pace(self, epochs_left: int) -> str:
        """Images a second since this process began, and what is left at that pace."""
        rate = self.num_seen / max(time.monotonic() - self.begun, 1e-9)
        left = epochs_left * self.batches.num_images / max(rate, 1e-9)
        words = f"{rate:,.0f} images/s"
        return f"{words}, {duration(left)} left" if epochs_left else words

    def _validate(self) -> Seen:
        """Accuracy and cross entropy on the validation images."""
        self.backbone.eval()
        return self.val.look(lambda images: self.recipe.class_logits(self.forward.alone(images)))
