import pytest
import torch

from ltood.ops.logits import energy, max_softmax, score_logits

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])


def test_equal_logits_have_known_scores():
    row = LOGITS[1:]
    assert energy(row).item() == pytest.approx(-0.5 - torch.tensor(3.0).log().item())
    assert max_softmax(row).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("scorer", ["energy", "msp", "maxlogit"])
def test_confident_rows_score_lower(scorer):
    confident, flat = score_logits(LOGITS, scorer).tolist()
    assert confident < flat


def test_temperature_reaches_energy_and_msp_only():
    for scorer in ("energy", "msp"):
        assert not torch.equal(score_logits(LOGITS, scorer, 2.0), score_logits(LOGITS, scorer))
    assert torch.equal(score_logits(LOGITS, "maxlogit", 2.0), score_logits(LOGITS, "maxlogit"))
