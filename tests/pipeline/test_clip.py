"""A small CLIP through the whole pipeline: from the demo's images to a GL-MCM table."""

import json
import sys

import pytest

from ltood.store.adapted import read_adapted
from ltood.store.features import FeatureStore
from tests.pipeline.test_pipeline import ALL, ROOT, Workspace

SCRIPT = ROOT / "benchmarks" / "make_small_clip.py"
SETTINGS = [
    "backbone=clip",
    "backbones.clip.model=data/weights/small_clip.json",
    "backbones.clip.views=2",
    "training.weights=data/weights/small_clip.safetensors",
    "recipe=locoop",
    "recipes.locoop.n_ctx=4",
    "recipes.locoop.epochs=1",
    "recipes.locoop.shots=2",
    "method=gl_mcm",
    "compare.methods=[mcm,gl_mcm]",
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("clip") / "copy")
    folder = workspace.path / "data/weights"
    workspace.run(sys.executable, str(SCRIPT), str(folder), "--steps", "3")
    assert {path.name for path in folder.iterdir()} >= {"small_clip.json", "small_clip.safetensors"}
    return workspace


@pytest.mark.timeout(900)
def test_images_to_a_table_of_scores(workspace):
    assert workspace.experiment(*SETTINGS) == ALL
    store = FeatureStore.open(workspace.path / "data/work/features.zarr")
    assert store.split("train_views").array_spec("local").shape == (2, 16, 64)
    assert store.split("ood_mnist").arrays == ["features", "ids", "labels", "local"]
    assert store.provenance["preprocessing"]["grid"] == [4, 4]
    head = read_adapted(workspace.path / "data/work/head")
    assert head.arrays["weight"].shape == (10, 64)
    metrics = json.loads((workspace.path / "results/metrics.json").read_text())
    assert 0 < metrics["mean"]["auroc"] < 1
    # Another score asks neither for images nor for another head.
    done = workspace.experiment("method=mcm")
    assert done == ["score", "normalise", "evaluate", "report"]


@pytest.mark.timeout(600)
def test_a_forgotten_file_is_named(workspace):
    (workspace.path / "data/weights/small_clip.json").unlink()
    done = workspace.run("dvc", "repro", check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "small_clip.json', which is no configuration of a CLIP model" in said
    assert "Traceback" not in said
