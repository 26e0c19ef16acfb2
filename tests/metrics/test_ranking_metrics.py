"""What holds for every metric that ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.core.errors import ConfigError, DataError
from ltood.metrics.aupr import aupr
from ltood.metrics.auroc import auroc
from ltood.metrics.average_precision import average_precision
from ltood.metrics.fpr_at_tpr import fpr_at_tpr
from tests.metrics.ranking_samples import ID, OOD, continuous, tied


@settings(max_examples=60, deadline=None)
@given(tied, tied)
def test_negating_and_swapping_sides_swaps_the_conventions(id_scores, ood_scores):
    ids, oods = np.array(id_scores), np.array(ood_scores)
    assert auroc(-oods, -ids) == auroc(ids, oods)
    for metric in (fpr_at_tpr, average_precision, aupr):
        assert metric(-oods, -ids, positive="id") == metric(ids, oods, positive="ood")


@settings(max_examples=60, deadline=None)
@given(tied, tied, st.randoms(use_true_random=False))
def test_order_of_rows_and_scale_of_scores_do_not_matter(id_scores, ood_scores, random):
    shuffled = random.sample(id_scores, len(id_scores))
    scaled = np.exp(np.array(shuffled)), np.exp(np.array(ood_scores))
    assert auroc(*scaled) == auroc(id_scores, ood_scores)
    for metric in (fpr_at_tpr, average_precision, aupr):
        for positive in ("id", "ood"):
            found = metric(*scaled, positive=positive)
            assert found == metric(id_scores, ood_scores, positive=positive)


def test_perfect_separation():
    ids, oods = np.zeros(5), np.ones(7)
    assert auroc(ids, oods) == 1
    assert fpr_at_tpr(ids, oods, positive="ood") == fpr_at_tpr(ids, oods, positive="id") == 0
    assert aupr(ids, oods, positive="id") == average_precision(ids, oods, positive="ood") == 1
    assert auroc(oods, ids) == 0


def test_large_scores_do_not_tie():
    """Around 300, where a sigmoid would make all scores equal."""
    ids, oods = continuous(7, 500, 500)
    assert auroc(ids.astype(np.float64) + 300, oods.astype(np.float64) + 300) == auroc(ids, oods)


@pytest.mark.parametrize("metric", [fpr_at_tpr, average_precision, aupr])
def test_a_side_must_be_named(metric):
    with pytest.raises(TypeError, match="positive"):
        metric(ID, OOD)
    with pytest.raises(ConfigError, match="positive is 'in'"):
        metric(ID, OOD, positive="in")


@pytest.mark.parametrize("metric", [auroc, fpr_at_tpr, average_precision, aupr])
def test_nan_is_refused_with_the_number_of_rows(metric):
    options = {} if metric is auroc else {"positive": "ood"}
    with pytest.raises(DataError, match="id_scores has 1 of 2 rows that are NaN"):
        metric([1.0, float("nan")], OOD, **options)
