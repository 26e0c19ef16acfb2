import pytest

from ltood.core.errors import UnknownNameError
from ltood.core.registry import load
from ltood.core.settings import parse
from ltood.methods._published import PUBLISHED, published_settings


@pytest.mark.parametrize(
    ("checkpoint", "method"), [(name, method) for name in PUBLISHED for method in PUBLISHED[name]]
)
def test_every_preset_is_accepted_by_its_method(checkpoint, method):
    config = load("methods", method).Config
    parsed = parse(published_settings(checkpoint, method), config, f"methods.{method}")
    for key, number in PUBLISHED[checkpoint][method].items():
        assert getattr(parsed, key) == number


def test_methods_without_published_settings_keep_their_defaults():
    assert published_settings("cifar10-densenet", "knn") == {}


def test_a_preset_is_not_changed_by_its_user():
    published_settings("cifar10-densenet", "himplos")["clip"] = 7
    assert PUBLISHED["cifar10-densenet"]["himplos"]["clip"] == 1.6


def test_unknown_checkpoints_are_named():
    with pytest.raises(UnknownNameError, match="Did you mean cifar10-densenet"):
        published_settings("cifar10-densnet", "himplos")
