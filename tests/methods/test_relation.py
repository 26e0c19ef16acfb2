import numpy as np
import pytest
import torch
from reference.relation import relation

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs
from ltood.methods.relation import Config, Relation
from ltood.ops import pairs


def made(rng, num=40, dim=6, classes=3):
    shapes = {"bank": (num, dim), "bank_logits": (num, classes), "rows": (9, dim)}
    shapes["logits"] = (9, classes)
    return {k: (2 * rng.normal(size=shape)).astype(np.float32) for k, shape in shapes.items()}


def fitted(case, **settings):
    bank = FeatureBatch.of(torch.tensor(case["bank"]), torch.tensor(case["bank_logits"]))
    inputs = FitInputs(TensorSource(bank, case["logits"].shape[1]))
    batch = FeatureBatch.of(torch.tensor(case["rows"]), torch.tensor(case["logits"]))
    return Relation(Config(**settings)).fit(inputs), batch


def expected(case, power=1.0, threshold=0.03, rows=slice(None)):
    bank, logits = case["bank"][rows], case["bank_logits"][rows]
    pairs = zip(case["rows"], case["logits"], strict=True)
    return [relation(row, own, bank, logits, power, threshold) for row, own in pairs]


@pytest.mark.parametrize(("power", "threshold"), [(1.0, 0.03), (4.0, 0.03), (0.5, 0.0), (2.0, 0.3)])
def test_reference(rng, power, threshold):
    case = made(rng)
    detector, batch = fitted(case, power=power, threshold=threshold)
    want = expected(case, power, threshold)
    np.testing.assert_allclose(detector.score(batch), want, rtol=1e-5, atol=1e-7)


def test_blocks_do_not_matter(rng, monkeypatch):
    detector, batch = fitted(made(rng))
    whole = detector.score(batch)
    monkeypatch.setattr(pairs, "BANK_ROWS", 7)
    monkeypatch.setattr(pairs, "PART_ROWS", 4)
    monkeypatch.setattr(pairs, "QUERY_ROWS", 2)
    again = batch.slice(0, len(batch))
    torch.testing.assert_close(detector.score(again), whole)


def test_a_share_of_the_rows(rng):
    case = made(rng)
    detector, batch = fitted(case, fraction=0.25)
    want = expected(case, rows=slice(3, None, 4))
    np.testing.assert_allclose(detector.score(batch), want, rtol=1e-5)


def test_zero_features_have_no_relation(rng):
    case = made(rng, dim=512)
    case["rows"][0], case["bank"][:3] = 0, 0
    detector, batch = fitted(case)
    scores = detector.score(batch)
    assert scores[0] == 0
    assert torch.isfinite(scores).all()


def test_no_rows_no_scores(rng):
    detector, batch = fitted(made(rng))
    assert detector.score(batch.slice(0, 0)).shape == (0,)


def test_ranges():
    for power in (0.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"methods.relation.power is "):
            Config(power=power)
    for threshold in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"methods.relation.threshold is "):
            Config(threshold=threshold)
    with pytest.raises(ConfigError, match=r"methods.relation.fraction is 0.0"):
        Config(fraction=0.0)
