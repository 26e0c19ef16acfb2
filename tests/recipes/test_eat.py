import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_samples import TinyImages, extract_tiny, make_plan, resumed_to_the_bit, train_tiny
from outlier_samples import GoldenStep, train_and_extract
from rank_samples import run_ranks
from safetensors.torch import load_file

from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.prior import ClassPrior
from ltood.core.settings import parse
from ltood.losses.virtual_labels import virtual_label_loss
from ltood.networks.checkpoint import load_checkpoint, read_head_extras
from ltood.networks.checkpoint_files import WEIGHTS
from ltood.recipes._tail_crops import pasted
from ltood.recipes.eat import Config, Entry
from ltood.scoring.run import score_store
from ltood.store.features import FeatureStore

TRAINING = {"optimiser": "adam", "learning_rate": 1e-3}
SMALL = {"outlier_classes": 2}


class EatStep(GoldenStep):
    """The golden step with two classes of outliers."""

    def __init__(self, **settings):
        super().__init__(2)
        self.backbone.linear_head = self.backbone.head
        self.recipe = Entry(Config(**SMALL, **settings), self.prior)
        self.recipe.attach(self.backbone)
        self.recipe.double()
        self.batch = replace(self.batch, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("experts", [1, 3])
def test_terms_are_those_of_the_paper(experts):
    step = EatStep(experts=experts)
    terms = step.recipe.losses(step.batch)
    batch, recipe = step.batch, step.recipe
    first, second = batch.views
    tail, head = recipe.is_tail[batch.labels], recipe.is_head[batch.labels]
    assert tail.any()
    assert head.any()
    generator = torch.Generator().manual_seed(4)
    mixed = [
        pasted(ground, part, generator)
        for ground, part in (
            (first[head], first[tail]),
            (second[head], second[tail]),
            (batch.aux, first[tail]),
        )
    ]
    labels = torch.cat([batch.labels[tail][rows] for _, rows in mixed])
    images = torch.cat([part for part, _ in mixed]).flatten(1)
    inner, outer = torch.cat([first, second]).flatten(1), batch.aux.flatten(1)
    expected = {"cross_entropy": 0.0, "virtual_labels": 0.0, "tail_crops": 0.0}
    for layer in (step.backbone.head, *recipe.experts.others):
        cross = torch.nn.functional.cross_entropy
        expected["cross_entropy"] += cross(layer(inner), batch.labels.repeat(2)).item()
        expected["virtual_labels"] += 0.05 * virtual_label_loss(layer(outer), 7).item()
        expected["tail_crops"] += 0.05 * cross(layer(images), labels).item()
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-10), name


@pytest.mark.parametrize("label", [0, 6])
def test_a_batch_of_head_or_tail_alone_has_finite_terms(label):
    step = EatStep()
    step.batch = replace(step.batch, labels=torch.full((24,), label))
    terms = step.recipe.losses(step.batch)
    sum(terms.values()).backward()
    assert all(value.isfinite() for value in terms.values())
    assert step.backbone.head.weight.grad.isfinite().all()


def test_groups_go_by_count_or_officially_by_index():
    prior = ClassPrior(np.array([3, 50, 9, 20, 4]))
    ours, theirs = (Entry(Config(official_groups=switch), prior) for switch in (False, True))
    assert ours.is_head.tolist() == [False, True, False, True, False]
    assert ours.is_tail.tolist() == [True, False, False, False, True]
    assert theirs.is_head.tolist() == [True, True, False, False, False]
    assert theirs.is_tail.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(("num_classes", "outliers"), [(3, 3), (10, 3), (11, 30), (100, 30)])
def test_the_number_of_outlier_classes_follows_that_of_the_classes(num_classes, outliers):
    prior = ClassPrior.uniform(num_classes)
    assert Entry(Config(), prior).num_outlier_classes == outliers
    assert Entry(Config(outlier_classes=7), prior).num_aux_outputs == 7


def test_the_finished_head_is_the_mean_of_all():
    step = EatStep(experts=3)
    rows = step.batch.images
    output = step.backbone(rows)
    expected = step.recipe.class_logits(output)
    step.recipe.finish()
    torch.testing.assert_close(step.backbone(rows).logits[:, :7], expected)
    extras = step.recipe.head_extras()
    assert extras["expert_weight"].shape == (3, 9, 64)
    assert extras["expert_bias"].shape == (3, 9)


