import numpy as np
import pytest

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.recipes import FrozenRecipe
from ltood.recipes.pretrained import Config, Entry


def test_it_trains_nothing_and_asks_for_nothing():
    recipe = Entry(Config(), ClassPrior(np.array([3, 0])))
    assert isinstance(recipe, FrozenRecipe)
    assert not recipe.state_dict()
    assert recipe.num_aux_outputs == 0


def test_a_negative_number_of_nodes_is_refused():
    with pytest.raises(ConfigError, match="num_aux_outputs is -1"):
        Config(num_aux_outputs=-1)
    assert Entry(Config(num_aux_outputs=2), ClassPrior(np.array([3, 2]))).num_aux_outputs == 2


def test_classes_of_outliers_are_auxiliary_outputs():
    with pytest.raises(ConfigError, match=r"outlier_classes is 2, but num_aux_outputs is 1"):
        Config(num_aux_outputs=1, outlier_classes=2)
    recipe = Entry(Config(num_aux_outputs=2, outlier_classes=1), ClassPrior(np.array([3, 2])))
    assert (recipe.num_aux_outputs, recipe.num_outlier_classes) == (2, 1)
