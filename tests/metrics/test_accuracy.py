import numpy as np
import pytest

from ltood.core.errors import DataError
from ltood.core.prior import ClassPrior
from ltood.metrics.accuracy import accuracy, by_group, per_class

PRIOR = ClassPrior(np.array([500, 90, 40, 3]))
LABELS = np.array([0, 0, 0, 0, 1, 1, 3])
PREDICTIONS = np.array([0, 0, 0, 1, 1, 0, 2])


def test_counted_by_hand():
    assert accuracy(PREDICTIONS, LABELS) == 4 / 7
    shares = per_class(PREDICTIONS, LABELS, 4)
    np.testing.assert_array_equal(shares, [3 / 4, 1 / 2, np.nan, 0])


def test_a_group_is_the_mean_of_its_classes_with_rows():
    assert PRIOR.groups().tolist() == ["many", "medium", "medium", "few"]
    assert by_group(PREDICTIONS, LABELS, PRIOR) == {"many": 3 / 4, "medium": 1 / 2, "few": 0.0}


def test_a_group_without_classes_or_rows_is_none():
    found = by_group(LABELS, LABELS, ClassPrior.uniform(4))
    assert found == {"many": None, "medium": 1.0, "few": None}
    assert by_group(LABELS[:4], LABELS[:4], PRIOR)["few"] is None


@pytest.mark.parametrize(
    ("predictions", "labels", "sentence"),
    [
        ([0, 1], [0], r"predictions have shape \(2,\) and labels \(1,\)"),
        ([[0]], [[0]], r"both are one list \[N\]"),
        ([], [], "there are no labels"),
        (
            [0, 0, 0],
            [0, -1, 9],
            "2 of 3 labels .*row 1, value -1.*0 to 3",
        ),
    ],
)
def test_rows_that_have_no_accuracy(predictions, labels, sentence):
    with pytest.raises(DataError, match=sentence):
        per_class(np.array(predictions, dtype=int), np.array(labels, dtype=int), 4)


def test_overall_accuracy_checks_its_rows_too():
    with pytest.raises(DataError, match="there are no labels"):
        accuracy(LABELS[:0], LABELS[:0])
