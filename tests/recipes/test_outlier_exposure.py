import math

import pytest
from outlier_samples import GoldenStep, train_and_extract

from ltood.core.errors import ConfigError
from ltood.core.settings import parse
from ltood.recipes.outlier_exposure import Config, Entry


def test_terms_and_gradients_are_the_published_ones():
    step = GoldenStep()
    recipe = Entry(Config(tau=1.0), step.prior)
    terms = step.terms(recipe)
    expected = step.arrays["f64_train_oe_none_losses"]
    assert terms["cross_entropy"].item() == pytest.approx(expected[0], rel=1e-8)
    assert terms["outlier_exposure"].item() == pytest.approx(0.5 * expected[1], rel=1e-8)
    assert sum(terms.values()).item() == pytest.approx(expected[3], rel=1e-8)
    step.assert_gradients(terms, "oe_none")


def test_a_tiny_net_grows_less_sure_of_outliers(tmp_path):
    history, store = train_and_extract(tmp_path, "outlier_exposure", epochs=6)
    terms = [float(row["outlier_exposure"]) for row in history]
    assert terms[-1] < terms[0]
    assert terms[-1] >= 0.5 * math.log(3)
    assert store.split("test").num_outputs == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"outlier_weight": -1.0}, r"exposure\.outlier_weight is -1\.0"),
        ({"outlier_weight": math.nan}, r"exposure\.outlier_weight is nan"),
        ({"aux_per_image": 0.0}, r"exposure\.aux_per_image is 0\.0"),
        ({"aux_per_image": math.inf}, r"exposure\.aux_per_image is inf"),
        ({"tau": -1.0}, r"recipes\.outlier_exposure\.tau is -1\.0"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "recipes.outlier_exposure")
