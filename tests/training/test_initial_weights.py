"""Weights from outside: training starts from them, or takes them as they are."""

from dataclasses import replace

import pytest
import timm
import torch
from image_samples import TinyImages, make_plan, train_tiny, tree
from safetensors.torch import load_file, save_file

from ltood.backbones import timm_model
from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.networks.checkpoint import load_checkpoint
from ltood.networks.checkpoint_files import HISTORY, WEIGHTS, weights_digest
from ltood.recipes import FrozenRecipe
from ltood.training import train as driver


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "checkpoint"
    train_tiny(out, make_plan(epochs=1))
    return out


def taken(out, weights, **plan):
    return train_tiny(out, make_plan(recipe="pretrained", weights=str(weights), **plan))


def test_weights_are_taken_as_they_are(tmp_path, first):
    meta = taken(tmp_path / "taken", first)
    assert tree(tmp_path / "taken")[WEIGHTS] == tree(first)[WEIGHTS]
    assert not (tmp_path / "taken" / HISTORY).exists()
    assert meta["weights"] == {"sha256": weights_digest(first)}
    assert meta["val_accuracy"] is None
    backbone, _ = load_checkpoint(tmp_path / "taken")
    assert not backbone.training


def test_a_file_serves_as_well_as_a_folder_and_only_its_content_counts(tmp_path, first):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        torch.save({"state_dict": load_file(first / WEIGHTS)}, tmp_path / name / "net.pth")
        taken(tmp_path / f"from {name}", tmp_path / name / "net.pth")
    assert tree(tmp_path / "from here") == tree(tmp_path / "from there")
    assert tree(tmp_path / "from here")[WEIGHTS] == tree(first)[WEIGHTS]


def test_neither_recipe_nor_loop_nor_seed_changes_the_checkpoint(tmp_path, first, monkeypatch):
    taken(tmp_path / "a", first)
    monkeypatch.setattr(driver, "build_recipe", lambda name, settings, prior: FrozenRecipe(prior))
    plan = make_plan(
        recipe="coop", recipe_settings={"n_ctx": 4}, seed=5, epochs=9, weights=str(first)
    )
    train_tiny(tmp_path / "b", plan)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_training_starts_from_the_weights(tmp_path, first):
    slow = {"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    meta = train_tiny(tmp_path / "more", make_plan(weights=str(first), **slow))
    start, end = load_file(first / WEIGHTS), load_file(tmp_path / "more" / WEIGHTS)
    for name, value in start.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(end[name], value, atol=1e-6, rtol=0)
    assert meta["recipe"]["name"] == "cross_entropy"
    assert meta["weights"]["sha256"] == weights_digest(first)
    assert "weights" not in meta["training"]


def test_other_weights_start_over(tmp_path, first, capsys):
    taken(tmp_path / "out", first)
    other = load_file(first / WEIGHTS)
    other["head.bias"] += 1
    save_file(other, tmp_path / "other.safetensors")
    taken(tmp_path / "out", tmp_path / "other.safetensors")
    assert "training starts over" in capsys.readouterr().err
    found = load_file(tmp_path / "out" / WEIGHTS)["head.bias"]
    assert torch.equal(found, other["head.bias"])


def test_finished_work_is_left_as_it_is(tmp_path, first, monkeypatch):
    taken(tmp_path / "out", first)
    before = tree(tmp_path / "out")
    monkeypatch.setattr(driver, "build", None)
    taken(tmp_path / "out", first)
    assert tree(tmp_path / "out") == before


def test_nothing_to_take_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="recipe pretrained trains no backbone, and cifar_resnet"):
        train_tiny(tmp_path / "out", make_plan(recipe="pretrained"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"training.weights is "):
        taken(tmp_path / "out", tmp_path / "none.pth")


def test_a_folder_without_checkpoint_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="holds no checkpoint"):
        taken(tmp_path / "out", tmp_path / "empty")


def test_weights_of_another_network_are_refused(tmp_path, first):
    part = load_file(first / WEIGHTS)
    del part["head.bias"]
    save_file(part, tmp_path / "part.safetensors")
    with pytest.raises(DataError, match=r"lacks head\.bias"):
        taken(tmp_path / "out", tmp_path / "part.safetensors")


def test_detector_nodes_of_a_file_are_kept(tmp_path):
    plan = make_plan(recipe="bin_disc", epochs=1)
    train_tiny(tmp_path / "first", plan, TinyImages())
    settings = {"num_aux_outputs": 1}
    taken(tmp_path / "taken", tmp_path / "first", recipe_settings=settings)
    backbone, _ = load_checkpoint(tmp_path / "taken")
    assert backbone.head_arrays()["extra_weight"].shape[0] == 1


@pytest.mark.parametrize("inside", ["", WEIGHTS])
def test_weights_that_training_would_replace_are_refused(tmp_path, inside):
    out = tmp_path / "out"
    train_tiny(out, make_plan(epochs=1))
    before = tree(out)
    with pytest.raises(ConfigError, match=r"in the folder .* that training writes; copy them"):
        taken(out, out / inside)
    assert tree(out) == before


