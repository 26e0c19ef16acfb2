"""Members of other stores: rows joined by ids, whatever their order there."""

import numpy as np
import pytest
import torch
from conftest import make_toy
from reference import cooked as reference

import ltood
from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.core.building import EntrySpec, build_method
from ltood.core.errors import ConfigError, MissingNeedError, StoreError
from ltood.deployment.exporting import fit_detector
from ltood.methods.ensemble import Ensemble
from ltood.scoring.run import score_store
from ltood.scoring.session import ScoringSession
from ltood.store.adapted import AdaptedHead, write_adapted
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore

SPLITS = ("train", "val", "test", "ood_far")


def write(folder, dim, order=None, leave_out=(), names=None):
    """The rows of a network that gives `dim` features, with ids; `order` shuffles test rows."""
    toy = make_toy(seed=dim, dim=dim)
    batches = {
        "train": next(iter(toy.inputs.train.batches())),
        "val": next(iter(toy.inputs.val.batches())),
        "test": toy.id_batch,
        "ood_far": toy.ood_batch,
    }
    folder.mkdir()
    more = {} if names is None else {"class_names": np.array(names)}
    arrays = {key: value.numpy() for key, value in toy.head.arrays().items()}
    np.savez(folder / "head.npz", **arrays, **more)
    for split, batch in batches.items():
        if split in leave_out:
            continue
        rows = np.arange(len(batch))
        if order is not None and split in ("test", "val"):
            rows = np.random.default_rng(order).permutation(len(batch))
        ids = np.arange(len(batch)) * 3 + 1
        columns = {"features": batch.features.numpy()[rows], "ids": ids[rows]}
        if split != "ood_far":
            columns["labels"] = batch.labels.numpy()[rows]
        np.savez(folder / f"{split}.npz", **columns)
    return import_folder(folder, folder / "features.zarr")


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> FeatureStore:
    return write(tmp_path_factory.mktemp("stores") / "own", 24)


@pytest.fixture(scope="module", params=["same order", "shuffled"])
def other(request, tmp_path_factory) -> FeatureStore:
    order = None if request.param == "same order" else 5
    return write(tmp_path_factory.mktemp("stores") / "other", 16, order)


def members(other):
    far = {"method": "knn", "settings": {"k": 5}, "store": str(other.path), "name": "far"}
    return [
        "gen",
        far,
        {"method": "energy", "store": str(other.path), "calibrator": "logit_adjustment"},
    ]


def scores(store, spec, split):
    """Scores of a single method by id."""
    session = ScoringSession.open(store, "cpu")
    method = build_method(spec).entry._fit(session.inputs())
    (batch,) = session.source(split).batches(arrays=("features", "logits", "ids"))
    return dict(zip(batch.ids.tolist(), method._score(batch).tolist(), strict=True))


def test_members_score_the_rows_of_their_store(own, other):
    session = ScoringSession.open(own, "cpu")
    method = Ensemble(members=members(other)[:2])._fit(session.inputs())
    alone = scores(other, EntrySpec("knn", {"k": 5}), "test")
    held_out = scores(other, EntrySpec("knn", {"k": 5}), "val")
    (val,) = session.source("val").batches(arrays=("ids", "labels"))
    learned = method.learned_rows(val.ids, val.labels)
    calibration = [held_out[number] for number in val.ids[learned].tolist()]
    for rows in (100, 7):
        batches = list(session.source("test").batches(rows, sorted({*method.arrays, "ids"})))
        found = torch.cat([method.explain(batch)["p_far"] for batch in batches])
        ids = torch.cat([batch.ids for batch in batches]).tolist()
        expected = [
            (1 + sum(s >= alone[number] for s in calibration)) / (len(calibration) + 1)
            for number in ids
        ]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_all_commands_take_them(own, other, tmp_path):
    settings = {"members": members(other)}
    scored = score_store(own, tmp_path / "s.zarr", EntrySpec("ensemble", settings), device="cpu")
    config = Config(("ensemble", "gen"), ("none", "logit_adjustment"))
    board, _ = compare(own, config, {"methods": {"ensemble": settings}}, device="cpu")
    rows = {(row["calibrator"], row["method"]): row for row in board["rows"]}
    assert {row["status"] for row in rows.values()} == {"ok"}
    found = scored.split("ood_far").scores[:], scored.split("test").scores[:]
    auroc = float((found[0][:, None] > found[1]).mean())
    assert rows["none", "ensemble"]["ood"]["far"]["auroc"] == pytest.approx(auroc)
    board = ltood.compare(own.path, methods=[Ensemble(**settings)], device="cpu")
    assert board.rows[0]["mean"]["auroc"] == pytest.approx(auroc)


