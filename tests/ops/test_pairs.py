import copy
import math
import pickle

import numpy as np
import pytest
import torch

from ltood.core.batches import FeatureBatch
from ltood.core.errors import MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.energy import Energy
from ltood.methods.knn import KNN, Config
from ltood.methods.nnguide import Config as GuideConfig
from ltood.methods.nnguide import NNGuide, Similarities
from ltood.methods.relation import Edges, Relation
from ltood.ops import pairs
from ltood.ops.neighbours import Neighbours
from ltood.ops.pairs import (
    Cosines,
    Queries,
    SimilarityBank,
    bank_centre,
    largest,
    read_together,
    similarities,
)


def normal(rng, *shape):
    return torch.tensor(rng.normal(size=shape).astype(np.float32))


@pytest.fixture
def head(rng):
    return ClassifierHead(normal(rng, 3, 6), normal(rng, 3))


@pytest.fixture
def inputs(rng, head):
    return FitInputs.of(normal(rng, 90, 6), torch.zeros(90, dtype=torch.int64), head=head)


@pytest.fixture
def taken(monkeypatch):
    """Names what is done: each pass over all products, and each consumer that reads it."""
    done = []
    monkeypatch.setattr(
        pairs, "similarities", lambda *given: done.append("pass") or similarities(*given)
    )
    for consumer in (Neighbours, Similarities, Edges):
        start = consumer.start

        def noted(self, queries, start=start):
            k = getattr(self, "k", "")
            done.append(f"{type(self).__name__}{k}")
            return start(self, queries)

        monkeypatch.setattr(consumer, "start", noted)
    return done


def test_blocks_cover_all_pairs_once(rng, monkeypatch):
    monkeypatch.setattr(pairs, "QUERY_ROWS", 4)
    monkeypatch.setattr(pairs, "BANK_ROWS", 7)
    queries, bank = 5 + normal(rng, 9, 3), 5 + normal(rng, 20, 3)
    centre = bank_centre(bank)
    found = torch.full((9, 20), torch.nan)
    for rows, columns, block in similarities(queries, bank, centre):
        assert found[rows, columns].isnan().all()
        found[rows, columns] = block
    squares = (queries - centre).double().square().sum(dim=1, keepdim=True)
    expected = (squares - torch.cdist(queries.double(), bank.double()).square()) / 2
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


def test_products_come_back_from_similarities(rng, monkeypatch):
    monkeypatch.setattr(pairs, "PART_ROWS", 6)
    bank, queries = 3 + normal(rng, 20, 5), normal(rng, 8, 5)
    shared = SimilarityBank(bank, normalise=False)
    cosines = Cosines(Queries(FeatureBatch.of(queries), shared))
    for rows, columns, block in similarities(queries, bank, shared.centre):
        for part, products in cosines.parts(rows, columns, block):
            expected = queries[rows] @ bank[part].T
            torch.testing.assert_close(products, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("width", "k"), [(5, 2), (16, 1), (40, 1), (100, 3), (163, 9), (48, 48)])
def test_the_largest_are_among_few(rng, width, k):
    values = normal(rng, 11, width)
    found, columns = largest(values, k)
    torch.testing.assert_close(values.gather(1, columns), found, rtol=0, atol=0)
    torch.testing.assert_close(found.topk(k).values, values.topk(k).values, rtol=0, atol=0)


@pytest.mark.parametrize(("width", "k"), [(7, 2), (40, 3), (163, 9), (64, 48)])
def test_blocks_leave_out_what_counts_no_more(rng, width, k):
    blocks = [normal(rng, 11, width) for _ in range(6)]
    blocks[3] -= 100  # None of these counts any more.
    best = normal(rng, 11, 0).new_full((11, k), -math.inf)
    seen, taken = 0, 0
    for block in blocks:
        found, columns = largest(block, k, best.amin(dim=1), seen)
        assert torch.equal(block.gather(1, columns), found)
        best = torch.cat([best, found], dim=1).topk(k).values
        seen, taken = seen + width, taken + found.shape[1]
    assert torch.equal(best, torch.cat(blocks, dim=1).topk(k).values)
    assert taken < 6 * width


def test_a_method_does_no_work_for_others(rng, inputs, taken):
    rows = normal(rng, 13, 6)
    alone = KNN(Config(k=10)).fit(inputs)
    expected = alone.score(FeatureBatch.of(rows, head=inputs.head))
    others = [NNGuide(), Relation(), KNN(Config(k=80))]
    fitted = [method.fit(inputs) for method in others]
    taken.clear()
    scores = alone.score(FeatureBatch.of(rows, head=inputs.head))
    assert taken == ["Neighbours10", "pass"]
    assert torch.equal(scores, expected)
    assert len(fitted) == 3


def test_read_together_takes_the_products_once(rng, inputs, taken):
    rows = normal(rng, 13, 6)
    methods = [method().fit(inputs) for method in (KNN, NNGuide, Energy, Relation)]
    alone = [method.score(FeatureBatch.of(rows, head=inputs.head)) for method in methods]
    assert taken.count("pass") == 3
    taken.clear()
    batch = FeatureBatch.of(rows, head=inputs.head)
    read_together(methods, batch)
    together = [method.score(batch) for method in methods]
    assert taken.count("pass") == 1
    for own, shared in zip(alone, together, strict=True):
        assert torch.equal(own, shared)


def test_many_settings_take_the_products_once(rng, inputs, taken):
    methods = [NNGuide(GuideConfig(k=k)).fit(inputs) for k in (1, 4, 9)]
    rows = normal(rng, 13, 6)
    alone = [method.score(FeatureBatch.of(rows, head=inputs.head)) for method in methods]
    taken.clear()
    together = NNGuide.score_many(methods, FeatureBatch.of(rows, head=inputs.head))
    assert taken.count("pass") == 1
    assert torch.equal(together, torch.stack(alone))


def test_one_that_lacks_an_array_fails_alone(rng, inputs):
    relation, knn = Relation().fit(inputs), KNN().fit(inputs)
    batch = FeatureBatch.of(normal(rng, 13, 6))  # no logits
    assert knn.score(batch).shape == (13,)
    with pytest.raises(MissingNeedError, match="logits"):
        relation.score(batch)


@pytest.mark.parametrize("method", [KNN, NNGuide, Relation])
@pytest.mark.parametrize("copy", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_fitted_methods_can_be_copied(rng, inputs, method, copy):
    fitted, rows = method().fit(inputs), normal(rng, 13, 6)
    expected = fitted.score(FeatureBatch.of(rows, head=inputs.head))
    again = copy(fitted)
    assert torch.equal(again.score(FeatureBatch.of(rows, head=inputs.head)), expected)
    assert again.consumer().bank.rows is again.bank_  # one copy of the bank, not two


def test_pickles_hold_the_bank_alone(rng, inputs):
    fitted = KNN().fit(inputs)
    before = len(pickle.dumps(fitted))
    fitted.score(FeatureBatch.of(normal(rng, 13, 6)))
    assert len(pickle.dumps(fitted)) == before
