"""The published evaluation codes' own results, each in its own convention."""

import numpy as np
import pytest
from conftest import load_golden

from ltood.core.prior import ClassPrior
from ltood.metrics._ranking import rank
from ltood.metrics.accuracy import accuracy, by_group, per_class
from ltood.metrics.auroc import auroc
from ltood.metrics.average_precision import average_precision
from ltood.metrics.fpr_at_tpr import fpr_at_tpr, operating_point

EXACT = {"rtol": 0, "atol": 1e-12}
HIMPLOS = ["himplos", "msp", "energy", "react", "dice", "line_pw10_pa10", "bats", "gradnorm"]
IMOOD = ["msp", "energy", "bkg_c", "bin_disc", "mc_disc", "rp_msp", "gradnorm", "rp_gradnorm"]
IMOOD += ["rw_energy", "maha", "ada_bin_disc", "ada_msp", "ada_energy", "ada_maha", "ada_gradnorm"]


@pytest.fixture(scope="module")
def golden():
    return load_golden("metrics")


def measured(id_scores, ood_scores, positive, rule="nearest_exact"):
    return [
        auroc(id_scores, ood_scores),
        average_precision(id_scores, ood_scores, positive="id"),
        average_precision(id_scores, ood_scores, positive="ood"),
        fpr_at_tpr(id_scores, ood_scores, positive=positive, rule=rule),
    ]


@pytest.mark.parametrize("name", ["fc", "nofc", "msp", "ties"])
def test_patt(golden, name):
    """Higher is more OOD, OOD is positive, semantically-ID rows count as ID."""
    scores, labels = golden[f"patt_{name}_ood_scores"], golden[f"patt_{name}_sc_labels"]
    assert 0 < (labels >= 0).sum() < len(labels)
    id_scores = np.concatenate([golden[f"patt_{name}_in_scores"], scores[labels >= 0]])
    ood_scores = scores[labels < 0]
    expected = golden[f"patt_{name}_expected"]
    np.testing.assert_allclose(measured(id_scores, ood_scores, "ood"), expected, **EXACT)
    rates = [
        fpr_at_tpr(id_scores, ood_scores, tpr, positive="ood") for tpr in (0.98, 0.95, 0.9, 0.8)
    ]
    np.testing.assert_allclose(rates, golden[f"patt_{name}_fpr_at"], **EXACT)


@pytest.mark.parametrize("rule", ["nearest_exact", "nearest"])
@pytest.mark.parametrize("name", [*HIMPLOS, "mahalanobis_raw", "small"])
def test_himplos(golden, name, rule):
    """Higher is more ID there, so the sign turns; ID is positive."""
    id_scores, ood_scores = -golden[f"himplos_{name}_id"], -golden[f"himplos_{name}_ood"]
    expected = golden[f"himplos_{name}_expected"]
    np.testing.assert_allclose(measured(id_scores, ood_scores, "id", rule), expected, **EXACT)


def test_himplos_where_rounding_decides(golden):
    """Recalls 0.9 and 1.0 are equally near to 0.95; float64 finds 0.9 nearer by 1e-16."""
    id_scores, ood_scores = -golden["himplos_ties_id"], -golden["himplos_ties_ood"]
    expected = golden["himplos_ties_expected"]
    found = measured(id_scores, ood_scores, "id", "nearest")
    np.testing.assert_allclose(found, expected, **EXACT)
    exact = measured(id_scores, ood_scores, "id")
    np.testing.assert_allclose(exact[:3], expected[:3], **EXACT)
    assert (exact[3], expected[3]) == (24 / 30, pytest.approx(21 / 30))


def imood_metrics(id_scores, ood_scores):
    ranking = rank(id_scores, ood_scores)
    point = operating_point(ranking, positive="ood")
    assert operating_point(ranking, positive="ood", rule="nearest") == point
    return [
        auroc(id_scores, ood_scores),
        average_precision(id_scores, ood_scores, positive="ood"),
        point.fpr,
        point.threshold,
    ]


@pytest.mark.parametrize("name", IMOOD)
def test_imood(golden, name):
    """Higher is more OOD, OOD is positive; the fourth value is the threshold."""
    id_scores, ood_scores = golden[f"imood_{name}_id"], golden[f"imood_{name}_ood"]
    expected = golden[f"imood_{name}_plain"]
    np.testing.assert_allclose(imood_metrics(id_scores, ood_scores), expected, **EXACT)
    moved = golden["imood_sc_labels"] >= 0
    id_scores = np.concatenate([id_scores, ood_scores[moved]])
    expected = golden[f"imood_{name}_moved"]
    np.testing.assert_allclose(imood_metrics(id_scores, ood_scores[~moved]), expected, **EXACT)


@pytest.mark.parametrize("name", ["msp", "ada_msp"])
def test_imood_with_many_ties(golden, name):
    id_scores, ood_scores = golden[f"imood_{name}_tied_id"], golden[f"imood_{name}_tied_ood"]
    expected = golden[f"imood_{name}_tied"]
    np.testing.assert_allclose(imood_metrics(id_scores, ood_scores), expected, **EXACT)


@pytest.mark.parametrize("name", ["c10", "c100", "c1000"])
def test_group_accuracies_of_patt(golden, name):
    prior = ClassPrior(golden[f"shot_{name}_counts"])
    predictions, labels = golden[f"shot_{name}_preds"], golden[f"shot_{name}_labels"]
    found = [*by_group(predictions, labels, prior).values(), accuracy(predictions, labels)]
    np.testing.assert_allclose(found, golden[f"shot_{name}_many_med_few_overall"], **EXACT)
    shares = per_class(predictions, labels, prior.num_classes)
    np.testing.assert_allclose(shares, golden[f"shot_{name}_per_class"], **EXACT)


def test_group_accuracies_of_imood(golden):
    prior = ClassPrior(golden["acc_class_counts"])
    predictions, labels = golden["acc_id_pred"], golden["acc_id_labels"]
    groups = by_group(predictions, labels, prior)
    np.testing.assert_allclose(list(groups.values()), golden["acc_many_med_low"], **EXACT)
    np.testing.assert_allclose(accuracy(predictions, labels), golden["acc_overall"], **EXACT)
    shares = per_class(predictions, labels, prior.num_classes)
    np.testing.assert_allclose(shares, golden["acc_per_class"], **EXACT)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("cifar10_001", (3, 4, 3)),
        ("cifar10_002", (3, 4, 3)),
        ("cifar100_001", (34, 34, 32)),
        ("cifar100_002", (34, 34, 32)),
    ],
)
def test_group_sizes_on_the_published_counts(golden, name, sizes):
    groups = ClassPrior(golden[f"lt_counts_{name}"]).groups().tolist()
    assert tuple(groups.count(group) for group in ("many", "medium", "few")) == sizes
