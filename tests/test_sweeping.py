import pytest
import torch

from ltood.core.registry import available, load
from ltood.core.types import FeatureBatch

#: Two values of every setting that numbers can sweep, by its name.
VALUES = {
    "k": (3, 7),
    "percentile": (20.0, 80.0),
    "clip": (0.8, None),
    "temperature": (1.0, 3.0),
    "scorer": ("energy", "msp"),
    "mask": (True, False),
    "smoothing": (True, False),
    "normalise": (True, False),
}


def rows_of(batch: FeatureBatch) -> FeatureBatch:
    """The same rows without anything computed for them yet."""
    return batch.slice(0, len(batch))


@pytest.mark.parametrize("name", available("methods"))
def test_scoring_many_equals_scoring_each(name, toy):
    module = load("methods", name)
    swept = {key: VALUES[key] for key in module.Config.__dataclass_fields__ if key in VALUES}
    configs = [{"k": 3} if "k" in swept else {}]
    for key, values in swept.items():
        configs = [{**config, key: value} for config in configs for value in values]
    detectors = [module.Entry(module.Config(**config)).fit(toy.inputs) for config in configs]
    got = module.Entry.score_many(detectors, rows_of(toy.ood_batch))
    assert got.shape == (len(configs), len(toy.ood_batch))
    assert got.dtype == torch.float32
    for row, config in zip(got, configs, strict=True):
        alone = module.Entry(module.Config(**config)).fit(toy.inputs)
        torch.testing.assert_close(row, alone.score(rows_of(toy.ood_batch)))