def test_what_cannot_be_joined_is_refused(own, tmp_path):
    for problem, match in {
        "ids": r"lacks 20 of 40 ids, such as",
        "split": "has no split ood_far",
        "classes": "other class names",
    }.items():
        folder = tmp_path / problem
        names = ["a", "b", "c", "d"] if problem == "classes" else None
        leave_out = ("ood_far",) if problem == "split" else ()
        write(folder, 16, leave_out=leave_out, names=names)
        if problem == "ids":
            with np.load(folder / "test.npz") as archive:
                arrays = dict(archive)
            np.savez(folder / "test.npz", **{key: rows[:20] for key, rows in arrays.items()})
            import_folder(folder, folder / "features.zarr", overwrite=True)
        member = {"method": "energy", "store": str(folder / "features.zarr")}
        method = EntrySpec("ensemble", {"members": [member]})
        with pytest.raises(StoreError, match=match):
            score_store(own, tmp_path / "s.zarr", method, device="cpu")


def test_where_there_is_no_store_beside(own, other, toy):
    spec = EntrySpec("ensemble", {"members": members(other)})
    with pytest.raises(ConfigError, match="leave these members out"):
        fit_detector(own, spec, device="cpu")
    method = Ensemble(members=members(other))
    with pytest.raises(MissingNeedError, match="features in memory"):
        method.fit(toy.inputs)
    method._fit(ScoringSession.open(own, "cpu").inputs())
    with pytest.raises(MissingNeedError, match="joined by ids"):
        method.score(toy.id_batch)


def test_the_mean_softmax_of_two_networks(own, other):
    """Members that read no logits of their own stand for their networks."""
    far = {"method": "knn", "settings": {"k": 5}, "store": str(other.path), "name": "far"}
    near = {"method": "knn", "settings": {"k": 5}}
    session, beside = (ScoringSession.open(store, "cpu") for store in (own, other))
    method = Ensemble(members=[near, far], combine="softmax_mean")._fit(session.inputs())
    arrays = sorted({*method.arrays, "ids"})
    (batch,) = session.source("test").batches(arrays=arrays)
    logits = {}
    for rows in beside.source("test").batches(arrays=("logits", "ids")):
        logits |= dict(zip(rows.ids.tolist(), rows.logits, strict=True))
    others = torch.stack([logits[number] for number in batch.ids.tolist()])
    mean = (batch.logits.softmax(dim=1) + others.softmax(dim=1)) / 2
    torch.testing.assert_close(method._score(batch), -mean.amax(dim=1).log())
    assert set(method.explain(batch)) == {"p_knn", "p_far"}


def test_a_store_is_seen_through_the_head_that_is_named(own, other, tmp_path, monkeypatch):
    """COOkeD: a classifier, and beside it two heads of one store, one of them of text."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    texts, layer = rng.normal(size=(2, 4, 16)).astype(np.float32)
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    zero = np.zeros(4, np.float32)
    heads = {
        "text": {"weight": texts, "bias": zero, "logit_scale": np.float32(50)},
        "probe": {"weight": layer, "bias": zero},
    }
    for name, arrays in heads.items():
        head = AdaptedHead(
            tuple(other.class_names), "", {}, {k: np.array(v) for k, v in arrays.items()}
        )
        write_adapted(tmp_path / name, head)
    others = [{"store": str(other.path), "head": name} for name in heads]
    settings = {"others": others, "clip_scale": None}
    scores = score_store(own, tmp_path / "s.zarr", EntrySpec("cooked", settings), device="cpu")
    found = dict(
        zip(*(getattr(scores.split("test"), key)[:] for key in ("ids", "scores")), strict=True)
    )
    held = other.split("test").load(["features", "ids"])
    near = own.split("test").load(["features", "ids"])
    place = {number: row for row, number in enumerate(held["ids"].tolist())}
    # The classifier's own head is one of text too.
    head = own.head_arrays()
    for row, number in enumerate(near["ids"].tolist()):
        feature = held["features"][place[number]]
        parts = [feature @ layer.T]
        parts += [
            reference.text_logits(rows.tolist(), weight.tolist(), scale)
            for rows, weight, scale in (
                (near["features"][row], head["weight"], float(head["logit_scale"])),
                (feature, texts, 50),
            )
        ]
        expected = reference.cooked(parts, "entropy")
        assert found[number] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    member = {"method": "msp", **others[1], "name": "probe"}
    session = ScoringSession.open(own, "cpu")
    Ensemble(members=["gen", member])._fit(session.inputs())
    with pytest.raises(ConfigError, match="one network"):
        fit_detector(own, EntrySpec("cooked", settings), device="cpu")
    missing = {"others": [{"store": str(other.path), "head": "nowhere"}]}
    with pytest.raises(StoreError, match="nowhere"):
        score_store(own, tmp_path / "t.zarr", EntrySpec("cooked", missing), device="cpu")
