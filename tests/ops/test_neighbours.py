import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch, FitInputs
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.ops import pairs
from ltood.ops.neighbours import (
    Neighbours,
    search_with_faiss,
    search_with_torch,
    training_neighbours,
)


@pytest.fixture
def bank(rng):
    return torch.tensor(rng.normal(size=(300, 8)).astype(np.float32))


@pytest.fixture
def batch(rng):
    return FeatureBatch.of(torch.tensor(rng.normal(size=(70, 8)).astype(np.float32)))


def exact(queries, bank, k):
    return torch.cdist(queries.double(), bank.double()).topk(k, dim=1, largest=False)


@pytest.mark.parametrize("normalise", [False, True])
def test_the_nearest_are_found(bank, batch, normalise):
    bank = normalize(bank, dim=1) if normalise else bank
    searcher = Neighbours(bank, normalise=normalise)
    searcher.reserve(9, "k")
    nearest = searcher.search(batch)
    expected = exact(searcher.pairs.queries(batch), bank, 9)
    assert torch.equal(nearest.indices, expected.indices)
    torch.testing.assert_close(nearest.distances, expected.values.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        searcher.distances(batch, 9), expected.values[:, 8].float(), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("rows", [7, 1000])
def test_torch_finds_the_nearest_block_by_block(bank, batch, monkeypatch, rows):
    monkeypatch.setattr(pairs, "QUERY_ROWS", rows)
    monkeypatch.setattr(pairs, "BANK_ROWS", rows)
    nearest = search_with_torch(batch.features, bank, 12)
    expected = exact(batch.features, bank, 12)
    assert torch.equal(nearest.indices, expected.indices)
    torch.testing.assert_close(nearest.distances, expected.values.float(), rtol=1e-4, atol=1e-5)


def test_both_searches_agree(bank, batch):
    ours = search_with_torch(batch.features, bank, 5)
    theirs = search_with_faiss(batch.features, bank, 5)
    torch.testing.assert_close(ours.distances, theirs.distances, rtol=1e-4, atol=1e-3)
    assert torch.equal(ours.indices, theirs.indices)


def test_one_search_serves_every_k(bank, batch):
    searcher = Neighbours(bank, normalise=False)
    for k in (3, 10, 5):
        searcher.reserve(k, "k")
    first = searcher.search(batch)
    assert first.indices.shape == (70, 10)
    assert searcher.search(batch) is first
    searcher.reserve(20, "k")
    assert searcher.search(batch).indices.shape == (70, 20)


def test_no_rows_have_no_neighbours(bank):
    empty = FeatureBatch.of(torch.zeros(0, 8))
    assert Neighbours(bank, normalise=False).search(empty).indices.shape == (0, 1)


def test_the_bank_holds_all_training_rows(rng):
    features = torch.tensor(rng.normal(size=(9000, 3)).astype(np.float32))
    inputs = FitInputs.of(features, torch.zeros(9000, dtype=torch.int64))
    searcher = training_neighbours(inputs, normalise=True)
    torch.testing.assert_close(searcher.bank, normalize(features, dim=1))
    assert training_neighbours(inputs, normalise=True) is searcher
    assert torch.equal(training_neighbours(inputs, normalise=False).bank, features)


def test_more_neighbours_than_rows_are_refused(bank):
    searcher = Neighbours(bank[:4], normalise=False)
    with pytest.raises(ConfigError, match=r"methods.x.k is 5 but there are only 4 training rows"):
        searcher.reserve(5, "methods.x.k")
    with pytest.raises(MissingNeedError, match="fit needs training features"):
        training_neighbours(FitInputs(), normalise=True)
    empty = FitInputs.of(torch.zeros(0, 3))
    with pytest.raises(ConfigError, match="only 0 training rows"):
        training_neighbours(empty, normalise=True).reserve(1, "methods.x.k")


@pytest.mark.gpu
@pytest.mark.parametrize("k", [5, 2100])
def test_a_gpu_finds_the_same(rng, k):
    bank, rows = (
        torch.tensor(rng.normal(size=(count, 8)).astype(np.float32)) for count in (3000, 50)
    )
    searcher = Neighbours(bank.cuda(), normalise=False)
    searcher.reserve(k, "k")
    found = searcher.search(FeatureBatch.of(rows.cuda()))
    expected = search_with_torch(rows, bank, k)
    torch.testing.assert_close(found.distances.cpu(), expected.distances, rtol=1e-4, atol=1e-5)
    assert (found.indices.cpu() == expected.indices).float().mean() > 0.999
