import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.odin import odin as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.methods.msp import MSP
from ltood.methods.odin import ODIN, Config


def head_of(seed: int, classes: int = 5, dim: int = 8) -> ClassifierHead:
    rng = torch.Generator().manual_seed(seed)
    return ClassifierHead(
        torch.randn(classes, dim, generator=rng), torch.randn(classes, generator=rng)
    )


def batch_of(seed: int, rows: int = 20, dim: int = 8) -> FeatureBatch:
    rng = torch.Generator().manual_seed(100 + seed)
    return FeatureBatch.of(extras={"odin/features": torch.randn(rows, dim, generator=rng)})


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0, 1000.0])
def test_reference(temperature):
    head, batch = head_of(0), batch_of(0)
    expected = [
        reference(f, head.weight.numpy(), head.bias.numpy(), temperature)
        for f in batch.extra("odin/features").numpy()
    ]
    got = ODIN(Config(temperature)).fit(head=head).score(batch)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.floats(0.5, 20))
def test_order_is_that_of_the_largest_probability(seed, temperature):
    head, batch = head_of(seed), batch_of(seed)
    logits = head.logits(batch.extra("odin/features"))
    expected = MSP(temperature=temperature).score(logits=logits)
    found = ODIN(temperature=temperature).fit(head=head).score(batch)
    torch.testing.assert_close(-(-found / temperature).exp() / 5, expected, rtol=1e-4, atol=1e-6)


def test_rows_are_told_apart_at_a_high_temperature():
    """A softmax in float32 gives rows whose logits differ by 1e-4 the same probability."""
    head = ClassifierHead(torch.eye(4), torch.zeros(4))
    rows = torch.zeros(50, 4)
    rows[:, 0] = 5 + 1e-4 * torch.arange(50)
    method = ODIN().fit(head=head)
    scores = method.score(FeatureBatch.of(extras={"odin/features": rows}))
    assert (scores.diff() < 0).all()
    assert len((head.logits(rows) / 1000).softmax(dim=1).amax(dim=1).unique()) < 50


def test_one_class_scores_zero():
    head = head_of(0, classes=1)
    assert (ODIN().fit(head=head).score(batch_of(0)) == 0).all()


def test_the_extra_array_is_named():
    with pytest.raises(MissingNeedError, match=r"odin/features.*extraction\.extras"):
        ODIN().fit(head=head_of(0)).score(torch.rand(2, 8))


def test_ranges():
    with pytest.raises(ConfigError, match=r"odin\.temperature is 0"):
        Config(0.0)