@pytest.mark.parametrize("kind", ["folder", "safetensors", "pth", "headless"])
def test_weights_for_other_classes_start_with_a_fresh_head(tmp_path, first, capsys, kind):
    state = load_file(first / WEIGHTS)
    source = first
    if kind != "folder":
        source = tmp_path / f"net.{kind}"
        if kind == "headless":
            state = {name: state[name] for name in state if not name.startswith("head.")}
        (save_file if kind == "safetensors" else torch.save)(state, source)
    slow = {"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    plan = make_plan(recipe="bin_disc", weights=str(source), **slow)
    train_tiny(tmp_path / "out", plan)
    said = capsys.readouterr().err
    reason = "it holds no head" if kind == "headless" else "its head has 3 outputs"
    assert said.count("the head starts afresh") == 1
    assert reason in said
    end = load_file(tmp_path / "out" / WEIGHTS)
    assert end["head.weight"].shape == (4, 128)
    torch.testing.assert_close(end["stem.0.weight"], state["stem.0.weight"], atol=1e-6, rtol=0)


def test_a_head_that_is_taken_as_it_is_must_fit(tmp_path, first):
    with pytest.raises(
        DataError, match=r"head\.weight is \[3, 128\] in the file and \[4, 128\] here"
    ):
        taken(tmp_path / "out", first, recipe_settings={"num_aux_outputs": 1})


def test_a_head_that_is_made_later_need_not_fit(tmp_path, first):
    state = load_file(first / WEIGHTS)
    state["head.weight"], state["head.bias"] = torch.ones(9, 128), torch.ones(9)
    torch.save(state, tmp_path / "net.pth")
    for seed in (0, 5):
        plan = make_plan(recipe="linear_probe", weights=str(tmp_path / "net.pth"), seed=seed)
        train_tiny(tmp_path / f"probe {seed}", plan)
    # What the head starts from is neither the file's nor the seed's.
    assert tree(tmp_path / "probe 0") == tree(tmp_path / "probe 5")
    end = load_file(tmp_path / "probe 0" / WEIGHTS)
    assert end["head.weight"].shape == (3, 128)
    assert torch.equal(end["stem.0.weight"], state["stem.0.weight"])


def test_a_finished_checkpoint_is_found_without_the_file(tmp_path, first):
    """As in a folder of an experiment, where the weights are not copied to."""
    file = tmp_path / "net.pth"
    torch.save(load_file(first / WEIGHTS), file)
    plan = make_plan(recipe="pretrained", weights=str(file))
    sha256 = weights_digest(file)
    train_tiny(tmp_path / "out", plan, weights_sha256=sha256)
    before = tree(tmp_path / "out")
    file.unlink()
    train_tiny(tmp_path / "out", plan, weights_sha256=sha256)
    assert tree(tmp_path / "out") == before
    with pytest.raises(DataError, match=r"net\.pth.*put the file there"):
        train_tiny(tmp_path / "fresh", plan, weights_sha256=sha256)


def test_a_file_that_changed_since_it_was_hashed_is_refused(tmp_path, first):
    file = tmp_path / "net.pth"
    torch.save(load_file(first / WEIGHTS), file)
    sha256 = weights_digest(file)
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"net\.pth.*run the same command again"):
        train_tiny(
            tmp_path / "out",
            make_plan(recipe="pretrained", weights=str(file)),
            weights_sha256=sha256,
        )


def test_an_empty_name_is_refused():
    with pytest.raises(ConfigError, match=r"training\.weights.*null"):
        make_plan(weights="")


@pytest.mark.parametrize(
    ("recipe", "training"),
    [("linear_probe", {}), ("cross_entropy", {"freeze": "backbone", "epochs": 1})],
)
def test_published_weights_for_other_classes_serve_a_frozen_backbone(
    tmp_path, monkeypatch, recipe, training
):
    torch.manual_seed(2)
    net = timm.create_model("test_resnet")
    monkeypatch.setattr(timm_model, "_published", lambda model: net.state_dict())
    settings = {"model": "test_resnet", "pretrained": True, "mean": None, "std": None}
    plan = make_plan(recipe=recipe, **training)
    plan = replace(plan, backbone="timm_model", backbone_settings=settings)
    train_tiny(tmp_path / "out", plan)
    end = load_file(tmp_path / "out" / WEIGHTS)
    assert torch.equal(end["net.conv1.0.weight"], net.state_dict()["conv1.0.weight"])
    assert end["net.fc.weight"].shape[0] == 3
    plan = replace(plan, backbone_settings={**settings, "pretrained": False})
    with pytest.raises(ConfigError, match=r"training\.weights.*timm_model\.pretrained"):
        train_tiny(tmp_path / "none", plan)
