import gc

import numpy as np
import pytest
import torch

from ltood.core.batches import FeatureBatch, FitInputs
from ltood.core.errors import MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.methods.knn import KNN
from ltood.methods.nnguide import NNGuide
from ltood.methods.relation import Relation
from ltood.ops import pairs
from ltood.ops.pairs import Cosines, bank_centre, closeness, largest


def normal(rng, *shape):
    return torch.tensor(rng.normal(size=shape).astype(np.float32))


@pytest.fixture
def head(rng):
    return ClassifierHead(normal(rng, 3, 6), normal(rng, 3))


@pytest.fixture
def inputs(rng, head):
    return FitInputs.of(normal(rng, 90, 6), torch.zeros(90, dtype=torch.int64), head=head)


@pytest.fixture
def passes(monkeypatch):
    """Counts how often all products are taken."""
    counted = []
    monkeypatch.setattr(pairs, "closeness", lambda *args: counted.append(1) or closeness(*args))
    return counted


def test_blocks_cover_all_pairs_once(rng, monkeypatch):
    monkeypatch.setattr(pairs, "QUERY_ROWS", 4)
    monkeypatch.setattr(pairs, "BANK_ROWS", 7)
    queries, bank = 5 + normal(rng, 9, 3), 5 + normal(rng, 20, 3)
    centre = bank_centre(bank)
    found = torch.full((9, 20), torch.nan)
    for rows, columns, block in closeness(queries, bank, centre):
        assert found[rows, columns].isnan().all()
        found[rows, columns] = block
    squares = (queries - centre).double().square().sum(dim=1, keepdim=True)
    expected = (squares - torch.cdist(queries.double(), bank.double()).square()) / 2
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


def test_products_come_back_from_closeness(rng, monkeypatch):
    monkeypatch.setattr(pairs, "PART_ROWS", 6)
    bank, queries = 3 + normal(rng, 20, 5), normal(rng, 8, 5)
    shared = pairs.Pairs(bank, normalise=False)
    cosines = Cosines(shared, queries)
    for rows, columns, block in closeness(queries, bank, shared.centre):
        for part, products in cosines.parts(rows, columns, block):
            expected = queries[rows] @ bank[part].T
            torch.testing.assert_close(products, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("width", "k"), [(5, 2), (16, 1), (40, 1), (100, 3), (163, 9), (48, 48)])
def test_the_largest_are_among_few(rng, width, k):
    values = normal(rng, 11, width)
    found, columns = largest(values, k)
    torch.testing.assert_close(values.gather(1, columns), found, rtol=0, atol=0)
    torch.testing.assert_close(found.topk(k).values, values.topk(k).values, rtol=0, atol=0)


def test_methods_on_the_same_inputs_share_the_products(rng, head, inputs, passes):
    rows = normal(rng, 13, 6)
    alone = [
        method()
        .fit(FitInputs.of(*_rows(inputs), head=head))
        .score(FeatureBatch.of(rows, head=head))
        for method in (KNN, NNGuide, Relation)
    ]
    assert len(passes) == 3
    fitted = [method().fit(inputs) for method in (KNN, NNGuide, Relation)]
    batch = FeatureBatch.of(rows, head=head)
    together = [detector.score(batch) for detector in fitted]
    assert len(passes) == 4
    for own, shared in zip(alone, together, strict=True):
        assert torch.equal(own, shared)


def _rows(inputs):
    batch = next(iter(inputs.train.batches(arrays=("features", "labels"))))
    return batch.features, batch.labels


def test_a_method_fitted_later_is_served(rng, head, inputs, passes):
    batch = FeatureBatch.of(normal(rng, 13, 6), head=head)
    first = NNGuide().fit(inputs).score(batch)
    second = Relation().fit(inputs)
    assert torch.equal(second.score(batch), second.score(batch.slice(0, 13)))
    assert len(passes) == 3
    assert torch.equal(NNGuide().fit(inputs).score(batch), first)


def test_one_that_lacks_an_array_fails_alone(rng, inputs):
    relation, knn = Relation().fit(inputs), KNN().fit(inputs)
    batch = FeatureBatch.of(normal(rng, 13, 6))  # no logits
    assert knn.score(batch).shape == (13,)
    with pytest.raises(MissingNeedError, match="holds no logits"):
        relation.score(batch)


def test_nobody_reads_for_methods_that_are_gone(rng, head, inputs):
    relation, knn = Relation().fit(inputs), KNN().fit(inputs)
    shared = knn._neighbours.pairs
    knn.score(FeatureBatch.of(normal(rng, 4, 6), head=head))
    assert len(shared._readers) == 2
    del relation
    gc.collect()
    assert len(shared._readers) == 1
