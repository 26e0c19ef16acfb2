import csv

import numpy as np
import pytest
import torch

from ltood.adapting.adapt import adapt
from ltood.adapting.probing import ProbeLearner
from ltood.adapting.rows import epoch_order, training_rows
from ltood.core.building import EntrySpec
from ltood.core.errors import MissingNeedError, TrainingError
from ltood.core.prior import ClassPrior
from ltood.core.settings import to_section
from ltood.networks.training_state import load_state
from ltood.recipes.linear_probe import Config, Entry
from ltood.scoring.run import score_store
from ltood.store.adapted import read_adapted, with_adapted_head
from ltood.store.exchange import import_folder
from ltood.store.scores import ScoreStore
from tests import prompt_samples

NAMES = ["cat", "dog", "emu"]
CPU = torch.device("cpu")


def clusters(rng, rows, dim=6, scale=1.0):
    labels = np.arange(rows) % 3
    return labels, scale * (2 * np.eye(3, dim)[labels] + 0.3 * rng.normal(size=(rows, dim))), None


@pytest.fixture
def store(tmp_path, rng):
    splits = {"train": clusters(rng, 50), "test": clusters(rng, 20)}
    return prompt_samples.write_store(tmp_path / "f.zarr", splits, NAMES)


def run(store, tmp_path, out="head", seed=0, **settings):
    return adapt(
        store,
        "linear_probe",
        to_section(Config(**settings)),
        None,
        tmp_path / out,
        state_folder=tmp_path / f"{out}.state",
        seed=seed,
        device_name="cpu",
    )


def learner(store, seed=0, **settings):
    recipe = Entry(Config(**settings), ClassPrior(np.ones(3, dtype=np.int64)))
    rows = training_rows(store, recipe.config, seed, local=False)
    return ProbeLearner(recipe, 3, rows, seed, CPU)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def slow_probe(features, labels, order, config, steps, shift=0.0):
    """SGD of a softmax regression in float64, one row at a time."""
    weight, bias = np.zeros((3, features.shape[1])), np.zeros(3)
    speed_w, speed_b = np.zeros_like(weight), np.zeros_like(bias)
    total = config.epochs * steps
    for step in range(total):
        epoch, place = divmod(step, steps)
        rate = config.learning_rate * (1 + np.cos(np.pi * step / total)) / 2
        slope_w, slope_b = config.weight_decay * weight, config.weight_decay * bias
        for row in order(epoch)[place * config.batch_size : (place + 1) * config.batch_size]:
            logits = weight @ features[row] + bias + shift
            gap = np.exp(logits) / np.exp(logits).sum() - np.eye(3)[labels[row]]
            slope_w = slope_w + np.outer(gap, features[row]) / config.batch_size
            slope_b = slope_b + gap / config.batch_size
        speed_w = config.momentum * speed_w + slope_w
        speed_b = config.momentum * speed_b + slope_b
        weight, bias = weight - rate * speed_w, bias - rate * speed_b
    return weight, bias


