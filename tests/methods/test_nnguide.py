import numpy as np
import pytest
import torch
from reference.nnguide import nnguide

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.methods.nnguide import Config, NNGuide
from ltood.ops import pairs


def made(rng, num=40, dim=6, classes=3):
    arrays = {"bank": (num, dim), "rows": (7, dim), "weight": (classes, dim), "bias": (classes,)}
    return {k: rng.normal(size=shape).astype(np.float32) for k, shape in arrays.items()}


def fitted(case, **settings):
    head = ClassifierHead(torch.tensor(case["weight"]), torch.tensor(case["bias"]))
    labels = torch.zeros(len(case["bank"]), dtype=torch.int64)
    inputs = FitInputs.of(torch.tensor(case["bank"]), labels, head=head)
    batch = FeatureBatch.of(torch.tensor(case["rows"]), head=head)
    return NNGuide(Config(**settings)).fit(inputs), batch


def expected(case, k, bank=None):
    bank = case["bank"] if bank is None else bank
    weight, bias = case["weight"].astype(np.float64), case["bias"]
    logits, bank_logits = case["rows"] @ weight.T + bias, bank @ weight.T + bias
    pairs = zip(case["rows"], logits, strict=True)
    return [nnguide(row, own, bank, bank_logits, k) for row, own in pairs]


@pytest.mark.parametrize("k", [1, 10, 40])
def test_reference(rng, k):
    case = made(rng)
    detector, batch = fitted(case, k=k)
    np.testing.assert_allclose(detector.score(batch), expected(case, k), rtol=2e-5, atol=1e-6)


def test_blocks_do_not_matter(rng, monkeypatch):
    case = made(rng)
    detector, batch = fitted(case, k=10)
    whole = detector.score(batch)
    monkeypatch.setattr(pairs, "BANK_ROWS", 7)
    monkeypatch.setattr(pairs, "PART_ROWS", 4)
    monkeypatch.setattr(pairs, "QUERY_ROWS", 3)
    again = batch.slice(0, len(batch))
    torch.testing.assert_close(detector.score(again), whole)


@pytest.mark.parametrize(
    ("fraction", "rows"), [(0.5, slice(1, None, 2)), (0.25, slice(3, None, 4))]
)
def test_a_share_of_the_bank(rng, fraction, rows):
    case = made(rng)
    detector, batch = fitted(case, k=5, fraction=fraction)
    want = expected(case, 5, case["bank"][rows])
    np.testing.assert_allclose(detector.score(batch), want, rtol=2e-5, atol=1e-6)


def test_zero_features_are_neutral(rng):
    case = made(rng)
    case["rows"][0], case["bank"][:3] = 0, 0
    detector, batch = fitted(case, k=10)
    scores = detector.score(batch)
    assert scores[0] == 0
    assert torch.isfinite(scores).all()


def test_no_rows_no_scores(rng):
    detector, batch = fitted(made(rng))
    assert detector.score(batch.slice(0, 0)).shape == (0,)


def test_k_above_the_bank_is_refused(rng):
    with pytest.raises(ConfigError, match=r"methods.nnguide.k is 11 but the bank has only 10 rows"):
        fitted(made(rng), k=11, fraction=0.25)


def test_ranges():
    with pytest.raises(ConfigError, match=r"methods.nnguide.k is 0"):
        Config(k=0)
    for fraction in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match=r"methods.nnguide.fraction is "):
            Config(fraction=fraction)
