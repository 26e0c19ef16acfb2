import math

import numpy as np
import pytest
import torch
from outlier_samples import GoldenStep, train_and_extract

from ltood.core.building import EntrySpec, build_method
from ltood.core.errors import ConfigError
from ltood.core.settings import parse
from ltood.recipes.bin_disc import Config, Entry
from ltood.scoring.session import ScoringSession


def test_terms_and_gradients_are_the_published_ones():
    step = GoldenStep(num_aux_outputs=1)
    recipe = Entry(Config(tau=1.0), step.prior)
    assert recipe.num_aux_outputs == 1
    terms = step.terms(recipe)
    expected = step.arrays["f64_train_bin_disc_none_losses"]
    assert terms["cross_entropy"].item() == pytest.approx(expected[0], rel=1e-8)
    assert terms["binary_discrimination"].item() == pytest.approx(0.5 * expected[1], rel=1e-8)
    assert sum(terms.values()).item() == pytest.approx(expected[3], rel=1e-8)
    step.assert_gradients(terms, "bin_disc_none")


def test_the_method_of_its_name_reads_the_trained_node(tmp_path):
    history, store = train_and_extract(tmp_path, "bin_disc", epochs=8)
    terms = [float(row["binary_discrimination"]) for row in history]
    assert terms[-1] < terms[0]
    session = ScoringSession.open(store, "cpu")
    detector = build_method(EntrySpec("bin_disc")).entry

    def scores(split):
        batches = session.source(split).batches(arrays=("aux_outputs",))
        return torch.cat([detector.score(batch) for batch in batches])

    train, aux = scores("train"), scores("aux")
    node = store.split("train").load(["logits"])["logits"][:, 3]
    np.testing.assert_allclose(train, -node, rtol=1e-6)
    assert aux.mean() > train.mean()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"detector_weight": -1.0}, r"bin_disc\.detector_weight is -1\.0"),
        ({"detector_weight": math.inf}, r"bin_disc\.detector_weight is inf"),
        ({"aux_per_image": 0.0}, r"bin_disc\.aux_per_image is 0\.0"),
        ({"tau": -1.0}, r"recipes\.bin_disc\.tau is -1\.0"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "recipes.bin_disc")
