from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import kl_matching as reference

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs
from ltood.methods.kl_matching import Config, KLMatching, smallest_divergence


def fitted(logits, labels, **settings):
    inputs = FitInputs.of(labels=torch.tensor(labels), logits=torch.tensor(logits))
    return KLMatching(Config(**settings)).fit(inputs)


def test_golden(himplos_golden):
    g = himplos_golden
    # The published code learns from the labels of the test rows; so must we, to compare.
    detector = fitted(g["logits"], g["labels"], group_by="label")
    with np.load(Path(__file__).parents[1] / "golden" / "kl_matching.npz") as golden:
        np.testing.assert_allclose(detector.log_means_.exp(), golden["kl_class_prob"], rtol=1e-5)
        for prefix in ("", "ood_"):
            batch = FeatureBatch.of(logits=torch.tensor(g[f"{prefix}logits"]))
            expected = -golden[f"{prefix}kl"]
            np.testing.assert_allclose(detector.score(batch), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("group_by", ["predicted", "label"])
def test_reference(rng, group_by):
    logits = rng.normal(scale=2, size=(60, 5)).astype(np.float32)
    logits[:, 3] -= 30  # never predicted
    labels = rng.integers(0, 4, size=60)  # class 4 has no rows
    groups = logits.argmax(axis=1) if group_by == "predicted" else labels
    means = reference.mean_softmax(logits, groups, 5)
    assert len(means) == 4
    expected = [reference.kl_matching(row, means) for row in logits]
    got = fitted(logits, labels, group_by=group_by).score(
        FeatureBatch.of(logits=torch.tensor(logits))
    )
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_a_typical_row_scores_zero():
    detector = fitted([[5.0, 1.0, 0.0]] * 3, [0, 0, 0])
    assert detector.score(FeatureBatch.of(logits=torch.tensor([[5.0, 1.0, 0.0]]))).tolist() == [0.0]


def test_huge_logits_stay_finite():
    detector = fitted([[3e38, -3e38], [3e38, 0.0]], [0, 0])
    batch = FeatureBatch.of(logits=torch.tensor([[3e38, -3e38], [-3e38, 3e38]]))
    known, unknown = detector.score(batch).tolist()
    assert known == 0.0
    assert 700 < unknown < 710


def test_rows_and_labels_are_checked():
    with pytest.raises(DataError, match="the training split has no rows"):
        KLMatching().fit(FitInputs.of(logits=torch.zeros(0, 3)))
    batch = FeatureBatch.of(logits=torch.zeros(1, 2), labels=torch.tensor([-1]))
    outlier = TensorSource(batch, num_classes=2)
    with pytest.raises(DataError, match="the training split holds the label -1"):
        KLMatching(Config(group_by="label")).fit(FitInputs(outlier))


def test_group_by_is_a_choice():
    with pytest.raises(ConfigError, match=r"group_by is 'true'"):
        Config(group_by="true")


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(1, 40),
    spread=st.sampled_from([0.0, 1e-9, 1e-5, 1.0, 50.0]),
)
def test_screening_in_float32_changes_nothing(seed, classes, spread):
    generator = torch.Generator().manual_seed(seed)
    # Means that are equal, or differ by less than float32 tells apart.
    one = torch.randn(1, classes, generator=generator, dtype=torch.float64)
    means = one + spread * torch.randn(classes, classes, generator=generator, dtype=torch.float64)
    log_means = torch.log_softmax(means, dim=1).clamp(min=-708)
    logits = 3 * torch.randn(20, classes, generator=generator)
    p = torch.softmax(logits.double(), dim=1)
    plain = (p * p.log()).nansum(dim=1) - (p @ log_means.T).amax(dim=1)
    found = smallest_divergence(logits, log_means)
    torch.testing.assert_close(found, plain.clamp(min=0).float(), rtol=1e-6, atol=1e-14)
