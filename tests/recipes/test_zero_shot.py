import numpy as np
import pytest

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.recipes.zero_shot import Config, Entry

PRIOR = ClassPrior(np.array([3, 2]))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a photo of a {}", ("a photo of a {}",)),
        (("a {}", "the {}"), ("a {}", "the {}")),
        ("imagenet", ("imagenet",)),
    ],
)
def test_one_template_or_several(given, expected):
    recipe = Entry(Config(templates=given, class_names="imagenet"), PRIOR)
    assert recipe.templates == expected
    assert recipe.class_names == "imagenet"


@pytest.mark.parametrize("given", ["a photo", "{} and {}", ("a {}", "b"), ()])
def test_a_template_without_one_place_for_the_name_is_refused(given):
    with pytest.raises(ConfigError, match=r"recipes\.zero_shot\.templates is "):
        Config(templates=given)
