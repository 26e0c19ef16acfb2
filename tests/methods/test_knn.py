import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import scores as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs
from ltood.methods.knn import KNN, Config
from ltood.ops.neighbours import Neighbours


def inputs_of(bank):
    return FitInputs.of(torch.tensor(bank), torch.zeros(len(bank), dtype=torch.int64))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 12), st.booleans())
def test_brute_force(seed, k, normalise):
    rng = np.random.default_rng(seed)
    bank = rng.normal(size=(12, 5)).astype(np.float32)
    rows = rng.normal(size=(6, 5)).astype(np.float32)
    rows[0], rows[1] = 0, bank[3]  # a zero feature and a known one
    detector = KNN(Config(k, normalise)).fit(inputs_of(bank))
    expected = [reference.knn(row, bank, k, normalise) for row in rows]
    got = detector.score(FeatureBatch.of(torch.tensor(rows)))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_close_neighbours_keep_their_digits():
    # Far from the origin, squared distances from products lose everything.
    bank = 100 + torch.arange(6.0)[:, None] * 1e-3 * torch.ones(1, 4)
    detector = KNN(Config(2, normalise=False)).fit(inputs_of(bank.numpy()))
    got = detector.score(FeatureBatch.of(bank))
    assert got.max() < 2.1e-3


def test_many_settings_share_one_search_of_each_bank(rng, monkeypatch):
    inputs = inputs_of(rng.normal(size=(30, 4)).astype(np.float32))
    configs = [Config(3), Config(10), Config(7, normalise=False), Config(1)]
    detectors = [KNN(config).fit(inputs) for config in configs]
    rows = torch.tensor(rng.normal(size=(5, 4)).astype(np.float32))
    alone = [detector.score(FeatureBatch.of(rows)) for detector in detectors]
    searches = []
    start = Neighbours.start
    monkeypatch.setattr(
        Neighbours, "start", lambda self, *given: searches.append(self.k) or start(self, *given)
    )
    together = KNN.score_many(detectors, FeatureBatch.of(rows))
    assert sorted(searches) == [7, 10]
    assert torch.equal(together, torch.stack(alone))


def test_another_bank_is_not_mistaken(rng):
    batch = FeatureBatch.of(torch.tensor(rng.normal(size=(5, 4)).astype(np.float32)))
    banks = [rng.normal(size=(9, 4)).astype(np.float32) for _ in range(2)]
    for bank in banks:
        got = KNN(Config(1)).fit(inputs_of(bank)).score(batch)
        expected = [reference.knn(row.numpy(), bank, 1) for row in batch.features]
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_refitting_replaces_the_bank(rng):
    batch = FeatureBatch.of(torch.tensor(rng.normal(size=(5, 4)).astype(np.float32)))
    detector = KNN(Config(1))
    banks = [rng.normal(size=(9, 4)).astype(np.float32) for _ in range(2)]
    first, second = (detector.fit(inputs_of(bank)).score(batch) for bank in banks)
    assert not torch.equal(first, second)
    assert torch.equal(second, KNN(Config(1)).fit(inputs_of(banks[1])).score(batch))


def test_k_above_the_bank_is_refused():
    with pytest.raises(ConfigError, match=r"methods.knn.k is 4 but there are only 3 training rows"):
        KNN(Config(4)).fit(inputs_of(np.ones((3, 2), np.float32)))


def test_k_must_be_a_rank():
    with pytest.raises(ConfigError, match=r"methods.knn.k is 0"):
        Config(0)


def test_an_index_is_kept_with_its_recall(rng):
    bank = rng.normal(size=(200, 6)).astype(np.float32)
    rows = torch.tensor(rng.normal(size=(20, 6)).astype(np.float32))
    detector = KNN(Config(5, index="ivf", lists=20, probes=1)).fit(inputs_of(bank))
    got = detector.score(FeatureBatch.of(rows))
    exact = KNN(Config(5)).fit(inputs_of(bank))
    assert (got >= exact.score(FeatureBatch.of(rows)) - 1e-6).all()
    assert 0 < detector.derived()["recall"] < 1
    assert exact.derived() == {}
    restored = KNN(detector.config).restore(detector.state())
    assert torch.equal(restored.score(FeatureBatch.of(rows)), got)
    assert restored.derived() == detector.derived()
    both = KNN.score_many([exact, detector], FeatureBatch.of(rows))
    assert torch.equal(both[1], got)
    every = KNN(Config(5, index="ivf", lists=20, probes=20)).fit(inputs_of(bank))
    assert every.derived() == {"recall": 1}


def test_a_share_of_the_rows_is_searched(rng):
    bank = rng.normal(size=(200, 6)).astype(np.float32)
    rows = torch.tensor(rng.normal(size=(20, 6)).astype(np.float32))
    got = KNN(Config(5, fraction=0.1)).fit(inputs_of(bank)).score(FeatureBatch.of(rows))
    expected = [reference.knn(row.numpy(), bank[9::10], 5, True) for row in rows]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"methods.knn.k"):
        KNN(Config(50, fraction=0.1)).fit(inputs_of(bank))
