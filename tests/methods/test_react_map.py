import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from map_samples import batch_of, energy_of, head_of, maps_of
from reference import maps as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.inputs import FitInputs, Need
from ltood.methods.react import ReAct
from ltood.methods.react_map import Config, ReActMap
from ltood.ops import maps as ops
from ltood.ops import statistics


@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_react_map_is_the_reference(scorer):
    head, maps = head_of(), maps_of()
    expected = [reference.react_map(m, head.weight, head.bias, 0.8, scorer) for m in maps.numpy()]
    got = ReActMap(clip=0.8, scorer=scorer).fit(head=head).score(batch_of(maps))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [None, float("inf"), 1e30])
def test_without_a_clip_react_map_is_energy(clip):
    maps = maps_of()
    found = ReActMap(clip=clip).fit(head=head_of()).score(batch_of(maps))
    torch.testing.assert_close(found, energy_of(maps.mean(dim=1)), rtol=1e-5, atol=1e-6)


def test_a_map_of_one_place_is_what_react_sees():
    features = maps_of(places=1)[:, 0]
    found = ReActMap(clip=0.5).fit(head=head_of()).score(batch_of(features[:, None]))
    expected = ReAct(clip=0.5).fit(head=head_of()).score(FeatureBatch.of(features))
    torch.testing.assert_close(found, expected)


@settings(max_examples=25)
@given(st.integers(0, 999), st.floats(0.05, 2))
def test_clipping_before_pooling_leaves_less_than_after(seed, clip):
    """The mean of minima is at most the minimum of the mean."""
    maps = maps_of(seed)
    before = maps.clamp(max=clip).mean(dim=1)
    assert (before <= maps.mean(dim=1).clamp(max=clip) + 1e-6).all()
    found = ReActMap(clip=clip).fit(head=head_of()).score(batch_of(maps))
    torch.testing.assert_close(found, energy_of(before), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("percent", [0.0, 90.0, 98.0, 100.0])
def test_the_clip_is_a_percentile_of_held_out_maps(percent, monkeypatch):
    held_out = maps_of(3, rows=50)
    expected = np.percentile(held_out.double().numpy(), percent)

    def clip() -> float:
        method = ReActMap(percentile=percent).fit(head=head_of(), val=batch_of(held_out))
        return method.derived()["clip"]

    assert clip() == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr(statistics, "EXACT_VALUES", 100)
    monkeypatch.setattr(ops, "BLOCK_VALUES", 200)
    assert clip() == pytest.approx(expected, rel=2**-10, abs=1e-6)


def test_held_out_rows_are_needed_for_auto_only():
    assert ReActMap().needs == {Need.HEAD, Need.VAL}
    assert ReActMap(clip=1.5).needs == ReActMap(clip=None).needs == {Need.HEAD}
    with pytest.raises(MissingNeedError, match="val"):
        ReActMap().fit(FitInputs(head=head_of()))
    ids = torch.arange(4)
    assert ReActMap().learned_rows(ids, ids).all()
    assert not ReActMap(clip=1.5).learned_rows(ids, ids).any()


def test_ranges():
    with pytest.raises(ConfigError, match=r"react_map\.clip"):
        Config(clip=0.0)
