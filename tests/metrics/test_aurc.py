"""AURC against rows accepted one by one."""

import numpy as np
import pytest
from hypothesis import given, settings

from ltood.core.errors import DataError
from ltood.metrics.aurc import aurc
from tests.metrics.judged_samples import outliers, risks_by_rows, rows_of, scores, with_outliers


def area(points):
    """Trapezoids between the points, flat before the first."""
    total, coverage, height = 0.0, 0.0, points[0][1]
    for at, risk, _ in points:
        total += (at - coverage) * (height + risk) / 2
        coverage, height = at, risk
    return total


@given(scores, outliers)
@settings(deadline=None, max_examples=60)
def test_it_is_the_area_below_the_risk_of_accepted_rows(pairs, oods):
    ids, right = rows_of(pairs)
    assert aurc(ids, right) == pytest.approx(area(risks_by_rows(ids, ~right)), abs=1e-12)
    points = risks_by_rows(*with_outliers(ids, right, oods))
    assert aurc(ids, right, np.float32(oods)) == pytest.approx(area(points), abs=1e-12)


def test_aurc_counted_by_hand():
    # Risks 0, 1/2 and 1/3 at the coverages 1/3, 2/3 and 1.
    wanted = (0 + (0 + 1 / 2) / 2 + (1 / 2 + 1 / 3) / 2) / 3
    assert aurc([1.0, 2.0, 3.0], [True, False, True]) == pytest.approx(wanted)


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="at least one row"):
        aurc([], [])
