import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import load_golden
from image_samples import make_plan, resumed_to_the_bit, train_tiny, tree
from outlier_samples import GoldenStep, train_and_extract

from ltood.core.errors import ConfigError, DataError
from ltood.core.prior import ClassPrior
from ltood.core.settings import parse
from ltood.networks.checkpoint import read_head_extras
from ltood.recipes._class_pool import ClassPool
from ltood.recipes.cocl import Cocl
from ltood.recipes.cocl import Config as CoclConfig
from ltood.recipes.imood import Config, Entry

TINY = ClassPrior(np.array([24, 12, 6]))


class ImoodStep(GoldenStep):
    """The published step with a gamma layer, w and b, a projection and a full pool."""

    def __init__(self, **settings):
        num_aux_outputs = int(settings.get("base", "bin_disc") == "bin_disc")
        super().__init__(num_aux_outputs)
        self.arrays = self.arrays | load_golden("imood_training")
        self.recipe = recipe = Entry(Config(**settings), self.prior)
        recipe.attach(self.backbone)
        self.fill(recipe.gamma, "lambda_W", "lambda_b")
        if hasattr(recipe, "score_map"):
            self.fill(recipe.score_map, "aux_w", "aux_b")
        if hasattr(recipe, "projection"):
            first, _, second = recipe.projection
            self.fill(first, "proj0_W", "proj0_b")
            self.fill(second, "proj2_W", "proj2_b")
        if hasattr(recipe, "pool"):
            recipe.pool = full_pool(self.arrays["trainpool_queue"])

    def fill(self, layer, weight, bias):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(self.arrays[weight]))
            layer.bias.copy_(torch.tensor(self.arrays[bias]))

    def terms(self, recipe=None):
        recipe = recipe or self.recipe
        log_prior = torch.tensor(recipe.config.tau * self.prior.log())
        recipe.log_prior = log_prior.log_softmax(dim=0)
        return super().terms(recipe)


def full_pool(queue):
    num_classes, rows, dim = queue.shape
    pool = ClassPool([rows] * num_classes, dim)
    labels = torch.arange(num_classes).repeat_interleave(rows)
    pool.update(torch.tensor(queue).flatten(0, 1), labels)
    return pool


@pytest.mark.parametrize("base", ["bin_disc", "energy", "oe", "maha"])
def test_terms_and_gradients_are_the_published_ones(base):
    step = ImoodStep(base=base)
    terms = step.terms()
    name = f"ada_{base}_none"
    losses, parts = (step.arrays[f"f64_train_{name}_{kind}"] for kind in ("losses", "parts"))
    assert terms["cross_entropy"].item() == pytest.approx(losses[0], rel=1e-8)
    assert terms["gamma"].item() == pytest.approx(0.5 * parts[0], rel=1e-8)
    assert terms["discrimination"].item() == pytest.approx(0.5 * parts[1], rel=1e-8)
    if base == "oe":
        assert terms["outlier_exposure"].item() == pytest.approx(0.5 * parts[2], rel=1e-8)
    assert sum(terms.values()).item() == pytest.approx(losses[3], rel=1e-8)
    step.assert_gradients(terms, name)
    pairs = [(step.recipe.gamma, "lambda")]
    if base != "bin_disc":
        pairs.append((step.recipe.score_map, "aux"))
    for layer, kind in pairs:
        expected = torch.tensor(step.arrays[f"f64_train_{name}_grad_{kind}"])
        torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("auxiliary", "term"),
    [("pascl", "asymmetric_contrast"), ("simclr", "projected_discrimination")],
)
def test_auxiliary_terms_are_the_published_ones(auxiliary, term):
    step = ImoodStep(auxiliary=auxiliary)
    terms = step.terms()
    name = f"ada_bin_disc_{auxiliary}"
    losses = step.arrays[f"f64_train_{name}_losses"]
    assert terms[term].item() == pytest.approx(0.05 * losses[2], rel=1e-8)
    assert sum(terms.values()).item() == pytest.approx(losses[3], rel=1e-8)
    step.assert_gradients(terms, name)
    for layer, kind in ((step.recipe.gamma, "lambda"), (step.recipe.projection[0], "proj0")):
        expected = torch.tensor(step.arrays[f"f64_train_{name}_grad_{kind}"])
        torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-8, atol=0)


def test_the_official_pool_takes_outliers_under_id_labels():
    step = ImoodStep(base="maha")
    labels = step.batch.labels
    pools = {}
    for official in (False, True):
        recipe = Entry(Config(base="maha", official_pool=official), step.prior)
        recipe.attach(step.backbone)
        step.terms(recipe)
        pools[official] = recipe.pool
    rows = step.rows.detach()
    ours, theirs = pools[False], pools[True]
    counts = torch.tensor(step.prior.counts)
    assert torch.equal(ours.capacity, counts.clamp(min=2))
    assert torch.equal(ours.seen, 2 * torch.bincount(labels, minlength=7))
    assert torch.equal(theirs.capacity, counts.amax().expand(7))
    assert torch.equal(theirs.seen, labels.unique(return_counts=True)[1].clamp(max=1))
    for label in labels.unique():
        first = rows[48:][labels == label][0]
        assert torch.equal(theirs.queue[theirs.start[label]], first)
        first = rows[:24][labels == label][0]
        assert torch.equal(ours.queue[ours.start[label]], first)


