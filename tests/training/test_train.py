"""Training ends with the same bytes however often it is killed, and says why it starts over."""

import csv
import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_samples import (
    GreedyRecipe,
    TinyImages,
    child,
    kill_when,
    make_plan,
    state_of,
    train_tiny,
    tree,
)

from ltood.core.errors import ConfigError, DataError, MissingNeedError, StoreError
from ltood.images.arrays import ImageSplit
from ltood.networks.checkpoint import load_checkpoint
from ltood.networks.checkpoint_files import META
from ltood.runtime.kept import keep
from ltood.training import train as driver
from ltood.training.loop import Run


class Stopped(Exception):
    pass


@pytest.fixture
def greedy(monkeypatch):
    monkeypatch.setattr(driver, "build_recipe", lambda name, settings, prior: GreedyRecipe(prior))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "checkpoint"
    train_tiny(out, make_plan())
    return tree(out)


def stop_after(monkeypatch, num_steps):
    """Let a run take `num_steps` steps and then fail."""
    step, left = Run._step, [num_steps]

    def counting(run):
        if not left[0]:
            raise Stopped
        left[0] -= 1
        return step(run)

    monkeypatch.setattr(Run, "_step", counting)


def test_a_finished_checkpoint_holds_three_files_and_no_clock(undisturbed):
    assert set(undisturbed) == {"model.safetensors", "checkpoint.json", "history.csv"}
    meta = json.loads(undisturbed["checkpoint.json"])
    assert set(meta) == {
        "backbone", "class_counts", "class_names", "code_sha256", "content_sha256", "data",
        "fingerprint", "history_sha256", "images", "libraries", "precision", "recipe", "schema",
        "seed", "training", "val_accuracy", "weights_sha256",
    }  # fmt: skip
    assert meta["class_counts"] == [24, 12, 6]
    assert meta["precision"] == "float32"
    assert meta["images"]["mean"] == pytest.approx(
        [TinyImages().split("train").images.mean() / 255]
    )


def test_history_has_a_row_for_each_epoch(undisturbed):
    rows = list(csv.DictReader(undisturbed["history.csv"].decode().splitlines()))
    names = ["epoch", "learning_rate", "cross_entropy", "loss", "val_accuracy", "val_loss"]
    assert list(rows[0]) == names
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(row["loss"] == row["cross_entropy"] for row in rows)
    meta = json.loads(undisturbed["checkpoint.json"])
    assert float(rows[-1]["val_accuracy"]) == meta["val_accuracy"]


def test_validation_may_be_looked_at_less_often(tmp_path):
    train_tiny(tmp_path, make_plan(validation_epochs=2))
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [bool(row["val_accuracy"]) for row in rows] == [False, True, True]


def test_equal_plans_give_equal_bytes_and_other_seeds_do_not(tmp_path, undisturbed):
    torch.manual_seed(77)
    train_tiny(tmp_path / "again", make_plan())
    assert tree(tmp_path / "again") == undisturbed
    train_tiny(tmp_path / "other", make_plan(seed=1))
    assert tree(tmp_path / "other")["model.safetensors"] != undisturbed["model.safetensors"]


def test_global_random_state_is_left_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train_tiny(tmp_path, make_plan(epochs=1))
    assert torch.equal(torch.rand(2), expected)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("num_steps", [0, 1, 5, 6, 7, 11, 16, 17])
@pytest.mark.parametrize("minutes", [0.0, 60.0])
def test_stopping_after_any_step_leaves_no_trace(
    tmp_path, undisturbed, monkeypatch, num_steps, minutes
):
    plan = make_plan(checkpoint_minutes=minutes, checkpoint_epochs=1)
    with monkeypatch.context() as patch:
        stop_after(patch, num_steps)
        with pytest.raises(Stopped):
            train_tiny(tmp_path, plan)
    assert not (tmp_path / "checkpoint.json").exists()
    train_tiny(tmp_path, plan)
    assert tree(tmp_path) == undisturbed


