"""Promises of a pipeline: the same as those of the command line, on arrays."""

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import make_toy

import ltood
from ltood.core.errors import ConfigError, DataError, MissingNeedError, NotFittedError


@pytest.fixture(scope="module")
def arrays():
    toy, other = make_toy(), make_toy(seed=3)
    (train,) = toy.inputs.train.batches()
    return {
        "x": train.features.numpy(),
        "y": train.labels.numpy(),
        "val": other.id_batch.features.numpy(),
        "val_y": other.id_batch.labels.numpy(),
        "ood": toy.ood_batch.features.numpy(),
        "head": toy.head,
    }


@pytest.fixture
def pipe(arrays):
    pipe = ltood.Pipeline("energy", head=arrays["head"], class_names=list("abcd"), device="cpu")
    pipe.fit(arrays["x"], arrays["y"])
    return pipe.set_threshold(arrays["val"], arrays["val_y"])


def test_a_promise_decides_instead_of_the_threshold(pipe, arrays):
    plain, found = pipe.predict(arrays["ood"]), pipe.predict(arrays["ood"], fpr=0.2)
    assert np.array_equal(plain.p_values, found.p_values)
    assert plain.records(2)[1]["p_value"] == plain.p_values[1]
    assert plain.records(2)[1]["probability"] == plain.probabilities[1]
    assert np.array_equal(found.is_ood, found.p_values <= 0.2)
    assert np.array_equal(found.is_ood, found.scores > found.threshold)
    assert found.threshold < plain.threshold == pipe.threshold
    assert found.records(2)[1]["p_value"] == found.p_values[1]
    calibration = np.sort(pipe.score(arrays["val"]))
    assert found.threshold == calibration[-int(0.2 * (len(calibration) + 1))]


def test_kinds_of_arrays(pipe, arrays):
    found = pipe.predict(torch.tensor(arrays["ood"]), sets=0.6)
    assert isinstance(found.p_values, torch.Tensor)
    assert isinstance(found.sets, torch.Tensor)
    assert found.sets.shape == (len(arrays["ood"]), 4)
    want = [[name for name, kept in zip("abcd", row, strict=True) if kept] for row in found.sets]
    assert found.set_names == want
    assert [record["set"] for record in found.records(5)] == want[:5]
    assert found.is_ood.tolist() == [not names for names in want]
    assert "p-values" in repr(found)
    assert pipe.predict(arrays["ood"]).set_names == [[]] * len(arrays["ood"])


def test_thresholds_of_groups_are_not_one(pipe, arrays):
    rows = np.concatenate([arrays["val"], arrays["ood"]])
    found = pipe.predict(rows, fpr=0.1, per_group="class_group")
    assert found.threshold is None
    assert [record["p_value"] for record in found.records()] == found.p_values.tolist()


def test_a_class_mix_by_name(pipe, arrays):
    by_name = pipe.predict(arrays["ood"], fpr=0.4, class_mix={"a": 1, "b": 1, "c": 1, "d": 1})
    uniform = pipe.predict(arrays["ood"], fpr=0.4, class_mix="uniform")
    assert np.array_equal(by_name.p_values, uniform.p_values)


def test_saved_and_loaded(pipe, arrays, tmp_path):
    pipe.save(tmp_path / "d.safetensors")
    loaded = ltood.load(tmp_path / "d.safetensors", device="cpu")
    for options in ({"fpr": 0.1, "confidence": 0.5}, {"fdr": 0.2}, {"sets": 0.6}):
        found, again = (
            pipe.predict(arrays["ood"], **options),
            loaded.predict(arrays["ood"], **options),
        )
        assert np.array_equal(found.p_values, again.p_values)
        assert np.array_equal(found.is_ood, again.is_ood)
    with pytest.raises(DataError, match="held-out rows"):
        loaded.set_threshold()


