from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError, MissingNeedError, StoreError
from ltood.core.streams import StreamMethod, StreamSettings
from ltood.scoring import spool
from ltood.scoring.run import score_store
from ltood.scoring.session import ScoringSession
from ltood.scoring.streams import order_of, play, streams_of
from ltood.store.exchange import export_split
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreStore, copy_scores
from tests.comparing.compare_samples import make_store
from tests.stream_samples import Counter

SPLITS = ("test", "ood_far", "ood_near")


@dataclass(frozen=True)
class Config(StreamSettings):
    """Settings of the toy."""

    batch: int = 4


class Counting(StreamMethod[Config]):
    """Scores a row by how many rows have entered the memory."""

    arrays = ("features",)

    def start(self):
        return Counter()


class Alone(Counting):
    """Has no use for a memory."""

    def start(self):
        memory = Counter()
        memory.rate = lambda batch: batch.features.sum(dim=1)
        return memory


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    splits = ("train", "val", "test", "aux", "ood_far", "ood_near")
    return make_store(tmp_path_factory.mktemp("streams"), splits=splits)


@pytest.fixture(scope="module")
def session(store) -> ScoringSession:
    return ScoringSession.open(store, "cpu")


def settings(**given) -> StreamSettings:
    return Config(**given)


def test_per_set_plays_each_set_with_the_test_rows():
    assert [s.splits for s in streams_of(SPLITS, settings())] == [
        ("test", "ood_far"),
        ("test", "ood_near"),
    ]
    (whole,) = streams_of(SPLITS, settings(mix="all"))
    assert whole.splits == SPLITS
    (alone,) = streams_of(["test"], settings())
    assert alone.splits == ("test",)
    with pytest.raises(StoreError, match="train"):
        streams_of(["train", "test"], settings())


@given(
    num_id=st.integers(1, 40),
    num_ood=st.integers(0, 40),
    seed=st.integers(0, 5),
    share=st.none() | st.floats(0.05, 0.95),
)
def test_an_order_holds_every_row_once_or_the_share(num_id, num_ood, seed, share):
    is_ood = np.arange(num_id + num_ood) >= num_id
    rows = order_of(is_ood, settings(order_seed=seed, id_share=share), 0, "far")
    assert len(set(rows.tolist())) == len(rows)
    unknown = int(is_ood[rows].sum())
    known = len(rows) - unknown
    if share is None or not num_ood:
        assert len(rows) == len(is_ood)
    else:
        assert known == num_id or unknown == num_ood
        kept, other = (known, unknown) if known == num_id else (unknown, known)
        odds = (1 - share) / share if known == num_id else share / (1 - share)
        assert other == max(1, round(kept * odds)) or (known, unknown) == (num_id, num_ood)
    again = order_of(is_ood, settings(order_seed=seed, id_share=share), 0, "far")
    assert np.array_equal(rows, again)


def test_orders_seeds_and_streams_differ():
    is_ood = np.arange(60) >= 30
    found = [
        order_of(is_ood, settings(order_seed=seed), order, name).tolist()
        for seed in (0, 1)
        for order in (0, 1)
        for name in ("far", "near")
    ]
    assert len({tuple(rows) for rows in found}) == 8
    # The order that everybody gets who declares the same settings.
    assert order_of(is_ood, settings(), 0, "far")[:6].tolist() == FIRST


#: Kept by NumPy: raw words of PCG64 do not change between versions.
FIRST = [37, 50, 30, 46, 6, 28]


