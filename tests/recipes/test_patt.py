import csv
import math

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from image_samples import make_plan, train_tiny
from torch.nn import functional

from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.core.prior import ClassPrior
from ltood.core.settings import parse
from ltood.losses.implicit_semantic_augmentation import MAX_KAPPA, ImplicitSemanticAugmentation
from ltood.losses.logit_adjusted import logit_adjusted_cross_entropy
from ltood.losses.outlier_exposure import uniform_cross_entropy
from ltood.networks.backbone import BackboneOutput, ImageSpec
from ltood.networks.checkpoint import load_checkpoint
from ltood.recipes._base import StepBatch
from ltood.recipes.patt import Config, Entry
from recipes.test_contract import COUNTS, build, make_batch


class Given:
    """A backbone whose images are the rows themselves: features, then logits."""

    def __init__(self, feature_dim, num_classes=3):
        self.feature_dim = feature_dim
        self.images = ImageSpec(1, 8, 8, (0.5,), (0.3,), num_classes)

    def __call__(self, rows):
        return BackboneOutput(rows[:, : self.feature_dim], rows[:, self.feature_dim :])


def step(views, labels, aux, epoch=0):
    return StepBatch(views, labels, aux, epoch, 2, torch.Generator(), Given(8))


def random_step(rng, num_classes=3, dim=8, epoch=0):
    views = tuple(torch.tensor(rng.normal(size=(6, dim + num_classes))) for _ in range(3))
    aux = torch.tensor(rng.normal(size=(12, dim + num_classes)))
    return step(views, torch.tensor([0, 0, 0, 1, 1, 2]), aux, epoch)


def attached(config, counts=COUNTS, dim=8):
    torch.manual_seed(0)
    recipe = Entry(config, ClassPrior(counts))
    recipe.attach(Given(dim))
    return recipe


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "patt_losses.npz") as losses:
        return {key: torch.from_numpy(losses[key]) for key in losses}


@pytest.mark.parametrize("scale", [1.0, 0.9, 0.7])
def test_adjusted_and_exposure_terms_equal_the_published_ones(golden, scale):
    logits = golden["cls_logits"].clone().requires_grad_()
    loss = logit_adjusted_cross_entropy(
        logits, golden["cls_labels"], log_prior=golden["log_prior"], temperature=scale
    )
    loss.backward()
    name = str(scale).replace(".", "p")
    near = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(loss.detach(), golden[f"tla_loss_ts{name}_f64"], **near)
    torch.testing.assert_close(logits.grad, golden[f"tla_grad_ts{name}_f64"], **near)
    outliers = golden["cls_ood_logits"].clone().requires_grad_()
    loss = uniform_cross_entropy(outliers)
    loss.backward()
    torch.testing.assert_close(loss.detach(), golden["oe_loss_f64"], **near)
    torch.testing.assert_close(outliers.grad, golden["oe_grad_f64"], **near)


@pytest.mark.parametrize(
    ("lambda1", "scale", "name"),
    [(0.1, 0.9, "L1_0p1_L2_0p5_ts0p9"), (0.02, 0.7, "L1_0p02_L2_0p5_ts0p7")],
)
def test_the_weighted_sum_is_the_published_total(golden, lambda1, scale, name):
    recipe = attached(Config(oe_weight=lambda1, logit_temperature=scale), golden_counts(golden))
    recipe.log_prior = golden["log_prior"]  # in float64, which the buffer rounds
    logits, aux = golden["cls_logits"], golden["cls_ood_logits"]
    rows = torch.cat([torch.ones(len(logits), 8), logits], dim=1)
    outliers = torch.cat([torch.ones(len(aux), 8), aux], dim=1)
    terms = recipe.losses(step((rows, rows, rows), golden["cls_labels"], outliers))
    with np.load(GOLDEN / "patt_norm.npz") as norm:
        augmentation = norm["isac_loss"][-1]
    total = augmentation + terms["logit_adjusted"].item() + terms["outlier_exposure"].item()
    assert total == pytest.approx(golden[f"total_loss_{name}_f64"].item(), rel=1e-9)


def golden_counts(golden):
    """Counts with the published prior."""
    shares = golden["log_prior"].exp()
    return (shares / shares.min() * 3).round().long().numpy()


