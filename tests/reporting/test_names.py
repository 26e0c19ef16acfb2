"""Names of entries as people say them."""

import pytest

from ltood.core.registry import available
from ltood.reporting.names import joint_title, says_more, title

KINDS = {"methods": "method", "calibrators": "calibrator", "normalisers": "normaliser",
         "recipes": "recipe", "datasets": "dataset"}  # fmt: skip


@pytest.mark.parametrize(("package", "kind"), KINDS.items())
def test_titles_tell_entries_apart(package, kind):
    titles = [title(kind, name) for name in available(package)]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("method", "gl_mcm", "GL-MCM"),
        ("method", "mahalanobis_layers", "mahalanobis_layers"),
        ("method", "of_someone_else", "of_someone_else"),
        ("method", "../escape", "../escape"),
        ("normaliser", "none", "none"),
        ("backbone", "resnet50", "ResNet-50"),
        ("backbone", "densenet_bc100", "DenseNet-BC"),
        ("backbone", "timm_model", "timm_model"),
        ("recipe", "pascl_finetune", "PASCL's second stage"),
    ],
)
def test_a_title_is_what_the_summary_begins_with(kind, name, expected):
    assert title(kind, name) == expected


def test_titles_join_in_the_order_of_work():
    names = {"method": "knn", "normaliser": "imood", "calibrator": "patt"}
    assert joint_title(names) == "PATT + KNN + ImOOD"
    assert joint_title({**names, "calibrator": "none", "normaliser": None}) == "KNN"


def test_only_what_is_not_plain_is_said_twice():
    assert not says_more("GL-MCM", "gl_mcm")
    assert says_more("Class Gaussians", "class_gaussian")
