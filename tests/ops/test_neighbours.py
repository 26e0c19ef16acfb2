import sys
import types

import faiss
import numpy as np
import pytest
import torch
from pretended_device import pretended_gpu
from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.ops import neighbours, pairs
from ltood.ops.graphs import writing
from ltood.ops.neighbours import Neighbours, search
from ltood.ops.pairs import SimilarityBank


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
    searcher = Neighbours(SimilarityBank(bank, normalise=normalise), 9)
    nearest = searcher.search(batch)
    expected = exact(searcher.bank.prepare(batch), bank, 9)
    assert torch.equal(nearest.indices, expected.indices)
    torch.testing.assert_close(nearest.distances, expected.values.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        searcher.distances(batch), expected.values[:, 8].float(), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(
        searcher.distances(batch, 3), expected.values[:, 2].float(), rtol=1e-6, atol=1e-6
    )
    assert searcher.search(batch) is nearest


@pytest.mark.parametrize("normalise", [False, True])
def test_a_graph_finds_the_same(bank, batch, normalise):
    bank = normalize(bank, dim=1) if normalise else bank
    searcher = Neighbours(SimilarityBank(bank, normalise=normalise), 9)
    with writing():
        written = [searcher.distances(batch), searcher.distances(batch, 3)]
    torch.testing.assert_close(written, [searcher.distances(batch), searcher.distances(batch, 3)])


@pytest.mark.parametrize("rows", [7, 1000])
def test_the_nearest_are_found_block_by_block(bank, batch, monkeypatch, rows):
    monkeypatch.setattr(pairs, "QUERY_ROWS", rows)
    monkeypatch.setattr(pairs, "BANK_ROWS", rows)
    nearest = search(batch.features, bank, 12)
    expected = exact(batch.features, bank, 12)
    assert torch.equal(nearest.indices, expected.indices)
    torch.testing.assert_close(nearest.distances, expected.values.float(), rtol=1e-4, atol=1e-5)


def test_faiss_agrees(bank, batch):
    squared, rows = faiss.knn(batch.features.numpy(), bank.numpy(), 5)
    ours = search(batch.features, bank, 5)
    torch.testing.assert_close(
        ours.distances, torch.from_numpy(squared).sqrt(), rtol=1e-4, atol=1e-3
    )
    assert torch.equal(ours.indices, torch.from_numpy(rows))


def test_no_rows_have_no_neighbours(bank):
    empty = FeatureBatch.of(torch.zeros(0, 8))
    searcher = Neighbours(SimilarityBank(bank, normalise=False), 1)
    assert searcher.search(empty).indices.shape == (0, 1)


@pytest.mark.parametrize("rows", [0, 4])
def test_more_neighbours_than_rows_are_refused(bank, rows):
    few = SimilarityBank(bank[:rows], normalise=False)
    with pytest.raises(ConfigError, match=rf"methods.x.k is 5 but there are only {rows}"):
        Neighbours(few, 5, "methods.x.k")


@pytest.mark.parametrize(("k", "block"), [(5, 40), (12, 70), (12, 2_999), (9, 3_000)])
def test_faiss_is_given_the_bank_in_parts(bank, batch, monkeypatch, k, block):
    def knn_gpu(resources, queries, part, k, device):
        assert queries.is_cuda
        assert part.is_cuda
        assert part.is_contiguous()
        sizes.append(len(part))
        values, rows = exact(queries.held, part.held, k)
        return values.float().square().to("cuda"), rows.to("cuda")

    sizes = []
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
    monkeypatch.setitem(sys.modules, "faiss.contrib.torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setattr(neighbours, "_gpu_resources", lambda device: None)
    monkeypatch.setattr(neighbours, "_faiss_has_gpus", lambda: True)
    monkeypatch.setattr(neighbours, "FAISS_BLOCK_VALUES", block)
    expected = exact(batch.features, bank, k)
    with pretended_gpu():
        searcher = Neighbours(SimilarityBank(bank.to("cuda"), normalise=False), k)
        found = searcher.search(FeatureBatch.of(batch.features.to("cuda")))
    assert sum(sizes) == len(bank)
    assert max(sizes) <= max(1, block // 8)
    assert torch.equal(found.indices.held, expected.indices)
    torch.testing.assert_close(found.distances.held, expected.values.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("k", [5, 2100])
def test_a_gpu_finds_the_same(rng, k):
    bank, rows = (
        torch.tensor(rng.normal(size=(count, 8)).astype(np.float32)) for count in (3000, 50)
    )
    searcher = Neighbours(SimilarityBank(bank.cuda(), normalise=False), k)
    found = searcher.search(FeatureBatch.of(rows.cuda()))
    expected = search(rows, bank, k)
    torch.testing.assert_close(found.distances.cpu(), expected.distances, rtol=1e-4, atol=1e-5)
    assert (found.indices.cpu() == expected.indices).float().mean() > 0.999
