"""Maps go through methods in blocks, and places have no order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from map_samples import batch_of, energy_of, head_of, maps_of

from ltood.core.errors import DataError, MissingNeedError
from ltood.methods.ash_map import ASHMap
from ltood.methods.rankfeat import RankFeat
from ltood.methods.react_map import ReActMap
from ltood.ops import maps as ops

METHODS = (RankFeat, lambda: ReActMap(clip=0.8), ASHMap)


@settings(max_examples=25)
@given(st.integers(0, 999), st.integers(1, 9))
def test_the_order_of_places_does_not_matter(seed, places):
    maps = maps_of(seed, places=places)
    order = torch.randperm(places, generator=torch.Generator().manual_seed(seed))
    for make in METHODS:
        method = make().fit(head=head_of())
        found = method.score(batch_of(maps[:, order]))
        torch.testing.assert_close(found, method.score(batch_of(maps)), rtol=1e-4, atol=1e-5)


def test_maps_of_zeros_score_as_the_bias():
    expected = energy_of(torch.zeros(3, 6))
    for make in METHODS:
        found = make().fit(head=head_of()).score(batch_of(torch.zeros(3, 4, 6)))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("make", METHODS)
def test_blocks_do_not_matter(make, monkeypatch):
    method, batch = make().fit(head=head_of()), batch_of(maps_of(rows=23))
    expected, sizes = method.score(batch), []
    monkeypatch.setattr(ops, "BLOCK_VALUES", 5 * 9 * 6)
    torch.testing.assert_close(method.score(batch), expected)
    sizes = [len(block) for block in ops.map_blocks(batch)]
    assert sizes == [5, 5, 5, 5, 3]


@pytest.mark.parametrize("make", METHODS)
def test_what_are_not_maps_is_refused(make):
    method = make().fit(head=head_of())
    with pytest.raises(DataError, match=r"maps/features .*\[N, P, D\]"):
        method.score(batch_of(torch.rand(3, 6)))
    with pytest.raises(MissingNeedError, match=r"maps/features.*extraction\.extras: \[maps\]"):
        method.score(torch.rand(2, 6))
