import numpy as np
import pytest
import torch
from map_samples import batch_of, head_of, maps_of
from reference import maps as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.ash import ASH
from ltood.methods.ash_map import ASHMap, Config


@pytest.mark.parametrize("variant", ["p", "b", "s"])
@pytest.mark.parametrize("percent", [0.0, 65.0, 90.0, 100.0])
def test_ash_map_is_the_reference(variant, percent):
    head, maps = head_of(), maps_of()
    expected = [
        reference.ash_map(m, head.weight.numpy(), head.bias.numpy(), variant, percent)
        for m in maps.numpy()
    ]
    got = ASHMap(variant=variant, percentile=percent).fit(head=head).score(batch_of(maps))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", ["p", "b", "s"])
def test_a_map_of_one_place_is_what_ash_sees(variant):
    features = maps_of(places=1)[:, 0]
    found = ASHMap(variant=variant, percentile=50.0).fit(head=head_of())
    expected = ASH(variant=variant, percentile=50.0).fit(head=head_of())
    torch.testing.assert_close(
        found.score(batch_of(features[:, None])), expected.score(FeatureBatch.of(features))
    )


def test_ranges():
    with pytest.raises(ConfigError, match=r"ash_map\.percentile"):
        Config(percentile=101.0)