def test_resuming_does_only_what_is_left(tmp_path, monkeypatch, capsys):
    plan = make_plan(checkpoint_minutes=0.0)
    with monkeypatch.context() as patch:
        stop_after(patch, 10)
        with pytest.raises(Stopped):
            train_tiny(tmp_path, plan)
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        train_tiny(tmp_path, plan)
    assert "training resumes after epoch 1, step 4." in capsys.readouterr().err


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_everything_a_recipe_carries_survives_a_stop(tmp_path, monkeypatch, greedy, optimiser):
    plan = make_plan(epochs=2, optimiser=optimiser, learning_rate=0.01, checkpoint_minutes=0.0)
    train_tiny(tmp_path / "straight", plan)
    for num_steps in (4, 3):
        with monkeypatch.context() as patch:
            stop_after(patch, num_steps)
            with pytest.raises(Stopped):
                train_tiny(tmp_path / "stopped", plan)
    train_tiny(tmp_path / "stopped", plan)
    assert tree(tmp_path / "stopped") == tree(tmp_path / "straight")
    backbone, _ = load_checkpoint(tmp_path / "straight")
    assert backbone.head_arrays()["extra_weight"].shape == (1, 128)
    history = (tmp_path / "straight" / "history.csv").read_text()
    assert history.startswith(
        "epoch,learning_rate,classes,views,outliers,loss,val_accuracy,val_loss\n"
    )


def test_weights_of_a_recipe_are_trained(tmp_path, monkeypatch):
    kept = []

    def build(name, settings, prior):
        kept.append(GreedyRecipe(prior))
        return kept[0]

    monkeypatch.setattr(driver, "build_recipe", build)
    before = []
    monkeypatch.setattr(
        Run, "restore", lambda run, state: before.append(run.recipe.projection.weight.clone())
    )
    train_tiny(tmp_path, make_plan(epochs=1))
    assert not torch.equal(kept[0].projection.weight, before[0])


def test_killed_processes_leave_no_trace(tmp_path, undisturbed):
    moments = random.Random()
    plan = make_plan(checkpoint_minutes=0.0)
    steps = sorted(moments.sample(range(1, 17), 3))
    killed = 0
    for step in steps:
        process = child(train_tiny, tmp_path, plan)

        def reached(least=step):
            names = [path.name for path in state_of(tmp_path).glob("state/*.pt")]
            return any(int(name[:9]) >= least for name in names)

        killed += kill_when(process, reached, moments)
    assert killed >= 1
    process = child(train_tiny, tmp_path, plan)
    process.join()
    assert process.exitcode == 0
    assert tree(tmp_path) == undisturbed


