"""A frozen backbone stays to the bit while its head learns, and rates may differ."""

import pytest
import torch
from image_samples import (
    GreedyRecipe,
    TinyImages,
    make_plan,
    resumed_to_the_bit,
    train_tiny,
)
from rank_samples import run_ranks
from safetensors.torch import load_file

from ltood.core.errors import ConfigError
from ltood.networks.checkpoint_files import WEIGHTS
from ltood.training import train as driver
from ltood.training.loop import Run
from ltood.training.optimising import parameter_groups, set_rate

HEAD = ("head.weight", "head.bias")
#: None of these may reach what is frozen.
HARSH = {"learning_rate": 0.1, "weight_decay": 0.1, "clip_norm": 1.0}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "checkpoint"
    train_tiny(out, make_plan(epochs=1))
    return out


def changed(before, after):
    one, other = load_file(before / WEIGHTS), load_file(after / WEIGHTS)
    assert list(one) == list(other)
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("recipe", ["cross_entropy", "patt", "pascl_finetune"])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_nothing_but_the_head_changes(tmp_path, first, recipe, optimiser):
    plan = make_plan(
        recipe=recipe, weights=str(first), freeze="backbone", optimiser=optimiser, **HARSH
    )
    train_tiny(tmp_path / "out", plan)
    assert changed(first, tmp_path / "out") == set(HEAD)


def test_averages_leave_what_is_frozen_alone(tmp_path, first):
    plan = make_plan(weights=str(first), freeze="backbone", ema=0.9, **HARSH)
    train_tiny(tmp_path / "out", plan)
    assert changed(first, tmp_path / "out") == set(HEAD)


def test_features_are_those_of_use_while_the_head_learns(tmp_path, first, monkeypatch):
    """Else the head would learn from features of batch statistics."""
    seen = []
    step = Run._step

    def looking(run):
        num = step(run)
        seen.append({module.training for module in run.backbone.modules()})
        return num

    monkeypatch.setattr(Run, "_step", looking)
    train_tiny(tmp_path / "out", make_plan(weights=str(first), freeze="backbone", epochs=1))
    assert seen
    assert all(modes == {False} for modes in seen)


def test_what_a_recipe_has_to_train_is_trained(tmp_path, first, monkeypatch):
    kept, before = [], []

    def build(name, settings, prior):
        kept.append(GreedyRecipe(prior))
        return kept[0]

    monkeypatch.setattr(driver, "build_recipe", build)
    monkeypatch.setattr(
        Run, "restore", lambda run, state: before.append(run.recipe.projection.weight.clone())
    )
    train_tiny(tmp_path / "out", make_plan(weights=str(first), freeze="backbone", epochs=1))
    assert not torch.equal(kept[0].projection.weight, before[0])


def test_a_stopped_run_goes_on_to_the_bit(tmp_path, first, monkeypatch):
    plan = make_plan(
        weights=str(first), freeze="backbone", epochs=2, checkpoint_minutes=0.0, optimiser="adam"
    )
    assert resumed_to_the_bit(tmp_path, plan, monkeypatch)
    plan = make_plan(weights=str(first), backbone_rate=0.1, epochs=2, checkpoint_minutes=0.0)
    assert resumed_to_the_bit(tmp_path / "rate", plan, monkeypatch)


PROGRAM = """
import sys
from image_samples import make_plan, train_tiny
from ltood.runtime.distributed import ranks_from_environment
with ranks_from_environment() as ranks:
    plan = make_plan(epochs=2, batch_size=9, weights=sys.argv[2], freeze="backbone",
                     early_stopping=1)
    train_tiny(sys.argv[1], plan, ranks=ranks)
"""


def test_two_ranks_train_as_one(tmp_path, first):
    run_ranks(PROGRAM, tmp_path / "two", str(first))
    plan = make_plan(
        epochs=2, batch_size=9, weights=str(first), freeze="backbone", early_stopping=1
    )
    train_tiny(tmp_path / "one", plan)
    assert changed(first, tmp_path / "two") == set(HEAD)
    two, one = (load_file(tmp_path / name / WEIGHTS) for name in ("two", "one"))
    for name in HEAD:
        torch.testing.assert_close(two[name], one[name], atol=2e-5, rtol=1e-4)


def test_a_backbone_without_weights_is_not_frozen(tmp_path):
    with pytest.raises(ConfigError, match=r"training\.freeze .* training\.weights"):
        train_tiny(tmp_path / "out", make_plan(freeze="backbone"))


def test_groups_have_their_share_of_the_rate():
    body, head, other = (torch.nn.Parameter(torch.ones(1)) for _ in range(3))
    groups = parameter_groups([body, head], [other], [head], 0.1)
    optimiser = torch.optim.SGD(groups, lr=1.0)
    for value in (body, head, other):
        value.grad = torch.ones(1)
    set_rate(optimiser, 0.5)
    optimiser.step()
    assert [value.item() for value in (body, head, other)] == pytest.approx([0.95, 0.5, 0.5])
    assert len(parameter_groups([body, head], [other], [head], 1.0)) == 1
    assert len(parameter_groups([head], [other], [head], 0.1)) == 1


def test_a_small_rate_holds_the_backbone_back(tmp_path, first):
    ends = []
    for factor in (1.0, 1e-9):
        plan = make_plan(weights=str(first), backbone_rate=factor, epochs=1, weight_decay=0.0)
        train_tiny(tmp_path / str(factor), plan, TinyImages())
        ends.append(load_file(tmp_path / str(factor) / WEIGHTS))
    start = load_file(first / WEIGHTS)["stem.0.weight"]
    assert not torch.allclose(ends[0]["stem.0.weight"], start, atol=1e-5)
    torch.testing.assert_close(ends[1]["stem.0.weight"], start, atol=1e-6, rtol=0)
    assert not torch.allclose(ends[1]["head.weight"], load_file(first / WEIGHTS)["head.weight"])
