import clip_samples
import numpy as np
import pytest
import torch
from reference import mcm as reference

from ltood.core.batches import FeatureBatch
from ltood.methods.max_cosine import MaxCosine


@pytest.mark.parametrize("case", ["T1", "T0.01"])
def test_clip_logits_without_their_scale(case):
    logits = clip_samples.golden(case)["logits_global"]
    inputs, batch = clip_samples.inputs_and_batch(case)
    got = MaxCosine().fit(inputs).score(batch)
    np.testing.assert_allclose(got, -logits.max(axis=1) / 100, rtol=1e-5)


def test_reference(rng):
    inputs, batch, weight, features, _ = clip_samples.random_rows(rng)
    expected = [reference.max_cosine(row, weight) for row in features]
    np.testing.assert_allclose(MaxCosine().fit(inputs).score(batch), expected, rtol=1e-5)


def test_extremes(rng):
    inputs, _, weight, *_ = clip_samples.random_rows(rng)
    features = torch.stack([torch.zeros(8), 1e6 * torch.tensor(weight[1])])
    got = MaxCosine().fit(inputs).score(FeatureBatch.of(features))
    assert got.tolist() == pytest.approx([0.0, -1.0])
