"""Early stopping keeps the best epoch, and a kill changes neither it nor the moment."""

import csv
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_samples import TinyImages, make_plan, resumed_to_the_bit, train_tiny, tree
from safetensors.torch import load_file

from ltood.core.errors import MissingNeedError
from ltood.networks.checkpoint_files import HISTORY, WEIGHTS
from ltood.training.loop import Run
from ltood.training.plan import TrainingConfig
from ltood.training.stopping import best_row, is_over
from ltood.training.validation import Seen

VALUES = st.one_of(st.none(), st.floats(0, 1), st.just(float("nan")), st.just(float("inf")))


def rows_of(values, metric="loss"):
    return [
        {"epoch": number, f"val_{metric}": value} for number, value in enumerate(values, start=1)
    ]


def script(monkeypatch, losses):
    """Let the looks at val see these losses, one after the other, by epoch."""
    monkeypatch.setattr(
        Run, "_validate", lambda run: Seen(0.5, losses[min(run.progress.epoch, len(losses) - 1)])
    )


@given(st.lists(VALUES, max_size=12), st.integers(1, 4))
def test_it_ends_where_a_plain_loop_would(values, patience):
    config = TrainingConfig(epochs=12, early_stopping=patience)
    best, at, waited, ended = float("inf"), None, 0, None
    for number, value in enumerate(values, start=1):
        waited += 1
        if value is not None and (at is None or value < best):
            best = value if value < float("inf") else float("inf")
            at, waited = number, 0
        if (value is not None and waited >= patience) or number == 12:
            ended = number
            break
    history = rows_of(values)
    found = next((n for n in range(len(values) + 1) if is_over(history[:n], config)), None)
    assert found == ended
    row = best_row(history[: ended or len(values)], config)
    assert (row and row["epoch"]) == at


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_more_accuracy_is_better(values):
    config = TrainingConfig(early_stopping=3, early_stopping_on="accuracy")
    row = best_row(rows_of(values, "accuracy"), config)
    assert row["epoch"] == 1 + values.index(max(values))


def test_the_best_epoch_is_kept(tmp_path, monkeypatch, capsys):
    short = {"schedule": "constant", "early_stopping": 2}
    script(monkeypatch, [0.9, 0.5, 0.6, 0.7, 0.1])
    meta = train_tiny(tmp_path / "long", make_plan(epochs=9, **short))
    rows = list(csv.DictReader((tmp_path / "long" / HISTORY).read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert meta["kept_epoch"] == 2
    assert "epoch 2" in capsys.readouterr().err.splitlines()[-1]
    train_tiny(tmp_path / "two", make_plan(epochs=2, schedule="constant"))
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("long", "two"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_averages_are_kept_as_they_were_validated(tmp_path, monkeypatch):
    short = {"schedule": "constant", "ema": 0.8}
    script(monkeypatch, [0.9, 0.5, 0.6])
    train_tiny(tmp_path / "long", make_plan(epochs=9, early_stopping=1, **short))
    train_tiny(tmp_path / "two", make_plan(epochs=2, **short))
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("long", "two"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stop_at", [3, 8, 15, 22])
def test_a_stopped_run_ends_at_the_same_moment(tmp_path, monkeypatch, stop_at):
    script(monkeypatch, [0.5, 0.9, 0.8, 0.7])
    plan = make_plan(epochs=9, early_stopping=3, checkpoint_minutes=0.0, recipe="bin_disc", ema=0.5)
    assert resumed_to_the_bit(tmp_path, plan, monkeypatch, stop_at=stop_at)
    assert json.loads(tree(tmp_path / "stopped")["checkpoint.json"])["kept_epoch"] == 1


def test_without_it_the_last_epoch_is_kept(tmp_path, monkeypatch):
    script(monkeypatch, [0.1, 0.9])
    meta = train_tiny(tmp_path / "out", make_plan(epochs=2))
    assert "kept_epoch" not in meta


def test_it_needs_validation_images(tmp_path):
    images = TinyImages(splits_held=("train", "test"))
    with pytest.raises(MissingNeedError, match=r"training\.early_stopping.*val"):
        train_tiny(tmp_path / "out", make_plan(early_stopping=2), images)
    train_tiny(tmp_path / "out", make_plan(early_stopping=None, epochs=1), images)