def test_the_second_and_third_views_make_the_augmentation_term(rng):
    recipe = attached(Config())
    alone = ImplicitSemanticAugmentation(3, 8)
    alone.load_state_dict(recipe.augmentation.state_dict())
    batch = random_step(rng)
    term = recipe.losses(batch)["augmentation"]
    expected = [
        alone(
            functional.normalize(view[:, :8].float(), dim=1),
            batch.labels,
            log_prior=torch.tensor(ClassPrior(COUNTS).log()),
            temperature=0.1,
        ).item()
        for view in batch.views[1:]
    ]
    assert term.item() == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_official_features_keep_their_length_and_saturate_the_concentration(rng):
    batch = random_step(rng)
    longer = step(tuple(3 * view for view in batch.views), batch.labels, batch.aux)
    paper, official = attached(Config()), attached(Config(official_augmentation=True))
    terms = [recipe.losses(longer)["augmentation"] for recipe in (paper, official)]
    assert not torch.isclose(*terms)
    assert (official.augmentation.kappa() == MAX_KAPPA).all()
    assert (paper.augmentation.kappa() < MAX_KAPPA).all()


@pytest.mark.parametrize(("official", "rows_per_class"), [(False, 4.0), (True, 6.0)])
def test_only_the_official_statistics_never_forget(rng, official, rows_per_class):
    recipe = attached(Config(official_augmentation=official))
    for epoch in range(3):
        recipe.losses(random_step(rng, epoch=epoch))
    # Two views of 3, 2 and 1 images an epoch; two epochs against all three.
    expected = [rows_per_class * images for images in (3, 2, 1)]
    assert recipe.augmentation.count.tolist() == expected


def test_statistics_get_no_gradient_and_features_do():
    recipe, backbone = build("patt")
    terms = recipe.losses(make_batch(recipe, backbone))
    terms["augmentation"].backward()
    assert not list(recipe.parameters())
    reached = [p.grad is not None for name, p in backbone.named_parameters() if "head" not in name]
    assert any(reached)


def projected(rows, layers):
    """Linear, batch norm of all rows, ReLU, linear, written out in numpy."""
    first, norm, _, last = layers
    weights = [value.detach().double().numpy() for value in (first.weight, first.bias)]
    hidden = rows @ weights[0].T + weights[1]
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + norm.eps)
    hidden = hidden * norm.weight.detach().double().numpy() + norm.bias.detach().double().numpy()
    out = last.weight.detach().double().numpy(), last.bias.detach().double().numpy()
    return np.maximum(hidden, 0) @ out[0].T + out[1]


def test_the_projection_of_all_rows_is_contrasted_and_nothing_else(rng):
    settings = {"official_augmentation": True}
    recipe = attached(Config(projection=(16, 12), **settings), dim=8)
    plain = attached(Config(projection="none", **settings), dim=8)
    assert [tuple(p.shape) for p in recipe.parameters()] == [
        (16, 8), (16,), (16,), (16,), (12, 16), (12,),
    ]  # fmt: skip
    assert recipe.augmentation.mean.shape == (3, 12)
    batch = random_step(rng)
    batch = step(tuple(view.float() for view in batch.views), batch.labels, batch.aux.float())
    found, without = recipe.losses(batch), plain.losses(batch)
    for term in ("logit_adjusted", "outlier_exposure"):
        assert torch.equal(found[term], without[term])
    rows = torch.cat([*batch.views, batch.aux])[:, :8].double().numpy()
    outputs = torch.from_numpy(projected(rows, recipe.projection))
    torch.manual_seed(0)
    clouds = ImplicitSemanticAugmentation(3, 12)
    terms = [
        clouds(view, batch.labels, log_prior=recipe.log_prior.double(), temperature=0.1)
        for view in (outputs[6:12], outputs[12:18])
    ]
    expected = torch.stack(terms).mean().float()
    torch.testing.assert_close(found["augmentation"], expected, rtol=1e-4, atol=1e-4)


