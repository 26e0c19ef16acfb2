import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from map_samples import batch_of, head_of, maps_of
from reference import maps as reference

from ltood.methods.rankfeat import RankFeat, without_rank_one


@pytest.mark.parametrize("places", [2, 4, 6, 9, 25])
@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_rankfeat_is_the_reference(places, scorer):
    head, maps = head_of(), maps_of(places=places)
    expected = [reference.rankfeat(m, head.weight, head.bias, scorer) for m in maps.numpy()]
    got = RankFeat(scorer=scorer).fit(head=head).score(batch_of(maps))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=25)
@given(st.integers(0, 999), st.integers(1, 12), st.floats(0.1, 100))
def test_a_map_of_rank_one_leaves_nothing(seed, places, scale):
    rng = torch.Generator().manual_seed(seed)
    left = torch.rand(4, places, 1, generator=rng)
    maps = scale * left * torch.randn(4, 1, 6, generator=rng)
    rest = without_rank_one(maps)
    assert rest.abs().max() <= 1e-5 * scale
    bias = torch.logsumexp(head_of().bias, dim=0)
    found = RankFeat().fit(head=head_of()).score(batch_of(maps))
    torch.testing.assert_close(found, -bias.expand(4), rtol=1e-3, atol=1e-3 * scale)


@settings(max_examples=25)
@given(st.integers(0, 999), st.integers(2, 12), st.sampled_from([1e-3, 2.0, 1e3]))
def test_what_rankfeat_leaves_grows_with_the_map(seed, places, scale):
    maps = maps_of(seed, places=places)
    torch.testing.assert_close(
        without_rank_one(maps * scale), scale * without_rank_one(maps), rtol=1e-4, atol=1e-5 * scale
    )