def test_the_official_pool_waits_until_every_class_has_as_many_as_the_largest():
    recipes = [Entry(Config(base="maha", official_pool=switch), TINY) for switch in (False, True)]
    backbone = ImoodStep(base="maha").backbone
    for recipe in recipes:
        recipe.attach(backbone)
        recipe.pool.update(torch.rand(42, 64), torch.arange(3).repeat_interleave(14))
    ours, theirs = (recipe.pool for recipe in recipes)
    assert (ours.ready_counts.tolist(), theirs.ready_counts.tolist()) == ([2] * 3, [24] * 3)
    assert [ours.counts.tolist(), theirs.counts.tolist()] == [[14, 12, 6], [14] * 3]


def test_the_official_tail_goes_by_index():
    prior = ClassPrior(np.array([3, 50, 9, 20, 4]))
    tails = [
        Entry(Config(auxiliary="pascl", official_tail=switch), prior).is_tail.tolist()
        for switch in (False, True)
    ]
    assert tails == [[True, False, False, False, True], [False, False, False, True, True]]


@pytest.mark.parametrize(("base", "sign"), [("energy", 1), ("oe", 1), ("maha", -1)])
def test_the_official_start_may_read_the_score_the_wrong_way_round(base, sign):
    def signs(official_start):
        recipe = Entry(Config(base=base, official_start=official_start), TINY)
        backbone = ImoodStep().backbone
        for seed in range(8):
            torch.manual_seed(seed)
            recipe.attach(backbone)
            yield math.copysign(1, recipe.score_map.weight.item())

    assert set(signs(official_start=False)) == {sign}
    assert set(signs(official_start=True)) == {-1, 1}


def test_gamma_starts_near_one():
    recipe = Entry(Config(), TINY)
    recipe.attach(ImoodStep().backbone)
    assert not recipe.gamma.bias.any()
    assert recipe.gamma(torch.zeros(1, 64)).exp().tolist() == [[1, 1, 1]]


def test_without_a_prior_the_detector_is_told_of_none():
    recipe = Entry(Config(tau=0.0), ClassPrior(np.array([5, 0, 2])))
    assert not recipe.shift.any()
    np.testing.assert_allclose(recipe.log_prior.exp(), [1 / 3] * 3, rtol=1e-6)


@pytest.mark.parametrize(("base", "outputs"), [("bin_disc", 2), ("energy", 1)])
def test_on_top_of_cocl_both_keep_their_terms(base, outputs):
    step = GoldenStep(outputs)
    recipe = Entry(Config(base=base, auxiliary="cocl"), step.prior)
    assert (recipe.num_aux_outputs, recipe.num_outlier_classes) == (outputs, 1)
    recipe.attach(step.backbone)
    alone = Cocl(CoclConfig(tau=1.0), step.prior)
    alone.attach(step.backbone)
    alone.margins = recipe.margins
    recipe.log_prior = torch.tensor(step.prior.log()).log_softmax(dim=0)
    step.batch = replace(step.batch, generator=torch.Generator().manual_seed(3))
    terms = step.terms(recipe)
    step.batch = replace(step.batch, generator=torch.Generator().manual_seed(3))
    expected = step.terms(alone)
    assert set(terms) == {*expected, "gamma", "discrimination"}
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-12), name
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in recipe.parameters())


@pytest.mark.parametrize("base", ["bin_disc", "energy", "oe", "maha"])
def test_a_tiny_net_learns_to_tell_outliers(tmp_path, base):
    settings = {"base": base, "auxiliary": "pascl", "tail_share": 1.0}
    # Adam, as published: distances are so large that SGD at its usual rate diverges on maha.
    training = {"epochs": 8, "optimiser": "adam", "learning_rate": 1e-3}
    history, store = train_and_extract(tmp_path, "imood", settings, **training)
    for term in ("discrimination", "asymmetric_contrast"):
        assert float(history[-1][term]) < float(history[0][term])
    assert store.split("test").num_outputs == (4 if base == "bin_disc" else 3)


