import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_samples import make_plan, resumed_to_the_bit
from outlier_samples import GoldenStep, train_and_extract

from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.prior import ClassPrior
from ltood.core.settings import parse
from ltood.losses.outlier_margin import outlier_margin_loss
from ltood.losses.tail_prototypes import tail_prototype_loss
from ltood.networks.checkpoint import read_head_extras
from ltood.recipes.cocl import Config, Entry
from ltood.scoring.run import score_store


def groups(counts, **settings):
    recipe = Entry(Config(**settings), ClassPrior(np.array(counts)))
    recipe.attach(GoldenStep().backbone)
    margins = recipe.margins
    return margins.is_head.tolist(), margins.is_tail.tolist(), margins.number.tolist()


def test_terms_are_those_of_the_paper():
    step = GoldenStep(1)
    recipe = Entry(Config(), step.prior)
    recipe.attach(step.backbone)
    step.batch = replace(
        step.batch, views=step.batch.views[:1], generator=torch.Generator().manual_seed(1)
    )
    terms = step.terms(recipe)
    rows = step.rows.detach().view(3, 24, 64)
    inner, outer, labels = rows[0], rows[2], step.batch.labels
    logits, aux_logits = (step.backbone.head(part).detach() for part in (inner, outer))
    cross = -logits.log_softmax(1)[torch.arange(24), labels].mean()
    assert terms["cross_entropy"].item() == pytest.approx(cross.item(), rel=1e-10)
    to_class = -aux_logits.log_softmax(1)[:, -1].mean()
    assert terms["outlier_class"].item() == pytest.approx(0.05 * to_class.item(), rel=1e-10)
    is_tail, is_head = recipe.margins.is_tail[labels], recipe.margins.is_head[labels]
    assert is_tail.any()
    assert is_head.any()
    first = int(recipe.margins.is_tail.long().argmax())
    tail = tail_prototype_loss(
        inner[is_tail],
        labels[is_tail] - first,
        recipe.margins.prototypes,
        outer,
        temperature=0.07,
    )
    assert terms["tail_prototypes"].item() == pytest.approx(0.05 * tail.item(), rel=1e-10)
    generator = torch.Generator().manual_seed(1)
    head = outlier_margin_loss(outer, inner[is_head], margin=1.0, generator=generator)
    assert terms["head_margin"].item() == pytest.approx(0.1 * head.item(), rel=1e-10)


def test_groups_go_by_count_wherever_classes_stand():
    assert groups([3, 50, 9, 20, 4]) == (
        [False, True, False, True, False],
        [True, False, False, False, True],
        [0, 0, 0, 0, 1],
    )


def test_the_official_groups_go_by_index_with_one_class_more_in_the_head():
    head, tail, _ = groups([3, 50, 9, 20, 4], official_groups=True)
    assert head == [True, True, True, False, False]
    assert tail == [False, False, False, True, True]
    assert sum(groups([9, 7, 5, 3, 1], official_groups=True, head_share=1.0)[0]) == 5


def test_official_halves_are_scaled_by_themselves():
    step = GoldenStep(1)
    found = []
    for switch in (False, True):
        torch.manual_seed(0)
        recipe = Entry(Config(official_halves=switch), step.prior)
        recipe.attach(step.backbone)
        found.append(step.terms(recipe)["tail_prototypes"].item())
    assert found[0] != found[1]


def test_halves_of_an_odd_width_are_refused():
    recipe = Entry(Config(official_halves=True), ClassPrior(np.array([3, 2, 1])))
    backbone = GoldenStep(1).backbone
    backbone.head = torch.nn.Linear(63, 8)
    with pytest.raises(ConfigError, match=r"recipes\.cocl\.official_halves is true"):
        recipe.attach(backbone)


def test_a_batch_without_head_or_tail_has_zero_terms():
    step = GoldenStep(1)
    recipe = Entry(Config(), step.prior)
    recipe.attach(step.backbone)
    middle = int((~recipe.margins.is_head & ~recipe.margins.is_tail).long().argmax())
    step.batch = replace(step.batch, labels=torch.full((24,), middle))
    terms = step.terms(recipe)
    assert terms["tail_prototypes"].item() == terms["head_margin"].item() == 0
    sum(terms.values()).backward()
    assert step.backbone.head.weight.grad.isfinite().all()


def test_a_tiny_net_learns_the_class_and_the_store_scores_it(tmp_path):
    training = {"epochs": 8, "optimiser": "adam", "learning_rate": 1e-3}
    history, store = train_and_extract(tmp_path, "cocl", {"tail_share": 0.7}, **training)
    for term in ("outlier_class", "cross_entropy"):
        assert float(history[-1][term]) < float(history[0][term])
    assert store.split("test").num_outputs == 4
    assert store.head_arrays()["outlier_classes"] == 1
    assert read_head_extras(tmp_path / "checkpoint")["outlier_classes"] == 1
    adjusted = EntrySpec("logit_adjustment", {})
    found = score_store(store, tmp_path / "scores", EntrySpec("outlier_class", {}), adjusted)
    known, unknown = (found.split(split).scores for split in ("train", "aux"))
    assert (unknown[:, None] > known).mean() > 0.8
    with pytest.raises(MissingNeedError, match="detector node"):
        score_store(store, tmp_path / "other", EntrySpec("bin_disc", {}))


def test_it_survives_a_stop(tmp_path, monkeypatch):
    training = {"epochs": 2, "optimiser": "adam", "learning_rate": 1e-3, "checkpoint_minutes": 0.0}
    plan = make_plan(recipe="cocl", **training)
    assert resumed_to_the_bit(tmp_path, plan, monkeypatch)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"outlier_weight": -1.0}, r"cocl\.outlier_weight"),
        ({"tail_weight": math.nan}, r"cocl\.tail_weight"),
        ({"head_weight": math.inf}, r"cocl\.head_weight"),
        ({"temperature": 0.0}, r"cocl\.temperature"),
        ({"margin": -0.5}, r"cocl\.margin"),
        ({"tail_share": 0.0}, r"cocl\.tail_share"),
        ({"head_share": 1.5}, r"cocl\.head_share"),
        ({"aux_per_image": 0.0}, r"cocl\.aux_per_image"),
    ],
)
def test_bad_settings_are_named(settings, key):
    with pytest.raises(ConfigError, match=key):
        parse(settings, Config, "recipes.cocl")


@pytest.mark.parametrize("share", ["tail_share", "head_share"])
def test_groups_without_classes_are_refused(share):
    with pytest.raises(ConfigError, match=rf"recipes\.cocl\.{share} is 0\.1"):
        Entry(Config(**{share: 0.1}), ClassPrior(np.array([3, 2, 1])))