def test_gradients_of_a_first_step_go_through_the_batch_norm_of_all_rows(rng):
    recipe = attached(Config(projection=(7, 6), official_augmentation=True)).double()
    towards = torch.tensor(rng.normal(size=(6, 3)))
    # In the place of the class statistics, which no gradient enters.
    recipe.augmentation.forward = lambda view, labels, **_: functional.cross_entropy(
        view @ towards.to(view.dtype), labels
    )
    batch = random_step(rng)
    recipe.projection.float()  # as in training, where features are float32
    recipe.losses(batch)["augmentation"].backward()
    found = [parameter.grad.double() for parameter in recipe.projection.parameters()]
    first, first_bias, scale, shift, last, last_bias = copies = [
        parameter.detach().double().requires_grad_() for parameter in recipe.projection.parameters()
    ]
    hidden = torch.cat([*batch.views, batch.aux])[:, :8] @ first.T + first_bias
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    outputs = (hidden * scale + shift).relu() @ last.T + last_bias
    terms = [
        functional.cross_entropy(outputs[start : start + 6] @ towards, batch.labels)
        for start in (6, 12)
    ]
    expected = torch.autograd.grad(sum(terms) / 2, copies)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("wanted", "dim", "shapes"),
    [("auto", 1024, [1024, 512]), ("auto", 1023, []), ("none", 2048, []), ([7, 6], 9, [7, 6])],
)
def test_wide_networks_get_the_projection_of_the_released_one(wanted, dim, shapes):
    recipe = attached(Config(projection=wanted), dim=dim)
    layers = [] if recipe.projection is None else [recipe.projection[0], recipe.projection[3]]
    assert [layer.out_features for layer in layers] == shapes
    assert recipe.augmentation.mean.shape[1] == (shapes or [dim])[-1]


def test_the_projection_is_trained_and_stays_out_of_the_checkpoint(tmp_path):
    plan = make_plan(recipe="patt", recipe_settings={"projection": [16, 8]}, epochs=2)
    train_tiny(tmp_path, plan)
    backbone, _ = load_checkpoint(tmp_path)
    assert not [name for name in backbone.state_dict() if "projection" in name]


@pytest.mark.parametrize("official", [False, True])
def test_a_tiny_run_trains_and_leaves_its_statistics_behind(tmp_path, official):
    plan = make_plan(
        recipe="patt",
        recipe_settings={"official_augmentation": official},
        epochs=6,
        learning_rate=0.02,
    )
    train_tiny(tmp_path, plan)
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    for term in ("augmentation", "logit_adjusted", "outlier_exposure"):
        assert math.isfinite(float(rows[-1][term]))
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"])
    backbone, _ = load_checkpoint(tmp_path)
    assert "extra_weight" not in backbone.head_arrays()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"oe_weight": -0.1}, r"recipes\.patt\.oe_weight is -0\.1"),
        ({"la_weight": -1.0}, r"recipes\.patt\.la_weight is -1\.0"),
        ({"logit_temperature": 0.0}, r"recipes\.patt\.logit_temperature is 0\.0"),
        ({"temperature": -0.1}, r"recipes\.patt\.temperature is -0\.1"),
        ({"aux_per_image": 0.0}, r"recipes\.patt\.aux_per_image is 0\.0"),
        ({"oe_weight": math.nan}, r"recipes\.patt\.oe_weight is nan"),
        ({"logit_temperature": math.nan}, r"recipes\.patt\.logit_temperature is nan"),
        ({"temperature": math.inf}, r"recipes\.patt\.temperature is inf"),
        ({"aux_per_image": math.nan}, r"recipes\.patt\.aux_per_image is nan"),
        ({"projection": "some"}, r"recipes\.patt\.projection is 'some'"),
        ({"projection": [8]}, r"recipes\.patt\.projection is \[8\]"),
        ({"official_augmentation": "thesis"}, r"patt\.official_augmentation is 'thesis'"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, Config, "recipes.patt")


def test_a_class_without_images_is_refused():
    with pytest.raises(DataError, match=r"classes \[1\] have no training images"):
        Entry(Config(), ClassPrior(np.array([3, 0])))


def test_a_batch_without_outliers_is_refused(rng):
    batch = random_step(rng)
    with pytest.raises(MissingNeedError, match="holds no auxiliary outliers"):
        attached(Config()).losses(step(batch.views, batch.labels, None))
