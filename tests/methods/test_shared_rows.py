"""Methods that learn from rows which several processes share learn what one process does."""

import dataclasses

import pytest
import torch

from ltood.core.batches import TensorSource
from ltood.core.registry import available
from tests.crew_samples import run_crew
from tests.methods.test_contract import fitted, joined, raw_scores

RTOL, ATOL = 1e-6, 1e-7


class Small(TensorSource):
    """Rows in batches of few, so that every process has some."""

    def batches(self, rows=11, arrays=()):
        return super().batches(min(rows, 11), arrays)


def small(source, toy):
    return source and Small(next(iter(source.batches())), toy.head.num_classes)


#: It fits dozens of methods.
SLOW = ("auto",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in available("methods")],
)
def test_scores_are_those_of_one_process(name, toy):
    sources = {key: small(getattr(toy.inputs, key), toy) for key in ("train", "aux", "val")}
    batch = joined(toy)
    expected = raw_scores(fitted(name, dataclasses.replace(toy.inputs, **sources)), batch)

    def score(crew):
        inputs = dataclasses.replace(toy.inputs, **sources, crew=crew)
        return crew.agreed(lambda: raw_scores(fitted(name, inputs), batch))

    for got in run_crew(3, score):
        assert not isinstance(got, BaseException), got
        torch.testing.assert_close(got, expected, rtol=RTOL, atol=ATOL)
