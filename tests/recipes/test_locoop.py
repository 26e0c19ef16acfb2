import warnings

import numpy as np
import pytest
import torch

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.core.registry import flag
from ltood.recipes import coop
from ltood.recipes.locoop import Config, Entry
from tests.conftest import load_golden
from tests.reference import local_entropy as reference


def prior(num_classes):
    return ClassPrior(np.arange(1, num_classes + 1))


@pytest.mark.parametrize("case", ["basic", "sharp", "none_selected", "all_selected", "k1"])
def test_its_loss_is_the_published_one(case):
    g = {k.removeprefix(f"loss/{case}/"): v for k, v in load_golden("local_entropy").items()}
    config = Config(entropy_weight=float(g["lambda"]), topk=int(g["topk"]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="recipes.locoop.topk is 8 of 8 classes")
        recipe = Entry(config, prior(g["logits_global"].shape[1]))
    tensors = [torch.tensor(g[key]) for key in ("logits_global", "logits_local", "labels")]
    terms = recipe.prompt_losses(*tensors)
    assert sum(terms.values()).item() == pytest.approx(float(g["loss"]), rel=1e-5)
    assert recipe.needs_local


def test_its_terms_equal_one_patch_at_a_time(rng):
    recipe = Entry(Config(entropy_weight=0.7, topk=2), prior(5))
    logits, local = rng.normal(size=(4, 5)), 3 * rng.normal(size=(4, 6, 5))
    labels = np.array([0, 4, 2, 2])
    terms = recipe.prompt_losses(*(torch.tensor(part) for part in (logits, local, labels)))
    entropy, _ = reference.local_entropy(local.tolist(), labels.tolist(), 2)
    assert terms["local_entropy"].item() == pytest.approx(0.7 * entropy, rel=1e-12)


def test_no_weight_is_coop(rng):
    logits, labels = torch.tensor(rng.normal(size=(4, 3))), torch.tensor([0, 1, 2, 2])
    recipe = Entry(Config(entropy_weight=0.0), prior(3))
    assert not recipe.needs_local
    terms = recipe.prompt_losses(logits, None, labels)
    other = coop.Entry(coop.Config(), prior(3)).prompt_losses(logits, None, labels)
    assert terms["cross_entropy"] == other["cross_entropy"]
    assert terms["local_entropy"] == 0


@pytest.mark.parametrize(("num_classes", "expected"), [(1000, 200), (100, 20), (12, 2), (2, 1)])
def test_auto_is_a_fifth_of_the_classes(num_classes, expected):
    recipe = Entry(Config(), prior(num_classes))
    assert recipe.derived == {"topk": expected}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"entropy_weight": -1.0}, r"recipes\.locoop\.entropy_weight is -1\.0"),
        ({"topk": 0}, r"recipes\.locoop\.topk is 0"),
        ({"n_ctx": 0}, r"recipes\.locoop\.n_ctx is 0"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Config(**settings)


def test_it_says_that_it_adapts_the_head():
    assert flag("recipes", "locoop", "ADAPTS_HEAD")


def test_a_rank_that_no_patch_reaches_is_warned_of():
    with pytest.warns(UserWarning, match=r"recipes\.locoop\.topk is 3 of 3"):
        Entry(Config(topk=3), prior(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Entry(Config(topk=3, entropy_weight=0.0), prior(3))
