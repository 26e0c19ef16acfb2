"""Methods that learn from rows which several processes share learn what one process does."""

import dataclasses

import pytest
import torch

from ltood.core.batches import TensorSource
from ltood.core.registry import available
from tests.crew_samples import run_crew
from tests.methods.test_contract import fitted, joined, raw_scores


class Small(TensorSource):
    """Rows in batches of few, so that every process has some."""

    def batches(self, rows=11, arrays=()):
        return super().batches(min(rows, 11), arrays)


def small(source, toy):
    return source and Small(next(iter(source.batches())), toy.head.num_classes)


@pytest.mark.parametrize("name", available("methods"))
def test_scores_are_those_of_one_process(name, toy):
    sources = {key: small(getattr(toy.inputs, key), toy) for key in ("train", "aux", "val")}
    batch = joined(toy)
    expected = raw_scores(fitted(name, dataclasses.replace(toy.inputs, **sources)), batch)
    for world in (2, 3):

        def score(crew):
            inputs = dataclasses.replace(toy.inputs, **sources, crew=crew)
            return crew.agreed(lambda: raw_scores(fitted(name, inputs), batch))

        for got in run_crew(world, score):
            assert not isinstance(got, BaseException), got
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