def test_held_out_rows_of_fit_set_the_threshold(pipe, arrays):
    again = ltood.Pipeline("energy", head=arrays["head"], class_names=list("abcd"), device="cpu")
    again.fit(arrays["x"], arrays["y"], val=arrays["val"], val_labels=arrays["val_y"])
    with pytest.raises(NotFittedError, match="set_threshold"):
        again.predict(arrays["ood"], fpr=0.1)
    again.set_threshold()
    assert again.threshold == pipe.threshold
    found = again.predict(arrays["ood"], sets=0.6)
    assert np.array_equal(found.p_values, pipe.predict(arrays["ood"], sets=0.6).p_values)
    for twin in (copy.deepcopy(again), pickle.loads(pickle.dumps(again))):
        assert twin._session is None
        assert np.array_equal(
            twin.predict(arrays["ood"], fpr=0.1).is_ood,
            (again.predict(arrays["ood"], fpr=0.1).is_ood),
        )


def test_what_cannot_be_promised(pipe, arrays):
    for options, key in (
        ({"fpr": 0}, "fpr"),
        ({"fpr": 1.2}, "fpr"),
        ({"fpr": 0.1, "fdr": 0.1}, "fdr"),
        ({"confidence": 0.9}, "confidence|fpr"),
        ({"fpr": 0.001}, "999"),
    ):
        with pytest.raises(ConfigError, match=key):
            pipe.predict(arrays["ood"], **options)
    unlabelled = pipe.set_threshold(arrays["val"])
    with pytest.raises(DataError, match="sets"):
        unlabelled.predict(arrays["ood"], sets=0.6)


def test_training_rows_promise_nothing(arrays, pipe):
    del arrays
    pipe._detector = pipe.detector.__class__(**{**vars(pipe.detector), "calibration": None})
    with pytest.raises(MissingNeedError, match="calibration rows"):
        pipe.predict(np.zeros((1, 24)), fpr=0.1)


def test_an_ensemble_decides_by_the_rows_it_left_for_it(arrays, tmp_path):
    ensemble = ltood.Ensemble(members=["energy", "knn", "vim"], share=0.4)
    pipe = ltood.Pipeline(ensemble, head=arrays["head"], device="cpu")
    pipe.fit(arrays["x"], arrays["y"], val=arrays["val"], val_labels=arrays["val_y"])
    pipe.set_threshold()
    fitted = pipe.detector.method
    found = pipe.predict(arrays["ood"], fpr=0.1)
    logits = arrays["head"].logits(torch.tensor(arrays["ood"]))
    own = fitted.p_values(arrays["ood"], logits=logits)
    np.testing.assert_array_equal(found.p_values, own)
    learned = int(fitted.learned_rows(torch.arange(40), torch.zeros(40)).sum())
    assert 0 < learned < 40
    assert pipe.detector.description["calibration"]["rows"] == 40 - learned
    columns = {f"p_{name}" for name in ("energy", "knn", "vim")}
    assert set(found.explanations) <= columns
    assert found.explanations
    for name, column in found.explanations.items():
        assert ((column > 0) & (column <= 1)).all()
        assert found.records(1)[0][name] == column[0]
    pipe.save(tmp_path / "d.safetensors")
    again = ltood.load(tmp_path / "d.safetensors", device="cpu").predict(arrays["ood"], fpr=0.1)
    assert np.array_equal(again.p_values, found.p_values)
    assert again.records() == found.records()


def test_rows_that_were_learned_from_set_no_threshold(arrays):
    ensemble = ltood.Ensemble(members=["energy", "knn"], share=0.4)
    pipe = ltood.Pipeline(ensemble, head=arrays["head"], device="cpu")
    pipe.fit(arrays["x"], arrays["y"], val=arrays["val"], val_labels=arrays["val_y"])
    with pytest.raises(DataError, match="learned from"):
        pipe.set_threshold(torch.tensor(arrays["val"]).double().flip(0))
    learned = pipe.detector.learned_rows(torch.arange(40), torch.tensor(arrays["val_y"])).numpy()
    pipe.set_threshold(arrays["val"][~learned], arrays["val_y"][~learned])
    own = pipe.predict(arrays["ood"], fpr=0.1).p_values
    assert np.array_equal(pipe.set_threshold().predict(arrays["ood"], fpr=0.1).p_values, own)


def test_rows_that_nothing_was_learned_from_may_be_given(arrays):
    pipe = ltood.Pipeline("energy", head=arrays["head"], device="cpu")
    pipe.fit(arrays["x"], arrays["y"], val=arrays["val"], val_labels=arrays["val_y"])
    pipe.set_threshold(arrays["val"], arrays["val_y"])
    assert pipe.detector.description["calibration"]["rows"] == 40
