import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.errors import ConfigError, DataError
from ltood.images.longtail import long_tail_counts, long_tail_rows

CIFAR10 = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
CIFAR10_002 = [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]
#: Every tenth class of CIFAR-100-LT, ratio 0.01, from the tables of the official code.
CIFAR100_TENTHS = [500, 314, 197, 123, 77, 48, 30, 19, 12, 7]


def test_the_official_tables_come_out_exactly():
    assert long_tail_counts(5000, 10, ratio=0.01).tolist() == CIFAR10
    assert long_tail_counts(5000, 10, ratio=0.02).tolist() == CIFAR10_002
    hundred = long_tail_counts(500, 100, ratio=0.01)
    assert hundred[::10].tolist() == CIFAR100_TENTHS
    assert hundred.sum() == 10847
    assert long_tail_counts(500, 100, ratio=0.02).sum() == 12608
    assert sum(CIFAR10_002) == 13996


def test_the_step_profile_cuts_the_second_half():
    assert long_tail_counts(100, 4, ratio=0.1, kind="step").tolist() == [100, 100, 10, 10]
    assert long_tail_counts(100, 3, ratio=0.1, kind="step").tolist() == [100, 100, 10]


def test_one_class_keeps_everything():
    assert long_tail_counts(7, 1, ratio=0.5).tolist() == [7]
    assert long_tail_counts(7, 1, ratio=0.5, kind="step").tolist() == [7]


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5, float("nan")])
def test_a_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(ConfigError, match="set it above 0 and at most 1"):
        long_tail_counts(10, 3, ratio=ratio)


@pytest.mark.parametrize(("num_max", "num_classes"), [(0, 3), (5, 0)])
def test_empty_requests_are_refused(num_max, num_classes):
    with pytest.raises(ConfigError, match="both must be 1 or more"):
        long_tail_counts(num_max, num_classes, ratio=0.1)


@pytest.mark.parametrize(("kind", "label"), [("exponential", 9), ("step", 5)])
def test_a_ratio_that_empties_a_class_is_refused(kind, label):
    with pytest.raises(ConfigError, match=rf"leaves class {label} without images .* 0.01 or more"):
        long_tail_counts(100, 10, ratio=0.009, kind=kind)


@given(
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=60),
    seed=st.integers(0, 2**16),
)
def test_the_first_rows_of_each_class_are_kept_in_file_order(labels, seed):
    column = np.array(labels, dtype=np.int64)
    present = [labels.count(label) for label in range(4)]
    counts = [int(count) for count in np.random.default_rng(seed).integers(0, np.add(present, 1))]
    rows = long_tail_rows(column, counts)
    seen = dict.fromkeys(range(-1, 4), 0)
    expected = []
    for row, label in enumerate(labels):
        if label >= 0 and seen[label] < counts[label]:
            expected.append(row)
        seen[label] += 1
    assert rows.tolist() == expected


def test_a_class_with_too_few_rows_is_refused():
    with pytest.raises(DataError, match=r"class 1 has 1 images .* 2"):
        long_tail_rows(np.array([0, 1, 0]), [2, 2])
