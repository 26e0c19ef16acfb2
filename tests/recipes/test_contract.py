"""What every recipe owes, checked over every file of the package."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ltood.core.prior import ClassPrior
from ltood.core.registry import available, load, summary
from ltood.core.settings import to_section
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.recipes._base import StepBatch, build_recipe
from ltood.runtime.params import read_params

PARAMS = Path(__file__).parents[2] / "params.yaml"
COUNTS = np.array([40, 12, 4])

ALL = available("recipes")
every_recipe = pytest.mark.parametrize("name", ALL)
every_training_recipe = pytest.mark.parametrize(
    "name", [name for name in ALL if load("recipes", name).Entry.trains_backbone]
)


def build(name):
    torch.manual_seed(0)
    recipe = build_recipe(name, {}, ClassPrior(COUNTS))
    images = ImageSpec(1, 8, 8, (0.5,), (0.3,), 3, recipe.num_extra)
    backbone = build_backbone("cifar_resnet", {}, images)
    recipe.attach(backbone)
    return recipe, backbone


def make_batch(recipe):
    rng = torch.Generator().manual_seed(1)
    num = int(np.ceil(recipe.aux_per_image * 6))
    return StepBatch(
        views=tuple(torch.rand(6, 1, 8, 8, generator=rng) for _ in range(recipe.num_views)),
        labels=torch.tensor([0, 0, 0, 1, 1, 2]),
        aux=torch.rand(num, 1, 8, 8, generator=rng) if num else None,
        epoch=0,
        num_epochs=2,
        generator=rng,
    )


@every_training_recipe
def test_terms_are_named_finite_scalars_with_gradients(name):
    recipe, backbone = build(name)
    terms = recipe.losses(backbone, make_batch(recipe))
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
        return recipe.losses(backbone, make_batch(recipe))

    first, second = terms(), terms()
    assert all(torch.equal(first[term], second[term]) for term in first)


@every_training_recipe
def test_it_lowers_its_loss(name):
    recipe, backbone = build(name)
    parameters = [*backbone.parameters(), *recipe.parameters()]
    optimiser = torch.optim.Adam(parameters, 1e-3)
    totals = []
    for _ in range(12):
        total = sum(recipe.losses(backbone, make_batch(recipe)).values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


@every_recipe
def test_defaults_stand_in_the_parameter_file(name):
    assert read_params(PARAMS)["recipes"][name] == to_section(load("recipes", name).Config())


@every_recipe
def test_it_cites_a_source_and_has_a_test(name):
    assert summary("recipes", name)
    assert "Source:" in (load("recipes", name).__doc__ or "")
    assert (Path(__file__).parent / f"test_{name}.py").is_file()
