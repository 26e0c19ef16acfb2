"""The table of metrics that judge classifier and detector together."""

import numpy as np
import pytest

from ltood.core.errors import DataError
from ltood.metrics import JUDGED, judge, measure_judged
from ltood.metrics.auroc import auroc


def test_right_and_wrong_rows_are_ranked_apart():
    rng = np.random.default_rng(0)
    ids, right = rng.normal(size=80).astype(np.float32), rng.random(80) < 0.7
    oods = rng.normal(1, 1, 50).astype(np.float32)
    found = measure_judged(judge(ids, right, oods))
    assert list(found) == list(JUDGED)
    assert found["auroc_right"] == auroc(ids[right], oods)
    assert found["auroc_wrong"] == auroc(ids[~right], oods)
    assert measure_judged(judge(ids, np.ones(80), oods))["auroc_wrong"] is None


def test_relabelled_rows_take_no_part_in_risks():
    ids, right, oods = np.float32([0, 2]), np.array([True, False]), np.float32([1, 3])
    judged = judge(ids, right, oods)
    shown = judge(np.append(ids, np.float32(-5)), [*right, True], oods)
    without = type(judged)(shown.ranking, shown.right.copy(), shown.wrong)
    without.right[-1] = 0
    for key in ("aurc", "augrc", "auroc_wrong"):
        assert measure_judged(without)[key] == measure_judged(judged)[key]


def test_one_judgement_for_each_row():
    with pytest.raises(DataError, match="judgements"):
        judge([1.0, 2.0], [True], [3.0])
