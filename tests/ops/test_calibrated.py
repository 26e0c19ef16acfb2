import torch

from ltood.calibrators.logit_adjustment import LogitAdjustment
from ltood.calibrators.patt import PATT
from ltood.core.batches import FeatureBatch
from ltood.core.inputs import FitInputs
from ltood.ops.calibrated import calibrated, calibrated_inputs


def test_inputs_are_seen_as_batches_are(toy):
    for calibrator in (PATT(), LogitAdjustment()):
        calibrator.fit(toy.inputs)
        seen = calibrated_inputs(toy.inputs, calibrator)
        assert seen.prior is toy.inputs.prior
        expected_bias = calibrator.adjust_logits(toy.head.bias[None])[0]
        torch.testing.assert_close(seen.head.bias, expected_bias)
        for own, raw in ((seen.train, toy.inputs.train), (seen.val, toy.inputs.val)):
            (rows,), (before,) = own.batches(), raw.batches()
            expected = calibrated(before, calibrator, seen.head)
            assert torch.equal(rows.features, expected.features)
            torch.testing.assert_close(rows.logits, seen.head.logits(rows.features))
            assert torch.equal(rows.labels, before.labels)
            assert (len(own), own.dim, own.num_classes) == (len(raw), raw.dim, raw.num_classes)
            (few,) = own.batches(arrays=("labels",))
            assert set(few.arrays) >= {"labels"}


def test_what_is_absent_stays_absent():
    head_free = FitInputs.of(torch.randn(6, 4), [0, 1, 0, 1, 1, 0])
    calibrator = LogitAdjustment().fit(head_free)
    seen = calibrated_inputs(head_free, calibrator)
    assert seen.head is None
    assert seen.aux is None
    assert seen.val is None
    (rows,) = seen.train.batches()
    assert isinstance(rows, FeatureBatch)
    assert "logits" not in rows.arrays
