import numpy as np
import pytest

from ltood.core.errors import DataError
from ltood.core.prior import ClassPrior

CIFAR10_LT = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_probabilities_sum_to_one():
    prior = ClassPrior(np.array(CIFAR10_LT))
    assert prior.probabilities().sum() == pytest.approx(1.0, abs=1e-15)
    np.testing.assert_allclose(np.exp(prior.log()), prior.probabilities())
    assert ClassPrior.uniform(4).probabilities().tolist() == [0.25] * 4


def test_groups_of_cifar10_lt_are_the_official_ones():
    groups = ClassPrior(np.array(CIFAR10_LT)).groups().tolist()
    assert groups == ["many"] * 3 + ["medium"] * 4 + ["few"] * 3


def test_groups_do_not_depend_on_class_order():
    order = np.random.default_rng(0).permutation(10)
    groups = ClassPrior(np.array(CIFAR10_LT)).groups()
    assert (ClassPrior(np.array(CIFAR10_LT)[order]).groups() == groups[order]).all()


def test_above_100_classes_the_counts_decide():
    counts = np.full(200, 50)
    counts[:3] = [101, 100, 1000]
    counts[3:6] = [19, 20, 1]
    groups = ClassPrior(counts).groups()
    assert groups[:6].tolist() == ["many", "medium", "many", "few", "medium", "few"]


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ([[1, 2]], "must be one list"),
        ([], "must be one list"),
        ([3, -1], "class 1 has the count -1"),
        ([0, 0], "every class count is 0"),
    ],
)
def test_bad_counts(counts, sentence):
    with pytest.raises(DataError, match=sentence):
        ClassPrior(np.array(counts, dtype=np.int64))


def test_an_empty_class_has_no_prior_to_divide_by():
    with pytest.raises(DataError, match=r"classes \[1\] have no training images"):
        ClassPrior(np.array([3, 0])).probabilities()


def test_an_empty_class_is_named():
    with pytest.raises(DataError, match=r"classes \[eel\] "):
        ClassPrior(np.array([3, 0]), ("barn", "eel")).probabilities()
    many = ClassPrior(np.array([1, *[0] * 12]), [f"c{row}" for row in range(13)])
    with pytest.raises(DataError, match=r"c10 and 2 more\]"):
        many.probabilities()


def test_counts_are_frozen():
    counts = np.array([3, 4])
    prior = ClassPrior(counts)
    counts[0] = 100
    assert prior.counts.tolist() == [3, 4]
    with pytest.raises(ValueError, match="read-only"):
        prior.counts[0] = 1