def test_every_stream_starts_with_an_empty_memory(session):
    played = play(session, Counting(orders=2), "toy", SPLITS)
    assert played.record == {"streams": ["far", "near"], "orders": 2, "mix": "per_set"}
    far = np.concatenate(
        [played.splits["test"].by_order[:, 0], played.splits["ood_far"].by_order[:, 0]]
    )
    assert sorted(far.tolist()) == sorted(float(i // 4 * 4) for i in range(len(far)))
    assert played.splits["test"].by_order.shape == (30, 4)
    assert played.splits["ood_near"].by_order.shape == (22, 2)
    whole = play(session, Counting(orders=2, mix="all"), "toy", SPLITS)
    assert max(part.by_order.max() for part in whole.splits.values()) == 76


def test_a_warm_start_passes_unscored(session):
    played = play(session, Counting(warm_start=7, orders=1), "toy", SPLITS)
    assert played.splits["test"].by_order.min() == 7
    with pytest.raises(ConfigError, match="warm_start"):
        play(session, Counting(warm_start=21), "toy", SPLITS)


def test_without_a_memory_no_order_matters(session):
    for given_settings in ({}, {"batch": 1}, {"mix": "all"}):
        played = play(session, Alone(**given_settings), "toy", SPLITS)
        for split, rows in played.splits.items():
            expected = np.concatenate(
                [b.features.sum(dim=1).numpy() for b in session.source(split).batches()]
            )
            for column in rows.by_order.T:
                np.testing.assert_allclose(column, expected, rtol=1e-6)
            np.testing.assert_allclose(rows.scores, expected, rtol=1e-6)


def test_rows_that_are_left_out_have_no_score(session):
    played = play(session, Alone(id_share=0.2, orders=2), "toy", SPLITS)
    test, far = played.splits["test"], played.splits["ood_far"]
    assert np.isfinite(far.by_order).all()
    assert np.isfinite(test.by_order[:, :2]).sum(axis=0).tolist() == [6, 6]
    never = ~np.isfinite(test.by_order).any(axis=1)
    assert np.array_equal(never, np.isnan(test.scores))


@pytest.mark.parametrize("method", ["oodd", "doda"])
def test_reading_in_other_blocks_changes_nothing(session, tmp_path, monkeypatch, method):
    chosen = EntrySpec(
        method, {"k_train": 3, "queue": 9, "batch": 6} if method == "oodd" else {"batch": 6}
    )
    first = score_store(session.store, tmp_path / "a.zarr", chosen, device="cpu")
    batches = spool.ScoringSession.source

    def small(self, split):
        source = batches(self, split)
        whole = source.batches
        source.batches = lambda rows=5, arrays=(): whole(5, arrays)
        return source

    monkeypatch.setattr(spool.ScoringSession, "source", small)
    again = score_store(session.store, tmp_path / "b.zarr", chosen, device="cpu")
    for split in SPLITS:
        np.testing.assert_allclose(
            first.split(split).by_order, again.split(split).by_order, atol=1e-6
        )


def test_a_score_store_holds_every_order(store, tmp_path):
    out = score_store(store, tmp_path / "s.zarr", EntrySpec("doda"), device="cpu")
    assert out.splits == list(SPLITS)
    assert out.attributes["stream"] == {"streams": ["far", "near"], "orders": 5, "mix": "per_set"}
    rows = out.split("test")
    assert rows.by_order.shape == (30, 10)
    np.testing.assert_allclose(rows.scores, rows.by_order.mean(axis=1), rtol=1e-5)
    copied = copy_scores(out, tmp_path / "copy.zarr")
    assert np.array_equal(copied.split("test").by_order, rows.by_order)
    assert copied.attributes["fingerprint"] == out.attributes["fingerprint"]
    assert "by_order" in export_split(out.path, "test", tmp_path / "test.npz")


def test_a_second_run_is_the_same_and_a_seed_changes_it(store, tmp_path):
    def run(name, **given_settings):
        chosen = EntrySpec("doda", {"batch": 6, "window": 6, **given_settings})
        out = score_store(store, tmp_path / name, chosen, device="cpu")
        return out.attributes["fingerprint"], out.split("test").by_order

    first, again, other = run("a"), run("b"), run("c", order_seed=1)
    assert first[0] == again[0]
    assert np.array_equal(first[1], again[1])
    assert first[0] != other[0]
    assert not np.array_equal(first[1], other[1])


def test_id_rows_alone_are_a_stream(store, tmp_path):
    out = score_store(store, tmp_path / "s.zarr", EntrySpec("doda"), splits=["test"], device="cpu")
    assert out.split("test").by_order.shape == (30, 5)
    with pytest.raises(StoreError, match="val"):
        score_store(store, tmp_path / "t.zarr", EntrySpec("doda"), splits=["val"], device="cpu")


def test_a_failed_run_leaves_no_files(session, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    class Broken(Counting):
        def step(self, memory, batch):
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        play(session, Broken(), "toy", SPLITS)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said_before_anything_is_read(tmp_path):
    store = make_store(tmp_path, splits=("train", "test", "ood_far"))
    with pytest.raises(MissingNeedError, match="val"):
        score_store(store, tmp_path / "s.zarr", EntrySpec("doda", {"warm_start": 5}), device="cpu")


def test_stored_orders_survive_reopening(store, tmp_path):
    path = tmp_path / "s.zarr"
    out = score_store(store, path, EntrySpec("doda", {"orders": 2}), device="cpu")
    reopened = ScoreStore.open(path)
    assert np.array_equal(reopened.split("ood_far").by_order, out.split("ood_far").by_order)
