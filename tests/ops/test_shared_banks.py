"""Banks of which every process holds a part give what a whole one gives."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, LtoodError
from ltood.core.inputs import FitInputs
from ltood.methods import knn, nnguide, relation
from ltood.ops.shared_banks import SharedBank, read_shared, shared_consumers
from tests.crew_samples import run_crew


class Few(TensorSource):
    """Rows in batches of three."""

    def batches(self, rows=3, arrays=()):
        return super().batches(min(rows, 3), arrays)


def rows(num, seed):
    rng = torch.Generator().manual_seed(seed)
    # Few values, so that rows are twice there and distances tie.
    features = torch.randint(0, 3, (num, 4), generator=rng).float()
    return FeatureBatch.of(features, torch.randn(num, 3, generator=rng))


def detectors(inputs, k):
    return [
        knn.Entry(k=k)._fit(inputs),
        knn.Entry(k=k, normalise=False)._fit(inputs),
        nnguide.Entry(k=k)._fit(inputs),
        relation.Entry()._fit(inputs),
    ]


def scored_in_step(crew, train, batches, k):
    """Scores of own batches by all detectors."""
    inputs = FitInputs(Few(train, 3), crew=crew)
    methods = crew.agreed(lambda: detectors(inputs, k))
    consumers = shared_consumers(methods)
    assert len(consumers) == len(methods)
    assert {type(consumer.bank) for consumer in consumers} == {SharedBank}
    found = []
    for batch in crew.in_step(batches[crew.part.number :: crew.part.count]):
        read_shared(consumers, batch)
        if batch is not None:
            found.append(torch.stack([method._score(batch).float() for method in methods]))
    return found, sum(len(method.bank_) for method in methods)


@settings(max_examples=6)
@given(
    st.integers(1, 25),
    st.lists(st.integers(0, 9), max_size=5),
    st.integers(2, 4),
    st.integers(0, 99),
    st.data(),
)
def test_scores_are_those_of_the_whole_bank(num, sizes, world, seed, data):
    k = data.draw(st.integers(1, num))
    train, batches = rows(num, seed), [rows(size, seed + 1 + i) for i, size in enumerate(sizes)]
    whole = detectors(FitInputs(Few(train, 3)), k)
    results = run_crew(
        world,
        lambda crew: scored_in_step(
            crew, train, [FeatureBatch(batch.arrays) for batch in batches], k
        ),
        shares_banks=True,
    )
    assert sum(held for _, held in results) == len(whole) * num
    for number, (found, _) in enumerate(results):
        for batch, scores in zip(batches[number::world], found, strict=True):
            expected = torch.stack([method._score(batch).float() for method in whole])
            torch.testing.assert_close(scores, expected, rtol=1e-5, atol=2e-6)


def test_what_fails_for_one_process_fails_for_all_and_none_waits(monkeypatch):
    train = rows(20, 0)

    def work(crew):
        consumers = shared_consumers(detectors(FitInputs(Few(train, 3), crew=crew), 2))
        if crew.part.number == 1:
            monkeypatch.setattr(consumers[0], "start", lambda queries: 1 / 0)
        batch = rows(4, 1)
        with pytest.raises((LtoodError, ZeroDivisionError), match="division by zero"):
            read_shared(consumers, batch)
        with pytest.raises(LtoodError, match="part of the bank"):
            consumers[0].read(batch)
        return crew.told(crew.part.number)

    assert run_crew(3, work, shares_banks=True) == [[0, 1, 2]] * 3


def test_more_neighbours_than_all_rows_together_are_refused():
    def work(crew):
        inputs = FitInputs(Few(rows(7, 0), 3), crew=crew)
        with pytest.raises(ConfigError, match=r"methods\.knn\.k is 8 .* 7 training rows"):
            crew.agreed(lambda: knn.Entry(k=8)._fit(inputs))
        method = crew.agreed(lambda: knn.Entry(k=7)._fit(inputs))
        with pytest.raises(ConfigError, match="part of a bank"):
            copy.deepcopy(method)
        return True

    assert run_crew(2, work, shares_banks=True) == [True, True]


def test_an_index_searches_the_whole_bank():
    def work(crew):
        inputs = FitInputs(Few(rows(20, 0), 3), crew=crew)
        return len(crew.agreed(lambda: knn.Entry(k=2, index="ivf")._fit(inputs)).bank_)

    assert run_crew(2, work, shares_banks=True) == [20, 20]