@pytest.mark.parametrize(
    ("base", "name"), [("energy", "energy_map"), ("oe", "msp_map"), ("maha", "mahalanobis_map")]
)
def test_what_it_learned_is_there_for_stage_two(base, name, capsys):
    recipe = ImoodStep(base=base).recipe
    extras = recipe.head_extras()
    assert sorted(extras) == sorted(["gamma_bias", "gamma_weight", name])
    golden = load_golden("imood_training")
    np.testing.assert_array_equal(extras["gamma_weight"], golden["lambda_W"])
    np.testing.assert_array_equal(extras["gamma_bias"], golden["lambda_b"])
    np.testing.assert_array_equal(extras[name], [golden["aux_w"][0, 0], golden["aux_b"][0]])
    # The published w is 1.7: right for scores that are high for ID, wrong for distances.
    warned = "ImOOD learned w = 1.7, so its detector reads the score of mahalanobis the other way"
    assert (warned in capsys.readouterr().err) == (base == "maha")


def test_the_gamma_layer_travels_to_the_features(tmp_path):
    _, store = train_and_extract(tmp_path, "imood", epochs=1)
    extras, head = read_head_extras(tmp_path / "checkpoint"), store.head_arrays()
    assert sorted(extras) == ["gamma_bias", "gamma_weight"]
    assert all(np.array_equal(head[name], extras[name]) for name in extras)
    assert extras["gamma_weight"].any()


def test_another_training_in_the_folder_leaves_no_gamma_layer(tmp_path):
    names = []
    for recipe in ("imood", "cross_entropy"):
        train_tiny(tmp_path, make_plan(recipe=recipe, epochs=1))
        names.append("head_extras.safetensors" in tree(tmp_path))
    assert names == [True, False]


@pytest.mark.parametrize(
    ("base", "auxiliary"), [("bin_disc", "simclr"), ("energy", "none"), ("maha", "pascl")]
)
def test_mixed_precision_leaves_the_detector_in_float32(base, auxiliary):
    step = ImoodStep(base=base, auxiliary=auxiliary)
    recipe = step.recipe
    step.backbone.float()
    views = tuple(view.detach().float() for view in step.batch.views)
    batch = replace(step.batch, views=views, aux=step.batch.aux.detach().float())
    full = recipe.losses(batch)
    if base == "maha":
        recipe.pool = full_pool(step.arrays["trainpool_queue"])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = recipe.losses(batch)
    for term, value in mixed.items():
        assert value.dtype == torch.float32
        # The logits and features that come in have 8 bits.
        assert value.item() == pytest.approx(full[term].item(), rel=0.05)


def test_a_pool_survives_a_stop(tmp_path, monkeypatch):
    training = {"epochs": 3, "optimiser": "adam", "learning_rate": 1e-3, "checkpoint_minutes": 0.0}
    plan = make_plan(recipe="imood", recipe_settings={"base": "maha"}, **training)
    ready = []

    def note(run):
        ready.append(run.recipe.pool.ready())

    assert resumed_to_the_bit(tmp_path, plan, monkeypatch, stop_at=21, look_at=note)
    assert ready[-1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"base": "knn"}, r"imood\.base is 'knn'"),
        ({"auxiliary": "eat"}, r"imood\.auxiliary is 'eat'"),
        ({"detector_weight": -1.0}, r"imood\.detector_weight is -1\.0"),
        ({"auxiliary_weight": math.inf}, r"imood\.auxiliary_weight is inf"),
        ({"temperature": 0.0}, r"imood\.temperature is 0\.0"),
        ({"tail_share": 1.5}, r"imood\.tail_share is 1\.5"),
        ({"dim": 0}, r"imood\.dim is 0"),
        ({"aux_per_image": 0.0}, r"imood\.aux_per_image is 0\.0"),
        ({"tau": -1.0}, r"recipes\.imood\.tau is -1\.0"),
        ({"pool_rows": 1}, r"imood\.pool_rows is 1"),
        (
            {"official_pool": True, "aux_per_image": 0.5},
            r"imood\.aux_per_image is 0\.5, but official_pool puts an outlier under .*1 or more",
        ),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    # Choices are refused by the reader of settings already, in its own words.
    with pytest.raises(ConfigError, match=sentence):
        Config(**settings)
    with pytest.raises(ConfigError):
        parse(settings, Config, "recipes.imood")


def test_a_class_without_images_is_refused():
    empty = ClassPrior(np.array([5, 0, 2]))
    for config in (Config(), Config(base="maha", tau=0.0)):
        with pytest.raises(DataError, match=r"classes \[1\] have no training images"):
            Entry(config, empty)


def test_a_tail_without_classes_is_refused():
    with pytest.raises(ConfigError, match=r"tail_share is 0\.1, which leaves none of 3 classes"):
        Entry(Config(auxiliary="pascl", tail_share=0.1), TINY)


def test_an_official_pool_with_too_few_outliers_is_refused():
    step = ImoodStep(base="maha", official_pool=True)
    step.batch = replace(step.batch, aux=step.batch.aux[:20])
    with pytest.raises(DataError, match=r"under each of 24 labels, but the batch holds 20; "):
        step.terms()
