import numpy as np
import pytest
import torch
from reference import openmax as reference

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs
from ltood.methods.openmax import Config, OpenMax

NUM = 6


def fitted(logits, labels, **settings):
    batch = FeatureBatch.of(logits=torch.tensor(logits), labels=torch.tensor(labels))
    return OpenMax(Config(**settings)).fit(FitInputs(TensorSource(batch, logits.shape[1])))


@pytest.fixture
def train(rng):
    """Class 3 has two rows, class 4 is never predicted, class 5 has no row."""
    labels = np.repeat(np.arange(5), [60, 40, 20, 2, 12])
    logits = rng.normal(size=(len(labels), NUM)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 5
    logits[:, 4] -= 20
    return logits, labels


@pytest.mark.parametrize("tail_size", [3, 10, 500])
@pytest.mark.parametrize("tail_share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [1, 10])
def test_reference(train, rng, tail_size, tail_share, alpha):
    means, tails = reference.fit(*train, NUM, tail_size, tail_share)
    assert [tail is None for tail in tails] == [False] * 5 + [True]
    assert tails[3] == tails[4]
    rows = np.concatenate([train[0][::5], rng.normal(scale=6, size=(20, NUM))]).astype(np.float32)
    expected = [reference.openmax(row, means, tails, alpha) for row in rows]
    detector = fitted(*train, tail_size=tail_size, tail_share=tail_share, alpha=alpha)
    got = detector.score(FeatureBatch.of(logits=torch.tensor(rows)))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_a_class_without_rows_is_never_revised(train):
    row = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 9.0]])
    # Only logits of 0 are revised, which changes nothing: the unknown class has logit 0.
    got = fitted(*train).score(FeatureBatch.of(logits=row))
    torch.testing.assert_close(got, -torch.logsumexp(row, dim=1))


def test_a_tail_is_a_share_of_its_class(train):
    logits, labels = train
    batch = FeatureBatch.of(logits=torch.tensor(logits[labels == 2]))
    share = fitted(*train, tail_share=0.15).score(batch).median()
    whole = fitted(*train, tail_share=1.0).score(batch).median()
    # Where all 20 rows of class 2 are its tail, its typical row counts as outside.
    assert whole > share + 1


def test_far_rows_do_not_tie(train):
    rows = torch.zeros(30, NUM)
    rows[:, 0] = torch.linspace(80.0, 200.0, 30)
    scores = fitted(*train).score(FeatureBatch.of(logits=rows))
    assert (scores.diff() > 0).all()
    assert scores.min() > 50


def test_rows_without_spread_stay_finite():
    logits = np.eye(3, dtype=np.float32).repeat(4, axis=0)
    scores = fitted(logits, np.arange(3).repeat(4)).score(
        FeatureBatch.of(logits=torch.tensor([[0.0, 0.0, 0.0], [1e30, -1e30, 0.0]]))
    )
    # No class separates near from far, so the unknown class keeps the logit 0.
    assert scores.tolist() == pytest.approx([-np.log(3), -1e30])


def test_rows_and_labels_are_checked():
    with pytest.raises(DataError, match="the training split has no rows"):
        fitted(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=np.int64))
    with pytest.raises(DataError, match="the training split holds the label -1"):
        fitted(np.zeros((1, 3), dtype=np.float32), np.array([-1]))


def test_ranges():
    with pytest.raises(ConfigError, match=r"methods.openmax.tail_size is 2"):
        Config(tail_size=2)
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=r"methods.openmax.tail_share is "):
            Config(tail_share=share)
    with pytest.raises(ConfigError, match=r"methods.openmax.alpha is 0"):
        Config(alpha=0)
