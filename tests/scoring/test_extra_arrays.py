"""Methods that read extra arrays, on stores that hold them for some splits, or for none."""

import numpy as np
import pytest
import torch

from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.core.batches import FeatureBatch
from ltood.core.building import EntrySpec, build_calibrator, build_method
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.deployment.exporting import fit_detector
from ltood.methods.mahalanobis_layers import MahalanobisLayers
from ltood.methods.odin import ODIN
from ltood.scoring.run import score_store
from ltood.scoring.session import ScoringSession, calibrate, fit_method
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from ltood.sweeping.searching import sweep

DIM, ROWS = 5, 30
HEAD = {"weight": np.eye(3, DIM, dtype=np.float32), "bias": np.zeros(3, np.float32)}
TESTED = ("val", "test", "ood_far")


def write(folder, rng, groups, tested=TESTED, shape=(DIM,)) -> FeatureStore:
    folder.mkdir()
    np.savez(folder / "head.npz", **HEAD)
    for name in ("train", "aux", *TESTED):
        arrays = {"features": rng.random((ROWS, DIM), dtype=np.float32)}
        if name in ("train", "val", "test"):
            arrays["labels"] = np.arange(ROWS) % 3
        if name in tested:
            arrays |= {f"{g}/features": rng.random((ROWS, *shape), np.float32) for g in groups}
        np.savez(folder / f"{name}.npz", **arrays)
    return import_folder(folder, folder / "s.zarr")


@pytest.fixture
def store(tmp_path, rng):
    return write(tmp_path / "with", rng, ("odin", "adascale"))


@pytest.fixture
def bare(tmp_path, rng):
    return write(tmp_path / "bare", rng, ())


def test_rows_that_hold_them_are_scored(store, tmp_path):
    scores = score_store(store, tmp_path / "scores.zarr", EntrySpec("odin"))
    assert sorted(scores.splits) == sorted(TESTED)
    moved = torch.tensor(store.split("test").read("odin/features", 0, ROWS))
    method = ODIN().fit(head=(torch.tensor(HEAD["weight"]), torch.tensor(HEAD["bias"])))
    expected = method.score(extras={"odin/features": moved})
    np.testing.assert_allclose(scores.split("test").scores, expected, rtol=1e-6)


def test_calibrators_map_features_of_moved_images(store):
    session, _ = calibrate(ScoringSession.open(store, "cpu"), build_calibrator(EntrySpec("patt")))
    raw = next(
        iter(ScoringSession.open(store, "cpu").source("test").batches(arrays=("odin/features",)))
    )
    seen = next(iter(session.source("test").batches(arrays=("odin/features",))))
    assert session.calibrator is not None
    expected = session.calibrator._transform(raw.extra("odin/features"))
    torch.testing.assert_close(seen.extra("odin/features"), expected)
    assert fit_method(session, build_method(EntrySpec("odin")))


def test_maps_are_scored_as_a_calibrator_weighs_their_channels(tmp_path, rng):
    """Weighing channels and taking the mean over places commute."""
    store = write(tmp_path / "maps", rng, ("maps",), shape=(4, DIM))
    for calibrator in ("none", "patt"):
        plan = Config(methods=("rankfeat", "react_map", "ash_map"), calibrators=(calibrator,))
        board, _ = compare(store, plan, {}, device="cpu")
        assert {row["method"] for row in board["rows"]} == set(plan.methods)
    session, _ = calibrate(ScoringSession.open(store, "cpu"), build_calibrator(EntrySpec("patt")))
    raw = torch.tensor(store.split("test").read("maps/features", 0, ROWS))
    (seen,) = session.source("test").batches(arrays=("maps/features",))
    expected = session.calibrator._transform(raw.mean(dim=1))
    torch.testing.assert_close(seen.extra("maps/features").mean(dim=1), expected)


def test_compared_where_they_are_and_left_out_where_not(store, bare):
    board, _ = compare(store, Config(methods=("odin", "adascale", "energy")), {}, device="cpu")
    assert {row["method"] for row in board["rows"]} == {"odin", "adascale", "energy"}
    everything, _ = compare(bare, Config(methods="all", calibrators=("none",)), {}, device="cpu")
    left_out = {row["method"]: row["reason"] for row in everything["left_out"]}
    assert "extraction.extras: [odin]" in left_out["odin"]
    assert "extraction.extras: [adascale]" in left_out["adascale"]


def test_a_store_without_them_is_refused(bare, tmp_path):
    with pytest.raises(MissingNeedError, match=r"method odin needs .*odin/features"):
        score_store(bare, tmp_path / "scores.zarr", EntrySpec("odin"))
    with pytest.raises(MissingNeedError, match=r"method odin needs .*odin/features"):
        sweep(bare, "odin", [{"temperature": 1.0}], device="cpu")


def test_a_tested_split_without_them_is_named(tmp_path, rng):
    store = write(tmp_path / "some", rng, ("odin",), tested=("test",))
    with pytest.raises(MissingNeedError, match=r"split (val|ood_far)"):
        score_store(store, tmp_path / "scores.zarr", EntrySpec("odin"))


def test_a_member_of_an_ensemble_reads_them(store, tmp_path):
    members = ["energy", {"method": "odin"}]
    spec = EntrySpec("ensemble", {"members": members, "screen": 0.0})
    scores = score_store(store, tmp_path / "scores.zarr", spec)
    assert sorted(scores.splits) == sorted(TESTED)
    assert np.isfinite(scores.split("test").scores).all()


def test_a_method_that_fits_on_them(tmp_path, rng):
    folder = tmp_path / "layers"
    folder.mkdir()
    np.savez(folder / "head.npz", **HEAD)
    rows = {}
    for name in ("train", *TESTED):
        means = rng.random((ROWS, 2, DIM), dtype=np.float32)
        rows[name] = {"features": means[:, 0], "layers/means": means}
        if name != "ood_far":
            rows[name]["labels"] = np.arange(ROWS) % 3
        np.savez(folder / f"{name}.npz", **rows[name])
    store = import_folder(folder, tmp_path / "s.zarr")
    scores = score_store(store, tmp_path / "scores.zarr", EntrySpec("mahalanobis_layers"))
    train, val = (
        FeatureBatch.of(labels=rows[n]["labels"], extras={"layers/means": rows[n]["layers/means"]})
        for n in ("train", "val")
    )
    method = MahalanobisLayers().fit(train, val=val)
    expected = method.score(extras={"layers/means": rows["ood_far"]["layers/means"]})
    np.testing.assert_allclose(scores.split("ood_far").scores, expected, rtol=1e-5, atol=1e-5)
    other, shown = tmp_path / "other.zarr", EntrySpec("logit_adjustment")
    with pytest.raises(MissingNeedError, match="no calibrator can show"):
        score_store(store, other, EntrySpec("mahalanobis_layers"), shown)


def test_they_are_not_deployed(store):
    with pytest.raises(ConfigError, match=r"method odin .*odin/features"):
        fit_detector(store, EntrySpec("odin"), device="cpu")
