import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import negatives as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.clipn import CLIPN


def made(seed, num_classes=5, dim=8, rows=9):
    rng = np.random.default_rng(seed)
    sizes = (rows, dim), (num_classes, dim), (num_classes, dim)
    return [torch.tensor(3 * rng.normal(size=size), dtype=torch.float32) for size in sizes]


def scores(features, yes, no, **settings):
    head = ClassifierHead(yes, torch.zeros(len(yes)), no_weight=no)
    return CLIPN(**settings).fit(FitInputs(head=head)).score(FeatureBatch.of(features))


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["ctw", "atd"])
def test_reference(kind, temperature):
    features, yes, no = made(0)
    expected = [reference.clipn(row, yes, no, kind, temperature) for row in features]
    got = scores(features, yes, no, kind=kind, temperature=temperature)
    np.testing.assert_allclose(got, expected, rtol=2e-4, atol=1e-7)


@given(st.integers(0, 1000), st.integers(1, 6))
def test_of_one_class_both_kinds_are_one(seed, rows):
    features, yes, no = made(seed, num_classes=1, rows=rows)
    got = [scores(features, yes, no, kind=kind) for kind in ("ctw", "atd")]
    torch.testing.assert_close(*got)


@given(st.integers(0, 1000), st.sampled_from(["ctw", "atd"]))
def test_who_denies_as_much_as_it_agrees_says_half(seed, kind):
    features, yes, _ = made(seed)
    torch.testing.assert_close(scores(features, yes, yes, kind=kind), torch.full((9,), 0.5))


@given(st.integers(0, 1000), st.floats(1e-4, 100), st.sampled_from(["ctw", "atd"]))
def test_scores_are_probabilities_at_any_temperature(seed, temperature, kind):
    features, yes, no = made(seed)
    features = torch.cat([features, yes, -no, torch.zeros(1, 8)])
    got = scores(features, yes, no, kind=kind, temperature=temperature)
    assert torch.isfinite(got).all()
    assert ((got >= 0) & (got <= 1 + 1e-6)).all()


def test_without_a_no_head_it_is_refused():
    features, yes, no = made(0)
    with pytest.raises(MissingNeedError, match="no_weight"):
        CLIPN().fit(head=(yes, None))
    with pytest.raises(DataError, match="no_weight"):
        ClassifierHead(yes, torch.zeros(5), no_weight=no[:4])
    with pytest.raises(ConfigError, match="kind"):
        CLIPN(kind="both")
    assert len(features) == len(scores(features, yes, no))
