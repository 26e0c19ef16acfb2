"""Training with every recipe, extraction and adapting on a pretended GPU."""

from collections import Counter

import numpy as np
import pytest
import torch
from image_samples import TinyImages, extract_tiny, make_plan, state_of, train_tiny
from pretended_device import counts as gpu_counts
from pretended_device import pretended_gpu
from safetensors.torch import load_file

from ltood.adapting.learning import Learner
from ltood.adapting.probing import ProbeLearner
from ltood.adapting.rows import training_rows
from ltood.adapting.texts import TextEncoder
from ltood.core.prior import ClassPrior
from ltood.core.registry import available, load
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extract import extract
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.recipes import TrainingRecipe
from ltood.runtime.devices import autocast
from ltood.store.features import FeatureStore
from ltood.training.loop import Run
from ltood.training.train import train
from tests import prompt_samples

CUDA = torch.device("cuda")
TRAINING = [
    name for name in available("recipes") if issubclass(load("recipes", name).Entry, TrainingRecipe)
]
#: Recipes that are trained each time; the others where slow tests are.
GATED = {"cross_entropy", "patt"}
#: Recipes that continue what another one began.
CONTINUES = {"pascl_finetune": "pascl", "eat_finetune": "eat"}
#: Waits of the host in one step, where rows are chosen by what the network says of them.
STEP_WAITS = {"cocl": 5, "eat": 6, "pascl": 3}
EXTRAS = ("adascale", "gram", "layers", "maps", "odin", "pooling")


