import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.adascale import adascale as reference
from reference.adascale import shift as reference_shift

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs, Need
from ltood.methods.adascale import AdaSCALE, Config, mass_ratios
from ltood.methods.scale import SCALE


def rows(seed: int, num: int = 30, dim: int = 40) -> FeatureBatch:
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(num, dim, generator=rng) + 0.5
    moved = features + 0.3 * torch.randn(num, dim, generator=rng)
    return FeatureBatch.of(features, extras={"adascale/features": moved})


def inputs_of(held_out: FeatureBatch, dim: int = 40, classes: int = 3) -> FitInputs:
    rng = torch.Generator().manual_seed(9)
    head = ClassifierHead(
        torch.randn(classes, dim, generator=rng) / 9, torch.randn(classes, generator=rng)
    )
    return FitInputs.of(head=head, val=held_out)


@pytest.mark.parametrize("kind", ["a", "l"])
@pytest.mark.parametrize("parts", [(80.0, 85.0, 5.0, 1.0, 10.0), (20.0, 90.0, 30.0, 60.0, 2.0)])
def test_reference(kind, parts):
    lowest, highest, largest, top, weight = parts
    held_out, tested = rows(0), rows(1)
    inputs = inputs_of(held_out)
    config = Config(kind, lowest, highest, largest, top, weight)

    def shifts(batch):
        pairs = zip(batch.features, batch.extra("adascale/features"), strict=True)
        return [reference_shift(f, m, largest, top, weight) for f, m in pairs]

    known = shifts(held_out)
    head = (inputs.head.weight.numpy(), inputs.head.bias.numpy())
    expected = [
        reference(f.numpy(), own, known, *head, kind, lowest, highest)
        for f, own in zip(tested.features, shifts(tested), strict=True)
    ]
    got = AdaSCALE(config).fit(inputs).score(tested)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.integers(1, 99))
def test_one_percentile_for_all_rows_is_scale(seed, percentile):
    inputs, tested = inputs_of(rows(seed)), rows(seed + 1)
    found = AdaSCALE(lowest=percentile, highest=percentile).fit(inputs).score(tested)
    expected = SCALE(percentile=percentile).fit(inputs).score(FeatureBatch.of(tested.features))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.floats(0.01, 99.9))
def test_ratios_of_rows_are_those_of_scale(seed, percentile):
    from ltood.ops.shaping import mass_ratio

    features = rows(seed).features
    each = torch.full((len(features),), percentile, dtype=torch.float64)
    torch.testing.assert_close(mass_ratios(features, each), mass_ratio(features, percentile))


def test_rows_that_shift_more_are_scaled_less():
    held_out = rows(0)
    method = AdaSCALE(lowest=10.0, highest=90.0).fit(inputs_of(held_out))
    features = held_out.features[:1].repeat(3, 1)
    steps = torch.tensor([0.0, 0.5, 50.0])[:, None]
    batch = FeatureBatch.of(features, extras={"adascale/features": features + steps})
    found = method._percentiles(batch)
    assert found[0] > found[1] > found[2] == 10.0


@pytest.mark.parametrize(("dim", "classes"), [(1, 2), (3, 2), (40, 1)])
def test_few_features_and_one_held_out_row(dim, classes):
    inputs = inputs_of(rows(0, num=1, dim=dim), dim, classes)
    for kind in ("a", "l"):
        assert torch.isfinite(AdaSCALE(kind=kind).fit(inputs).score(rows(1, 5, dim))).all()


def test_zero_features_score_as_the_bias():
    inputs = inputs_of(rows(0))
    zero = FeatureBatch.of(torch.zeros(2, 40), extras={"adascale/features": torch.zeros(2, 40)})
    expected = -inputs.head.bias.logsumexp(dim=0).expand(2)
    torch.testing.assert_close(AdaSCALE().fit(inputs).score(zero), expected)


def test_held_out_rows_are_needed():
    assert Need.VAL in AdaSCALE().needs
    with pytest.raises(MissingNeedError, match="split val"):
        AdaSCALE().fit(head=inputs_of(rows(0)).head)


def test_the_extra_array_is_named():
    method = AdaSCALE().fit(inputs_of(rows(0)))
    with pytest.raises(MissingNeedError, match=r"adascale/features.*extraction\.extras"):
        method.score(torch.rand(2, 40))


def test_every_held_out_row_has_been_learned_from():
    method = AdaSCALE().fit(inputs_of(rows(0)))
    assert method.learned_rows(torch.arange(4), torch.zeros(4)).all()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"lowest": 86.0}, r"adascale\.highest is 85\.0"),
        ({"highest": 100.0}, r"adascale\.highest"),
        ({"kind": "b"}, r"adascale\.kind"),
        ({"weight": -1.0}, r"adascale\.weight"),
    ],
)
def test_ranges(chosen, message):
    with pytest.raises(ConfigError, match=message):
        Config(**chosen)