@pytest.mark.parametrize("standardise", [False, True])
def test_it_is_the_slow_softmax_regression(store, tmp_path, standardise):
    settings = {"epochs": 3, "batch_size": 16, "weight_decay": 0.01, "standardise": standardise}
    head = run(store, tmp_path, seed=4, **settings)
    held = store.split("train").load(["features", "labels"])
    rows = held["features"].astype(np.float64)
    mean, deviation = rows.mean(0), rows.std(0)
    seen = (rows - mean) / deviation if standardise else rows

    def order(epoch):
        return epoch_order(4, epoch, 50, 1)[0]

    weight, bias = slow_probe(seen, held["labels"], order, Config(**settings), 50 // 16)
    if standardise:
        weight = weight / deviation
        bias = bias - weight @ mean
    np.testing.assert_allclose(head.arrays["weight"], weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(head.arrays["bias"], bias, rtol=1e-4, atol=1e-6)
    assert head.arrays["history"].shape == (3, 1)


def test_it_learns_and_stage_two_predicts_with_it(store, tmp_path):
    head = run(store, tmp_path, epochs=10, batch_size=10)
    seen = with_adapted_head(store, tmp_path / "head")
    score_store(seen, tmp_path / "s.zarr", EntrySpec("msp"), device="cpu")
    found = ScoreStore.open(tmp_path / "s.zarr").split("test")
    held = store.split("test").load(["features", "labels"])
    logits = held["features"] @ head.arrays["weight"].T + head.arrays["bias"]
    np.testing.assert_array_equal(found.predictions, logits.argmax(1))
    assert (found.predictions == held["labels"]).mean() > 0.9
    history = head.arrays["history"][:, 0]
    assert history[-1] < history[0] <= np.log(3)


def test_any_store_with_labels_will_do(tmp_path, rng):
    """An imported store has no checkpoint, no head and no text."""
    (tmp_path / "in").mkdir()
    for name in ("train", "test"):
        labels, features, _ = clusters(rng, 30)
        np.savez(tmp_path / "in" / f"{name}.npz", features=features, labels=labels)
    store = import_folder(tmp_path / "in", tmp_path / "i.zarr")
    assert not store.head_arrays()
    head = run(store, tmp_path, epochs=5, batch_size=10)
    assert head.weights_sha256 == ""
    seen = with_adapted_head(store, tmp_path / "head")
    assert seen.head_arrays()["weight"].shape == (3, 6)


def test_arrays_of_the_backbone_stay(tmp_path, rng):
    (tmp_path / "in").mkdir()
    labels, features, _ = clusters(rng, 30)
    for name in ("train", "test"):
        np.savez(tmp_path / "in" / f"{name}.npz", features=features, labels=labels)
    gain, shift = rng.normal(size=(2, 6)).astype(np.float32)
    layer = {"weight": np.ones((3, 6)), "bias": np.zeros(3)}
    np.savez(tmp_path / "in" / "head.npz", **layer, bn_weight=gain, bn_bias=shift)
    head = run(import_folder(tmp_path / "in", tmp_path / "i.zarr"), tmp_path, epochs=1)
    np.testing.assert_array_equal(head.head["bn_weight"], gain)
    np.testing.assert_array_equal(head.head["bn_bias"], shift)


def test_it_learns_from_views_one_at_a_time(tmp_path, rng):
    labels, features, _ = clusters(rng, 12)
    views = np.stack([features, features + 100], axis=1)
    splits = {"train": (labels, features, None), "train_views": (labels, views, None)}
    store = prompt_samples.write_store(tmp_path / "v.zarr", splits, NAMES)
    found = learner(store, standardise=True)
    assert found._features.shape == (12, 2, 6)
    np.testing.assert_allclose(found._mean, views.reshape(-1, 6).mean(0), rtol=1e-5)


def test_a_feature_that_never_changes_is_left_alone(tmp_path, rng):
    labels, features, _ = clusters(rng, 12)
    features[:, 5] = 0.1
    splits = {"train": (labels, features, None), "test": (labels, features, None)}
    store = prompt_samples.write_store(tmp_path / "c.zarr", splits, NAMES)
    head = run(store, tmp_path, standardise=True, epochs=3, batch_size=4)
    assert np.abs(head.arrays["weight"][:, 5]).max() < 1e-4


def test_standardising_forgets_the_scale_of_features(tmp_path, rng):
    heads = []
    for scale in (1.0, 64.0):
        splits = {"train": clusters(np.random.default_rng(1), 24, scale=scale)}
        store = prompt_samples.write_store(tmp_path / f"{scale}.zarr", splits, NAMES)
        heads.append(run(store, tmp_path, str(scale), standardise=True, epochs=3, batch_size=8))
    np.testing.assert_allclose(heads[0].arrays["weight"], 64 * heads[1].arrays["weight"], rtol=1e-3)


@pytest.mark.parametrize("stop", [1, 7])
def test_a_killed_run_goes_on_to_the_same_bits(store, tmp_path, monkeypatch, stop):
    settings = {"epochs": 3, "batch_size": 12}
    run(store, tmp_path, "whole", **settings)
    monkeypatch.setattr("ltood.adapting.steps.SAVE_SECONDS", 0.0)
    take, steps = ProbeLearner._step, []

    def step(self, *given):
        if len(steps) == stop:
            raise KeyboardInterrupt
        steps.append(1)
        return take(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(ProbeLearner, "_step", step)
        with pytest.raises(KeyboardInterrupt):
            run(store, tmp_path, **settings)
    progress = load_state(tmp_path / "head.state" / "state")["progress"]
    assert (progress["epoch"], progress["step"]) == divmod(stop, 4)
    run(store, tmp_path, **settings)
    assert content(tmp_path / "head") == content(tmp_path / "whole")


@pytest.mark.parametrize("changes", [{"learning_rate": 0.2}, {"standardise": True}, {"shots": 3}])
def test_other_inputs_replace_the_head(store, tmp_path, changes):
    settings = {"epochs": 2, "batch_size": 4}
    before = run(store, tmp_path, **settings)
    again = run(store, tmp_path, "again", **settings)
    np.testing.assert_array_equal(again.arrays["weight"], before.arrays["weight"])
    after = run(store, tmp_path, **{**settings, **changes})
    assert not np.array_equal(before.arrays["weight"], after.arrays["weight"])
    assert after.inputs["recipe"]["settings"] == to_section(Config(**{**settings, **changes}))


def test_chosen_rows_are_read_in_blocks(store, monkeypatch):
    rows = training_rows(store, Config(shots=5), 0, local=False)
    expected = np.stack([store.split("train").read("features", row, row + 1) for row in rows.rows])
    monkeypatch.setattr("ltood.adapting.rows._BLOCK_ROWS", 7)
    np.testing.assert_array_equal(rows.all_features(), expected)


def test_features_that_are_no_numbers_end_the_run(tmp_path, rng):
    labels, features, _ = clusters(rng, 12)
    features[:] = np.nan
    store = prompt_samples.write_store(
        tmp_path / "n.zarr", {"train": (labels, features, None)}, NAMES
    )
    with pytest.raises(TrainingError, match=r"recipes\.linear_probe\.learning_rate"):
        learner(store).run(tmp_path / "state", {})


def test_a_recipe_of_text_asks_for_the_text_side(store, tmp_path):
    with pytest.raises(MissingNeedError, match="--checkpoint"):
        adapt(store, "coop", {}, None, tmp_path / "h", state_folder=tmp_path / "s")


@pytest.fixture
def long_tail(tmp_path, rng):
    labels = np.repeat(np.arange(3), (40, 8, 2))
    features = 2 * np.eye(3, 6)[labels] + rng.normal(size=(50, 6))
    splits = {"train": (labels, features, None), "val": clusters(rng, 30), "test": clusters(rng, 9)}
    return prompt_samples.write_store(tmp_path / "tail.zarr", splits, NAMES)


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_logit_adjustment_is_the_slow_one(long_tail, tmp_path, tau):
    settings = {"epochs": 3, "batch_size": 16, "tau": tau}
    head = run(long_tail, tmp_path, seed=4, **settings)
    held = long_tail.split("train").load(["features", "labels"])
    shift = tau * np.log(np.bincount(held["labels"]) / 50)

    def order(epoch):
        return epoch_order(4, epoch, 50, 1)[0]

    rows = held["features"].astype(np.float64)
    weight, bias = slow_probe(rows, held["labels"], order, Config(**settings), 3, shift)
    np.testing.assert_allclose(head.arrays["weight"], weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(head.arrays["bias"], bias, rtol=1e-4, atol=1e-6)


def test_logit_adjustment_takes_the_tail_more_often(long_tail, tmp_path):
    held = long_tail.split("val").load(["features", "labels"])
    found = []
    for tau in (0.0, 1.0):
        head = run(long_tail, tmp_path, out=f"head {tau}", epochs=30, batch_size=10, tau=tau)
        logits = held["features"] @ head.arrays["weight"].T + head.arrays["bias"]
        found.append(int((logits.argmax(1) == 2).sum()))
    assert found[1] > found[0]


def test_a_class_without_rows_is_not_taken(tmp_path, rng):
    labels = np.arange(40) % 2
    features = 2 * np.eye(2, 6)[labels] + 0.3 * rng.normal(size=(40, 6))
    splits = {"train": (labels, features, None), "test": clusters(rng, 9)}
    store = prompt_samples.write_store(tmp_path / "two.zarr", splits, NAMES)
    head = run(store, tmp_path, epochs=20, batch_size=10, tau=1.0)
    assert np.isfinite(head.arrays["weight"]).all()
    logits = features @ head.arrays["weight"].T + head.arrays["bias"]
    assert set(logits.argmax(1)) == {0, 1}


def test_every_epoch_is_told_of(long_tail, tmp_path):
    run(long_tail, tmp_path, epochs=3, batch_size=16, tau=1.0, standardise=True)
    rows = list(csv.DictReader((tmp_path / "head" / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(row["loss"] == row["cross_entropy"] for row in rows)
    head = read_adapted(tmp_path / "head")
    held = long_tail.split("val").load(["features", "labels"])
    logits = held["features"] @ head.arrays["weight"].T + head.arrays["bias"]
    right = (logits.argmax(1) == held["labels"]).mean()
    assert float(rows[-1]["val_accuracy"]) == pytest.approx(right)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -np.log(chances[np.arange(30), held["labels"]]).mean()
    assert float(rows[-1]["val_loss"]) == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(head.arrays["history"][:, 0], [float(row["loss"]) for row in rows])


def test_rows_of_val_that_have_no_class_are_not_looked_at(tmp_path, rng):
    splits = {"train": clusters(rng, 30), "val": (np.full(5, -1), rng.normal(size=(5, 6)), None)}
    store = prompt_samples.write_store(tmp_path / "odd.zarr", splits, NAMES)
    run(store, tmp_path, epochs=1, batch_size=10)
    (row,) = csv.DictReader((tmp_path / "head" / "history.csv").read_text().splitlines())
    assert row["val_accuracy"] == row["val_loss"] == ""
