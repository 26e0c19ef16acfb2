"""AUGRC against rows accepted one by one, and against its closed form."""

import numpy as np
import pytest
from hypothesis import given, settings

from ltood.metrics.augrc import augrc
from ltood.metrics.auroc import auroc
from tests.metrics.judged_samples import outliers, risks_by_rows, rows_of, scores, with_outliers


def area(points):
    """Trapezoids from nothing accepted on."""
    total, coverage, height = 0.0, 0.0, 0.0
    for at, _, risk in points:
        total += (at - coverage) * (height + risk) / 2
        coverage, height = at, risk
    return total


@given(scores, outliers)
@settings(deadline=None, max_examples=60)
def test_it_is_the_area_below_the_generalised_risk(pairs, oods):
    ids, right = rows_of(pairs)
    assert augrc(ids, right) == pytest.approx(area(risks_by_rows(ids, ~right)), abs=1e-12)
    points = risks_by_rows(*with_outliers(ids, right, oods))
    assert augrc(ids, right, np.float32(oods)) == pytest.approx(area(points), abs=1e-12)


@given(scores)
@settings(deadline=None, max_examples=60)
def test_augrc_follows_from_accuracy_and_auroc(pairs):
    """Traub et al., 2024: what they derive for distinct scores holds with ties as one half."""
    ids, right = rows_of(pairs)
    share = right.mean()
    ranked = auroc(ids[right], ids[~right]) if 0 < share < 1 else 0.5
    wanted = (1 - ranked) * share * (1 - share) + (1 - share) ** 2 / 2
    assert augrc(ids, right) == pytest.approx(wanted, abs=1e-12)
