import pytest

from ltood.core.errors import ConfigError
from ltood.core.settings import parse
from ltood.negatives.settings import RECIPES, NegativesConfig


def test_null_takes_what_the_recipe_publishes():
    for name, published in RECIPES.items():
        assert NegativesConfig().rules(name) == published
    neglabel, csp = RECIPES["neglabel"], RECIPES["csp"]
    assert (neglabel.quantile, neglabel.share, neglabel.exclude_above) == (0.95, 0.15, None)
    assert (csp.quantile, csp.share, csp.exclude_above) == (0.95, 0.15, 0.95)
    assert (len(csp.noun_templates), len(csp.adjective_templates)) == (8, 4)
    assert RECIPES["negrefine-list"].share == 1
    assert RECIPES["interneg"].labels == 2000


def test_settings_take_the_place_of_the_recipe():
    rules = NegativesConfig(noun_templates=("a {}",), quantile=1, exclude_above=0.5).rules("csp")
    assert rules.noun_templates == ("a {}",)
    assert (rules.quantile, rules.share, rules.exclude_above) == (1, 0.15, 0.5)
    assert rules.class_templates == RECIPES["csp"].class_templates
    # A share replaces the number of a recipe, and a number its share.
    assert NegativesConfig(share=0.5).rules("interneg").labels is None
    assert NegativesConfig(labels=7).rules("csp").labels == 7


@pytest.mark.parametrize(
    "section",
    [
        {"noun_templates": []},
        {"noun_templates": ["a photo"]},
        {"adjective_templates": ["{} {}"]},
        {"class_templates": "the {}"},
        {"quantile": 0},
        {"quantile": 1.1},
        {"share": 0},
        {"labels": 0},
        {"exclude_above": 2},
        {"labels": 5, "share": 0.5},
    ],
)
def test_what_makes_no_sense_is_refused(section):
    with pytest.raises(ConfigError, match=rf"negatives\.{next(iter(section))} "):
        parse(section, NegativesConfig, "negatives")


def test_a_choice_by_images_takes_no_quantile():
    with pytest.raises(ConfigError, match=r"negatives\.quantile .*interneg"):
        NegativesConfig(quantile=0.5).rules("interneg")
