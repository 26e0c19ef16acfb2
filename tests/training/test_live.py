"""Curves of a training under way: whole after every epoch and kill, and without effect."""

import subprocess

import pytest
from image_samples import make_plan, train_tiny, tree

from ltood.core.errors import ConfigError
from ltood.training.loop import Run


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    return tmp_path


def curve(folder, name):
    lines = (folder / "live/plots/metrics" / f"{name}.tsv").read_text().splitlines()
    return [line.split("\t")[0] for line in lines[1:]]


def test_curves_are_whole_after_a_kill_and_change_nothing(repository, monkeypatch):
    train_tiny("plain", make_plan(checkpoint_minutes=0.0))
    plan = make_plan(checkpoint_minutes=0.0, live=True)
    end, seen = Run._end_epoch, []

    def stopped(run):
        if seen and run.progress.epoch == 1:
            seen.append(curve(repository / "out.training", "val_loss"))
            raise KeyboardInterrupt
        seen.append(None)
        end(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_end_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            train_tiny("out", plan)
    assert seen == [None, ["1"]]
    train_tiny("out", plan)
    for name in ("train/loss", "train/learning_rate", "val_accuracy"):
        assert curve(repository / "out.training", name) == ["1", "2", "3"]
    assert tree(repository / "out") == tree(repository / "plain")


def test_before_the_first_commit_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(ConfigError, match=r"training\.live.*commit"):
        train_tiny("out", make_plan(epochs=1, live=True))
