"""Training that diverges stops with a reason, and nothing bad is kept."""

import pytest
from image_samples import make_plan, state_of, train_tiny

from ltood.core.errors import TrainingError
from ltood.recipes import TrainingRecipe
from ltood.training import train as driver
from ltood.training.loop import Run


class Diverging(TrainingRecipe):
    def losses(self, batch):
        fine = batch.forward(batch.images).logits.square().mean()
        wrong = batch.epoch == 1 and batch.labels[0] >= 0
        return {"fine": fine, "wrong": fine * (float("nan") if wrong else 0.0)}


def test_divergence_names_term_epoch_and_step_and_saves_nothing_bad(tmp_path, monkeypatch):
    build = lambda name, settings, prior: Diverging(prior)  # noqa: E731
    monkeypatch.setattr(driver, "build_recipe", build)
    for _ in range(2):
        with pytest.raises(
            TrainingError,
            match=r"the loss term wrong became nan in epoch 2, step 1; set "
            r"training\.learning_rate lower",
        ):
            train_tiny(tmp_path, make_plan(checkpoint_minutes=0.0))
        (state,) = (state_of(tmp_path) / "state").iterdir()
        assert state.name.startswith("000000006-")


class Breaking(TrainingRecipe):
    """The second epoch has a loss of 0 whose gradient is NaN."""

    def losses(self, batch):
        nothing = (batch.forward(batch.images).logits * 0).sum()
        return {"root": nothing.abs().sqrt() if batch.epoch else nothing}


def test_broken_weights_are_neither_saved_nor_written(tmp_path, monkeypatch):
    build = lambda name, settings, prior: Breaking(prior)  # noqa: E731
    monkeypatch.setattr(driver, "build_recipe", build)
    for minutes in (0.0, 9.0):
        plan = make_plan(epochs=2, batch_size=64, checkpoint_minutes=minutes, checkpoint_epochs=1)
        for _ in range(2):
            with pytest.raises(TrainingError, match=r"weights .* in epoch 2, step 1; set"):
                train_tiny(tmp_path / str(minutes), plan)
        assert sorted(path.name for path in state_of(tmp_path / str(minutes)).iterdir()) == [
            "history.csv",
            "state",
        ]
        (state,) = (state_of(tmp_path / str(minutes)) / "state").iterdir()
        assert state.name.startswith("000000001-")


def test_losses_looked_at_late_still_name_their_step(tmp_path, monkeypatch):
    build = lambda name, settings, prior: Diverging(prior)  # noqa: E731
    monkeypatch.setattr(driver, "build_recipe", build)
    init = Run.__init__

    def late(run, *args):
        init(run, *args)
        run.check_steps = 4

    monkeypatch.setattr(Run, "__init__", late)
    with pytest.raises(TrainingError, match=r"wrong became nan in epoch 2, step 1;"):
        train_tiny(tmp_path, make_plan())
