import numpy as np
import pytest

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.recipes._tail import tail_classes


def test_the_tail_has_the_official_size_and_the_rarest_classes():
    for num in (2, 7, 10, 100, 1000):
        prior = ClassPrior(np.arange(num, 0, -1))
        expected = [label >= round(0.6 * num) for label in range(num)]
        for index_order in (False, True):
            assert tail_classes(prior, 0.4, "a", index_order=index_order).tolist() == expected
    scrambled = ClassPrior(np.array([3, 50, 9, 20, 4]))
    assert tail_classes(scrambled, 0.4, "a", index_order=False).nonzero().flatten().tolist() == [
        0,
        4,
    ]
    assert tail_classes(scrambled, 0.4, "a", index_order=True)[3:].all()


def test_a_tail_without_classes_is_refused():
    with pytest.raises(ConfigError, match=r"a\.tail_share is 0\.1, which leaves none of 3 classes"):
        tail_classes(ClassPrior(np.array([9, 5, 2])), 0.1, "a", index_order=False)