def test_both_stages_on_a_tiny_set(tmp_path):
    images = TinyImages()
    history, store = train_and_extract(tmp_path, "eat", SMALL, epochs=6, **TRAINING)
    for term in ("cross_entropy", "virtual_labels"):
        assert float(history[-1][term]) < float(history[0][term])
    head = store.head_arrays()
    assert head["outlier_classes"] == 2
    np.testing.assert_allclose(head["expert_weight"].mean(0)[:3], head["weight"], atol=1e-6)
    np.testing.assert_allclose(head["expert_bias"].mean(0)[3:], head["extra_bias"], atol=1e-6)
    found = score_store(store, tmp_path / "scores", EntrySpec("outlier_class", {}))
    known, unknown = (found.split(split).scores for split in ("train", "aux"))
    assert (unknown[:, None] > known).mean() > 0.7
    with pytest.raises(MissingNeedError, match="detector node"):
        score_store(store, tmp_path / "other", EntrySpec("bin_disc", {}))

    plan = make_plan(
        recipe="eat_finetune",
        recipe_settings=SMALL,
        weights=str(tmp_path / "checkpoint"),
        epochs=2,
        **TRAINING,
    )
    train_tiny(tmp_path / "tuned", plan, images)
    before, after = (load_file(tmp_path / name / WEIGHTS) for name in ("checkpoint", "tuned"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}
    extras = read_head_extras(tmp_path / "tuned")
    assert extras["expert_weight"].shape == head["expert_weight"].shape
    assert not np.array_equal(extras["expert_weight"], head["expert_weight"])
    extract_tiny(tmp_path / "tuned", tmp_path / "again", {}, images)
    assert FeatureStore.open(tmp_path / "again").head_arrays()["outlier_classes"] == 2


def test_it_survives_a_stop(tmp_path, monkeypatch):
    plan = make_plan(
        recipe="eat", recipe_settings=SMALL, epochs=2, checkpoint_minutes=0.0, ema=0.5, **TRAINING
    )
    assert resumed_to_the_bit(tmp_path, plan, monkeypatch)
    backbone, _ = load_checkpoint(tmp_path / "stopped")
    extras = read_head_extras(tmp_path / "stopped")
    mean = torch.from_numpy(extras["expert_weight"].mean(0))
    torch.testing.assert_close(backbone.linear_head.weight.detach(), mean)


RANKS = """
import sys
from image_samples import make_plan, train_tiny
from ltood.runtime.distributed import ranks_from_environment
with ranks_from_environment() as ranks:
    plan = make_plan(recipe=sys.argv[2], epochs=1, batch_size=9)
    train_tiny(sys.argv[1], plan, ranks=ranks)
"""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["eat", "cocl", "balanced_energy"])
def test_two_ranks_train_as_one(tmp_path, recipe):
    run_ranks(RANKS, tmp_path / "two", recipe)
    train_tiny(tmp_path / "one", make_plan(recipe=recipe, epochs=1, batch_size=9))
    two, one = (load_file(tmp_path / name / WEIGHTS) for name in ("two", "one"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=2e-3)
    two, one = (read_head_extras(tmp_path / name) for name in ("two", "one"))
    assert two.keys() == one.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"outlier_classes": 0}, r"eat\.outlier_classes"),
        ({"experts": 0}, r"eat\.experts"),
        ({"outlier_weight": -1.0}, r"eat\.outlier_weight"),
        ({"mix_weight": math.nan}, r"eat\.mix_weight"),
        ({"tail_share": 0.0}, r"eat\.tail_share"),
        ({"head_share": 1.5}, r"eat\.head_share"),
        ({"aux_per_image": 0.0}, r"eat\.aux_per_image"),
    ],
)
def test_bad_settings_are_named(settings, key):
    with pytest.raises(ConfigError, match=key):
        parse(settings, Config, "recipes.eat")


def test_a_backbone_without_a_linear_head_is_refused():
    with pytest.raises(ConfigError, match="does not have one of its own"):
        Entry(Config(), ClassPrior.uniform(7)).attach(GoldenStep(3).backbone)
