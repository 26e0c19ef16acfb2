"""`auto` on feature stores: it never sees a test set, and works wherever a method does."""

import numpy as np
import pytest
import torch
from choosing_samples import directions

from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.core.building import EntrySpec, build_method
from ltood.deployment.exporting import fit_detector
from ltood.deployment.files import load_detector, save_detector
from ltood.scoring.run import score_store
from ltood.scoring.session import ScoringSession, fit_method
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreStore

AUTO = {
    "candidates": ["energy", "mahalanobis", {"method": "knn", "settings": {"k": 3}}],
    "draws": 2,
}


def write(folder, *, seed=0, sets=("ood_far",)):
    """Archives whose training side is always the same; `seed` decides about the test sets."""
    folder.mkdir()
    train, val, head = directions()
    arrays = {"weight": head.weight.numpy(), "bias": head.bias.numpy()}
    np.savez(folder / "head.npz", **arrays, class_counts=np.bincount(train.labels.numpy()))
    for name, rows in (("train", train), ("val", val)):
        np.savez(folder / f"{name}.npz", features=rows.features, labels=rows.labels)
    rng = np.random.default_rng(seed)
    test = rng.normal(size=(60, 16)).astype(np.float32)
    np.savez(folder / "test.npz", features=test, labels=np.arange(60) % 6)
    for name in sets:
        np.savez(folder / f"{name}.npz", features=rng.normal(size=(30, 16)).astype(np.float32))
    return import_folder(folder, folder.parent / f"{folder.name}.zarr")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write(tmp_path_factory.mktemp("auto") / "first")


def fitted(store):
    session = ScoringSession.open(store, "cpu")
    return fit_method(session, build_method(EntrySpec("auto", AUTO)))


def test_a_choice_reads_no_test_set(store, monkeypatch):
    expected = fitted(store).findings()
    opened = []
    open_split = FeatureStore.split

    def guarded(self, name):
        opened.append(name)
        assert name in ("train", "val", "aux"), f"{name} was opened"
        return open_split(self, name)

    monkeypatch.setattr(FeatureStore, "split", guarded)
    assert fitted(FeatureStore.open(store.path)).findings() == expected
    assert set(opened) == {"train", "val"}


def test_test_sets_may_be_added_removed_and_replaced(store, tmp_path):
    first = fitted(store)
    others = [
        write(tmp_path / "replaced", seed=1),
        write(tmp_path / "added", sets=("ood_far", "ood_near")),
        write(tmp_path / "removed", sets=()),
    ]
    for other in others:
        second = fitted(other)
        assert second.findings() == first.findings()
        for name, tensor in first.state().items():
            assert torch.equal(second.state()[name], tensor), name


def test_scores_are_those_of_the_chosen_method_and_say_why(store, tmp_path):
    scores = score_store(store, tmp_path / "auto.zarr", EntrySpec("auto", AUTO))
    knn = score_store(store, tmp_path / "knn.zarr", EntrySpec("knn", {"k": 3}))
    found = ScoreStore.open(scores.path).attributes["method"]["findings"]["choice"]
    assert found["chosen"] == "knn(k=3)"
    assert len(found["candidates"]) == 3
    for split in knn.splits:
        np.testing.assert_array_equal(scores.split(split).scores, knn.split(split).scores)


def test_a_comparison_has_a_row_of_it(store):
    settings = {"methods": {"auto": AUTO, "knn": {"k": 3}}}
    board, _ = compare(store, Config(methods=("auto", "knn", "energy")), settings, device="cpu")
    rows = {row["title"]: row for row in board["rows"]}
    assert rows["auto"]["mean"] == rows["knn"]["mean"]


def test_a_detector_keeps_the_choice_and_the_rows_it_promises_by(store, tmp_path):
    detector = fit_detector(store, EntrySpec("auto", AUTO), tpr=0.9, device="cpu")
    save_detector(tmp_path / "auto.safetensors", detector)
    again = load_detector(tmp_path / "auto.safetensors", device="cpu")
    rows = np.random.default_rng(5).normal(size=(20, 16)).astype(np.float32)
    assert torch.equal(again.score(rows), detector.score(rows))
    assert again.description["method"]["findings"]["choice"]["chosen"] == "knn(k=3)"
    # Half of the held-out rows stay for the threshold.
    session = ScoringSession.open(store, "cpu")
    val = next(iter(session.source("val").batches(arrays=("features", "ids", "labels"))))
    is_left = ~detector.learned_rows(val.ids, val.labels)
    assert int(is_left.sum()) == len(val) // 2
    accepted = detector.score(val.features[is_left]) <= detector.threshold
    assert accepted.float().mean() == pytest.approx(0.9, abs=0.02)
