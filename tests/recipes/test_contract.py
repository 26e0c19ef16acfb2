"""What every recipe owes, checked over every file of the package."""

import numpy as np
import pytest
import torch

from ltood.core.prior import ClassPrior
from ltood.core.registry import available, flag, load, summary
from ltood.core.settings import to_section
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.recipes import FrozenRecipe, HeadRecipe, StepBatch, TrainingRecipe, build_recipe

COUNTS = np.array([40, 12, 4])

ALL = available("recipes")
every_recipe = pytest.mark.parametrize("name", ALL)
every_training_recipe = pytest.mark.parametrize(
    "name", [name for name in ALL if issubclass(load("recipes", name).Entry, TrainingRecipe)]
)


def build(name):
    torch.manual_seed(0)
    recipe = build_recipe(name, {}, ClassPrior(COUNTS))
    images = ImageSpec(1, 8, 8, (0.5,), (0.3,), 3, recipe.num_aux_outputs)
    backbone = build_backbone("cifar_resnet", {}, images)
    if isinstance(recipe, TrainingRecipe):
        recipe.attach(backbone)
    return recipe, backbone


def make_batch(recipe, forward):
    rng = torch.Generator().manual_seed(1)
    num = int(np.ceil(recipe.aux_per_image * 6))
    return StepBatch(
        views=tuple(torch.rand(6, 1, 8, 8, generator=rng) for _ in range(recipe.num_views)),
        labels=torch.tensor([0, 0, 0, 1, 1, 2]),
        aux=torch.rand(num, 1, 8, 8, generator=rng) if num else None,
        epoch=0,
        num_epochs=2,
        generator=rng,
        forward=forward,
    )


@every_training_recipe
def test_terms_are_named_finite_scalars_with_gradients(name):
    recipe, backbone = build(name)
    terms = recipe.losses(make_batch(recipe, backbone))
    assert terms
    for term, value in terms.items():
        assert term.isidentifier()
        assert value.shape == ()
        assert torch.isfinite(value)
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in [*backbone.parameters(), *recipe.parameters()])


@every_training_recipe
def test_equal_batches_give_equal_terms(name):
    def terms():
        recipe, backbone = build(name)
        return recipe.losses(make_batch(recipe, backbone))

    first, second = terms(), terms()
    assert all(torch.equal(first[term], second[term]) for term in first)


@every_training_recipe
def test_it_lowers_its_loss(name):
    recipe, backbone = build(name)
    parameters = [*backbone.parameters(), *recipe.parameters()]
    optimiser = torch.optim.Adam(parameters, 1e-3)
    totals = []
    for _ in range(12):
        total = sum(recipe.losses(make_batch(recipe, backbone)).values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


@every_recipe
def test_it_is_of_one_kind(name):
    entry = load("recipes", name).Entry
    assert issubclass(entry, TrainingRecipe) != issubclass(entry, FrozenRecipe)
    # Read without importing the module, so that the adapt stage of other recipes needs no torch.
    assert flag("recipes", name, "ADAPTS_HEAD") == issubclass(entry, HeadRecipe)


@every_recipe
def test_defaults_stand_in_the_parameter_file(name, params):
    assert params["recipes"][name] == to_section(load("recipes", name).Config())


@every_recipe
def test_it_cites_a_source(name):
    assert summary("recipes", name)
    assert "Source:" in (load("recipes", name).__doc__ or "")
