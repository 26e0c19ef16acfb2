import math

import numpy as np
import pytest

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.recipes._settings import (
    check_aux_per_image,
    check_contrast,
    check_weight,
    tail_classes,
)


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_weights_are_finite_and_not_negative(value):
    with pytest.raises(ConfigError, match=r"^a\.b is .*; a negative weight would hurt, .*\(us\)"):
        check_weight(value, "a.b", "hurt", "us")
    check_weight(0.0, "a.b", "hurt", "us")


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_outliers_per_image_are_finite_and_above_0(value):
    with pytest.raises(ConfigError, match=r"^a\.b is .*; it is the number of outliers .*\(us\)"):
        check_aux_per_image(value, "a.b", "us")
    check_aux_per_image(0.01, "a.b", "us")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0.0, 0.4, 8), r"^a\.temperature is 0\.0; it divides the cosines"),
        ((math.inf, 0.4, 8), r"^a\.temperature is inf; "),
        ((0.1, 0.0, 8), r"^a\.tail_share is 0\.0; it is a share"),
        ((0.1, 1.01, 8), r"^a\.tail_share is 1\.01; "),
        ((0.1, 0.4, 0), r"^a\.dim is 0; it is the width"),
    ],
)
def test_contrast_settings_are_named(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_contrast(*values, "a")
    check_contrast(0.1, 1.0, 1, "a")


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