def failing(monkeypatch, count, *places):
    """Let the `count`-th call of any of these functions fail, as a kill just before it would."""
    left = [count]

    def wrap(function):
        def counted(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise Stopped
            return function(*args, **kwargs)

        return counted

    for owner, name in places:
        monkeypatch.setattr(owner, name, wrap(getattr(owner, name)))


WRITES = (
    (Path, "mkdir"),
    (Path, "rename"),
    (Path, "replace"),
    (Path, "unlink"),
    (os, "link"),
    (shutil, "rmtree"),
)


@pytest.mark.parametrize("old", [False, True])
def test_killed_before_any_change_of_the_disk(tmp_path, old):
    """Every write, rename and removal of a run is once the one that is not reached."""
    plan = make_plan(epochs=1, batch_size=42, checkpoint_epochs=1)
    train_tiny(tmp_path / "whole", plan)
    whole = tree(tmp_path / "whole")
    count, done = 0, False
    while not done:
        count += 1
        out = tmp_path / str(count)
        if old:
            train_tiny(out, replace(plan, seed=1))
        with pytest.MonkeyPatch.context() as patch:
            failing(patch, count, *WRITES)
            try:
                train_tiny(out, plan)
                done = True
            except Stopped:
                found = tree(out) if out.exists() else {}
                seeds = [json.loads(found["checkpoint.json"])["seed"]] if found else []
                assert found == whole or seeds in ([], [1])  # never a mixture
        assert train_tiny(out, plan)["seed"] == 0
        assert tree(out) == whole
        left = {name for name in tree(state_of(out)) if not name.startswith(".")}
        assert left == {f"finished/{name}" for name in whole}
    assert count > 10


def test_a_deleted_output_comes_back_without_training(tmp_path, undisturbed, monkeypatch):
    train_tiny(tmp_path / "out", make_plan())
    stop_after(monkeypatch, 0)
    shutil.rmtree(tmp_path / "out")  # as DVC does before it runs the stage
    train_tiny(tmp_path / "out", make_plan(checkpoint_minutes=1.0))
    assert tree(tmp_path / "out") == undisturbed
    first, second = (
        (folder / "model.safetensors").stat()
        for folder in (tmp_path / "out", state_of(tmp_path / "out") / "finished")
    )
    assert first.st_ino == second.st_ino


def test_a_checkpoint_that_was_brought_back_is_kept(tmp_path, monkeypatch):
    """An earlier recipe's, from the cache of DVC, survives a rerun that changes nothing."""
    train_tiny(tmp_path / "out", make_plan(epochs=1))
    (tmp_path / "out").rename(tmp_path / "cache")
    train_tiny(tmp_path / "out", make_plan(epochs=1, seed=1))
    shutil.rmtree(tmp_path / "out")
    shutil.copytree(tmp_path / "cache", tmp_path / "out")
    for _ in range(2):
        keep(tmp_path / "out", state_of(tmp_path / "out"), META)
    shutil.rmtree(tmp_path / "out")
    stop_after(monkeypatch, 0)
    train_tiny(tmp_path / "out", make_plan(epochs=1))
    assert tree(tmp_path / "out") == tree(tmp_path / "cache")


def test_there_may_be_nothing_to_keep(tmp_path):
    keep(tmp_path / "absent", tmp_path / "work", META)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_kept_checkpoint_is_not_used(tmp_path, undisturbed, capsys):
    train_tiny(tmp_path / "out", make_plan())
    shutil.rmtree(tmp_path / "out")
    weights = state_of(tmp_path / "out") / "finished" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    train_tiny(tmp_path / "out", make_plan())
    assert "It is not used." in capsys.readouterr().err
    assert tree(tmp_path / "out") == undisturbed


def test_epochs_of_an_unfinished_run_can_be_followed(tmp_path, monkeypatch):
    stop_after(monkeypatch, 6)
    with pytest.raises(Stopped):
        train_tiny(tmp_path / "out", make_plan())
    text = (state_of(tmp_path / "out") / "history.csv").read_text()
    assert [line.split(",")[0] for line in text.splitlines()] == ["epoch", "1"]
    assert not (tmp_path / "out").exists()


def test_a_finished_checkpoint_is_left_as_it_is(tmp_path, monkeypatch):
    train_tiny(tmp_path, make_plan())
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    stop_after(monkeypatch, 0)
    # Neither the rhythm of saving nor an OOD set has a say in the weights.
    meta = train_tiny(tmp_path, make_plan(checkpoint_epochs=2, checkpoint_minutes=1.0))
    assert meta == json.loads((tmp_path / "checkpoint.json").read_text())
    train_tiny(tmp_path, make_plan(), TinyImages(splits_held=("train", "val", "test")))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


@pytest.mark.parametrize(
    ("plan", "images", "said"),
    [
        (make_plan(seed=1), TinyImages(), "seed was 0, now 1"),
        (make_plan(learning_rate=0.1), TinyImages(), "training.learning_rate was 0.05, now 0.1"),
        (make_plan(amp="bf16"), TinyImages(), "precision was 'float32', now 'bfloat16'"),
        (make_plan(), TinyImages(seed=1), "data.train was '"),
        (
            make_plan(recipe="logit_adjustment", recipe_settings={"tau": 0.5}),
            TinyImages(),
            "code_sha256 was",
        ),
    ],
)
def test_other_inputs_start_over(tmp_path, undisturbed, capsys, plan, images, said):
    train_tiny(tmp_path, make_plan())
    capsys.readouterr()
    train_tiny(tmp_path, plan, images)
    err = capsys.readouterr().err
    assert err.startswith("training starts over (")
    assert said in err
    train_tiny(tmp_path / "fresh", plan, images)
    fresh = tree(tmp_path / "fresh")
    assert {name: (tmp_path / name).read_bytes() for name in fresh} == fresh


def test_an_unfinished_run_of_other_inputs_starts_over(tmp_path, monkeypatch, undisturbed, capsys):
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            train_tiny(tmp_path, make_plan(seed=5, checkpoint_minutes=0.0))
    train_tiny(tmp_path, make_plan())
    assert "training starts over (seed was 5, now 0)." in capsys.readouterr().err
    assert tree(tmp_path) == undisturbed


def test_changed_weights_are_trained_again(tmp_path, undisturbed, capsys):
    train_tiny(tmp_path, make_plan())
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    train_tiny(tmp_path, make_plan())
    assert "it was changed after training" in capsys.readouterr().err
    assert tree(tmp_path) == undisturbed


def test_unreadable_state_starts_over(tmp_path, monkeypatch, undisturbed):
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            train_tiny(tmp_path, make_plan(checkpoint_minutes=0.0))
    (state,) = (state_of(tmp_path) / "state").iterdir()
    state.write_bytes(state.read_bytes()[:-10])
    train_tiny(tmp_path, make_plan())
    assert tree(tmp_path) == undisturbed


def test_only_train_and_validation_images_are_read(tmp_path, greedy):
    images = TinyImages()
    train_tiny(tmp_path / "aux", make_plan(epochs=1), images)
    assert set(images.read) == {"train", "val", "aux"}


def test_without_outliers_aux_is_not_read(tmp_path):
    images = TinyImages()
    train_tiny(tmp_path, make_plan(epochs=1), images)
    assert set(images.read) == {"train", "val"}


def test_a_recipe_that_needs_outliers_says_so(tmp_path, greedy):
    images = TinyImages(splits_held=("train", "val"))
    with pytest.raises(
        MissingNeedError, match=r"recipe cross_entropy needs auxiliary outliers \(split aux\)"
    ):
        train_tiny(tmp_path, make_plan(), images)


def test_without_validation_images(tmp_path):
    meta = train_tiny(tmp_path, make_plan(epochs=1), TinyImages(splits_held=("train",)))
    assert meta["val_accuracy"] is None


@pytest.mark.parametrize("name", ["notes.txt", "zarr.json"])
def test_a_folder_of_something_else_is_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(StoreError, match=rf"holds '{name}'.*move it away"):
        train_tiny(tmp_path, make_plan())
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*file"):
        train_tiny(tmp_path / "file" / "checkpoint", make_plan())


def test_another_schema_is_trained_again(tmp_path, undisturbed, capsys):
    train_tiny(tmp_path, make_plan())
    meta = tmp_path / "checkpoint.json"
    meta.write_text(meta.read_text().replace('"schema": 2', '"schema": 0'))
    train_tiny(tmp_path, make_plan())
    assert "was written with schema 0, this version reads 2" in capsys.readouterr().err
    assert tree(tmp_path) == undisturbed


def test_it_learns(tmp_path):
    meta = train_tiny(tmp_path, make_plan(epochs=8))
    assert meta["val_accuracy"] > 0.9
    history = np.genfromtxt(tmp_path / "history.csv", delimiter=",", names=True)
    assert history["loss"][-1] < 0.3 * history["loss"][0]


@pytest.mark.parametrize("settings", [{"channels_last": True}, {"deterministic": False}])
def test_layout_and_algorithms_change_rounding_only(tmp_path, undisturbed, settings):
    train_tiny(tmp_path / "other", make_plan(epochs=1, **settings))
    train_tiny(tmp_path / "plain", make_plan(epochs=1))
    mine, _ = load_checkpoint(tmp_path / "other")
    plain, _ = load_checkpoint(tmp_path / "plain")
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-3, atol=1e-3)


def test_a_missing_gpu_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"device is 'cuda:99' but \d+ CUDA devices are there"):
        driver.train(
            make_plan(), TinyImages(), tmp_path / "out", "cuda:99", state_folder=tmp_path / "work"
        )


def test_colour_images(tmp_path):
    train_tiny(tmp_path, make_plan(epochs=1), TinyImages(channels=3))
    backbone, meta = load_checkpoint(tmp_path)
    assert meta["images"]["channels"] == 3
    assert backbone(torch.rand(2, 3, 8, 8)).logits.shape == (2, 3)


def test_images_of_one_colour_cannot_be_learned(tmp_path):
    images = TinyImages()
    train = images.split("train")
    flat = ImageSplit(np.full_like(train.images, 7), train.labels, train.ids)
    images._splits["train"] = flat
    with pytest.raises(DataError, match=r"image std is \[0\.0\]; pixels are divided by it"):
        train_tiny(tmp_path, make_plan(), images)