def images():
    return TinyImages(channels=3, rows=12)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Checkpoints of the first stages."""
    folder = tmp_path_factory.mktemp("begun")
    for name in CONTINUES.values():
        train_tiny(folder / name, make_plan(recipe=name, epochs=1), images())
    return folder


@pytest.fixture
def waits(monkeypatch):
    """Waits of each step of training."""
    found, step = [], Run._step

    def counted(run):
        before = Counter(run.counts.waits)
        done = step(run)
        found.append(run.counts.waits - before)
        return done

    monkeypatch.setattr(Run, "_step", counted)
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=() if x in GATED else pytest.mark.slow) for x in TRAINING],
)
def test_recipes_train_there_as_on_a_cpu(name, begun, waits, monkeypatch, tmp_path):
    given = begun / CONTINUES[name] if name in CONTINUES else None
    weights = {} if given is None else {"weights": str(given)}
    plan = make_plan(recipe=name, epochs=1, batch_size=16, learning_rate=0.01, amp="off", **weights)
    monkeypatch.setattr(Run, "counts", type("None_", (), {"waits": Counter()}), raising=False)
    train_tiny(tmp_path / "cpu", plan, images())
    waits.clear()
    with pretended_gpu() as gpu:
        monkeypatch.setattr(Run, "counts", gpu)
        train(plan, images(), tmp_path / "gpu", "cuda", state_folder=state_of(tmp_path / "gpu"))
        assert not gpu.unordered
    expected, found = (load_file(tmp_path / p / "model.safetensors") for p in ("cpu", "gpu"))
    for key, values in expected.items():
        torch.testing.assert_close(found[key], values, rtol=1e-3, atol=1e-4)
    # The first steps move what is there for all of them.
    assert max(sum(step.values()) for step in waits[1:]) <= STEP_WAITS.get(name, 0), waits[1:]


@pytest.mark.parametrize(
    "kind", ["jitter", "autoaugment", pytest.param("contrast", marks=pytest.mark.slow)]
)
def test_augmentation_does_not_wait(kind, waits, monkeypatch, tmp_path):
    plan = make_plan(epochs=1, batch_size=16, amp="off", augmentation=kind, crop_padding=2)
    with pretended_gpu() as gpu:
        monkeypatch.setattr(Run, "counts", gpu, raising=False)
        train(plan, images(), tmp_path / "gpu", "cuda", state_folder=state_of(tmp_path / "gpu"))
    assert not sum(waits[1:], Counter())


def test_features_and_extra_arrays_are_those_of_a_cpu(begun, tmp_path):
    settings = {"batch_size": 8, "rows_per_chunk": 14, "extras": EXTRAS, "channels_last": False}
    extract_tiny(begun / "pascl", tmp_path / "cpu.zarr", settings, images())
    with pretended_gpu() as gpu:
        config = ExtractionConfig(**settings, amp="off")
        extract(begun / "pascl", images(), tmp_path / "gpu.zarr", config, device_name="cuda")
        assert not gpu.unordered
    expected, found = (FeatureStore.open(tmp_path / f"{place}.zarr") for place in ("cpu", "gpu"))
    assert found.splits == expected.splits
    for name in expected.splits:
        wanted = expected.split(name).load(expected.split(name).arrays)
        for key, values in found.split(name).load(found.split(name).arrays).items():
            np.testing.assert_allclose(values, wanted[key], rtol=1e-3, atol=1e-4, err_msg=key)


def test_extraction_waits_for_no_batch(begun, tmp_path):
    def waits(rows_per_batch):
        settings = {"batch_size": rows_per_batch, "rows_per_chunk": 14}
        with pretended_gpu() as gpu:
            config = ExtractionConfig(**settings, amp="off")
            out = tmp_path / f"{rows_per_batch}.zarr"
            extract(begun / "pascl", images(), out, config, device_name="cuda")
            assert gpu.downloads > 2 * 42 // rows_per_batch
            return gpu.waits

    # What is left belongs to the checkpoint and the head, once in a run.
    assert waits(2) == waits(14)
    assert not any("gathering" in line or "loading" in line for line in waits(7))


def test_logits_of_a_coarse_network_are_those_of_its_features(begun, tmp_path):
    extract_tiny(begun / "pascl", tmp_path / "bf16.zarr", {"amp": "bf16"}, images())
    store = FeatureStore.open(tmp_path / "bf16.zarr")
    rows, head = store.split("test").load(("features", "logits")), store.head_arrays()
    logits = rows["features"] @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(rows["logits"][:, :3], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["cifar_resnet", "mobilenet_v2"])
def test_features_are_pooled_in_float32_whatever_the_network_computes_in(name):
    shape = ImageSpec(3, 64, 64, (0.5,) * 3, (0.3,) * 3, 3)
    backbone = build_backbone(name, {}, shape)
    with torch.no_grad(), autocast(torch.device("cpu"), "bfloat16"):
        features, _ = backbone.eval().embed(torch.rand(4, 3, 64, 64))
    assert features.dtype == torch.float32
    assert (features.bfloat16() != features).float().mean() > 0.3


@pytest.mark.parametrize("name", ["coop", "locoop"])
def test_prompts_are_learned_there_as_on_a_cpu(name, tmp_path, rng):
    names = ["cat", "11 12", "emu"]
    splits = prompt_samples.random_splits(rng, 3, rows=11)
    store = prompt_samples.write_store(tmp_path / "f.zarr", splits, names)
    module = load("recipes", name)
    settings = {"topk": 1} if name == "locoop" else {}
    recipe = module.Entry(
        module.Config(epochs=1, batch_size=4, n_ctx=4, **settings), ClassPrior(np.ones(3))
    )

    def learned(tower):
        encoder = TextEncoder(tower, prompt_samples.vocabulary(), prompt_samples.WEIGHTS)
        rows = training_rows(store, recipe.config, 0, local=recipe.needs_local)
        learner = Learner(recipe, names, encoder, rows, 0)
        for _ in range(learner.steps_per_epoch):
            gpu_counts.reset()
            learner._epoch_step()
        learner.close()
        return learner.context

    expected = learned(prompt_samples.tower())
    with pretended_gpu():
        found = learned(prompt_samples.tower().to(CUDA))
        assert found.is_cuda
        # Of the last step: the losses are read.
        assert sum(gpu_counts.waits.values()) == 1, gpu_counts.waits
    torch.testing.assert_close(found.held, expected, rtol=1e-4, atol=1e-6)


def test_a_head_is_learned_there_as_on_a_cpu(tmp_path, rng):
    splits = prompt_samples.random_splits(rng, 3, rows=11)
    store = prompt_samples.write_store(tmp_path / "f.zarr", splits, ["cat", "dog", "emu"])
    module = load("recipes", "linear_probe")
    recipe = module.Entry(module.Config(epochs=1, batch_size=4), ClassPrior(np.ones(3)))

    def learned(device):
        rows = training_rows(store, recipe.config, 0, local=False)
        learner = ProbeLearner(recipe, 3, rows, 0, device)
        for _ in range(learner.steps_per_epoch):
            learner._epoch_step()
        return learner.arrays()

    expected = learned(torch.device("cpu"))
    with pretended_gpu():
        found = learned(CUDA)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-4, atol=1e-6)
