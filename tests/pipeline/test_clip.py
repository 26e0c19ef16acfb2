"""A small CLIP through the whole pipeline: from the demo's images to a GL-MCM table."""

import json
import re
import sys

import pytest

from ltood.store.adapted import read_adapted
from ltood.store.features import FeatureStore
from ltood.store.regions import read_regions
from tests.pipeline.workspace import AFTER_SCORE, ROOT, STAGES, Workspace

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
    workspace = Workspace(tmp_path_factory.mktemp("clip") / "copy", lambda content: None)
    folder = workspace.path / "data/weights"
    run = f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    workspace.run(sys.executable, "-c", run, str(folder), "--steps", "3")  # with the copy's code
    assert {path.name for path in folder.iterdir()} >= {"small_clip.json", "small_clip.safetensors"}
    return workspace


def arrays_of(workspace):
    return read_adapted(workspace.path / "data/work/head").arrays


@pytest.mark.timeout(900)
def test_images_to_a_table_of_scores(workspace):
    assert workspace.changed(*SETTINGS) == STAGES
    store = FeatureStore.open(workspace.path / "data/work/features.zarr")
    assert store.split("train_views").array_spec("local").shape == (2, 16, 64)
    assert store.split("ood_mnist").arrays == ["features", "ids", "labels", "local"]
    assert store.provenance["preprocessing"]["grid"] == [4, 4]
    head = read_adapted(workspace.path / "data/work/head")
    assert head.arrays["weight"].shape == (8, 64)
    metrics = json.loads((workspace.path / "results/metrics.json").read_text())
    assert 0 < metrics["mean"]["auroc"] < 1
    report = (workspace.path / "results/report.html").read_text()
    assert report.count('src="data:image/png;base64,') == 1


@pytest.mark.timeout(600)
def test_another_score_asks_neither_for_images_nor_for_another_head(workspace):
    before = arrays_of(workspace)
    assert workspace.changed("method=mcm") == AFTER_SCORE
    assert all((arrays_of(workspace)[name] == before[name]).all() for name in before)


@pytest.mark.timeout(900)
def test_other_prompts_are_learned_from_the_features_that_are_there(workspace):
    chunks = sorted((workspace.path / "data/work/features.zarr").rglob("*"))
    written = [path.stat().st_mtime_ns for path in chunks]
    before = arrays_of(workspace)
    # The train stage finds its weights as they were; no image is encoded.
    weights = "recipes.locoop.entropy_weight=4", "recipes.locoop.topk=1"
    assert workspace.changed(*weights, upto=("visualise",)) == ["train", "adapt", "visualise"]
    weighted = arrays_of(workspace)
    assert weighted["context"].shape == before["context"].shape == (4, 64)
    assert (weighted["context"] != before["context"]).any()
    assert read_regions(workspace.path / "data/work/regions").topk == 1
    words = "recipes.locoop.n_ctx=5", "recipes.locoop.position=front"
    assert workspace.changed(*words, upto=("adapt",)) == ["train", "adapt"]
    assert arrays_of(workspace)["context"].shape == (5, 64)
    assert [path.stat().st_mtime_ns for path in chunks] == written


@pytest.mark.timeout(600)
def test_a_forgotten_file_is_named(workspace):
    (workspace.path / "data/weights/small_clip.json").unlink()
    done = workspace.run("dvc", "repro", check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "backbones.clip.model is 'data/weights/small_clip.json'" in said
    assert re.findall(r"Running stage '(\w+)'", done.stdout) == ["inputs"]
    assert "Traceback" not in said
