"""A small CLIP through the whole pipeline: images to a table, and what is encoded once."""

import json
import shutil
from pathlib import Path

import pytest

from ltood.negatives import WordList
from ltood.store.adapted import read_adapted
from ltood.store.features import FeatureStore
from ltood.store.regions import read_regions
from ltood.tables.small_clip import make
from tests.pipeline.in_process import Stages
from tests.pipeline.workspace import AFTER_EXTRACT, AFTER_SCORE, ROOT, STAGES

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
#: DVC asks the train stage, which finds its weights as they were: nothing is encoded again.
AFTER_RECIPE = {"train", "adapt", "visualise", "calibrate", "score", "normalise", "export"}
SMALL = [f"recipes.coop.{setting}" for setting in ("n_ctx=4", "epochs=2", "shots=4")]


class Repository(Stages):
    """Settings, a link to the demo, and weights of a small CLIP."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        (path / "data").mkdir(parents=True)
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(ROOT / name, path)
        (path / "data/demo").symlink_to(ROOT / "data/demo")
        make(path / "data/weights", steps=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Repository:
    # The demo is found from the current folder, also by what makes the CLIP.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        repository = Repository(tmp_path_factory.mktemp("clip") / "own folder é")
        patch.chdir(repository.path)
        assert repository.changed(*SETTINGS) == set(STAGES)
    return repository


@pytest.fixture
def repository(made, monkeypatch) -> Repository:
    monkeypatch.chdir(made.path)
    return made


def head():
    return read_adapted(Path("data/work/head"))


def chunks() -> dict[Path, int]:
    """When each file of the feature store was written."""
    found = Path("data/work/features.zarr").rglob("*")
    return {path: path.stat().st_mtime_ns for path in found if path.is_file()}


def test_images_to_a_table_of_scores(repository):
    store = FeatureStore.open(Path("data/work/features.zarr"))
    assert store.split("train_views").array_spec("local").shape == (2, 16, 64)
    assert store.split("ood_mnist").arrays == ["features", "ids", "labels", "local"]
    assert store.provenance["preprocessing"]["grid"] == [4, 4]
    assert head().arrays["weight"].shape == (8, 64)
    metrics = json.loads(Path("results/metrics.json").read_text())
    assert 0 < metrics["mean"]["auroc"] < 1
    report = Path("results/report.html").read_text()
    assert report.count('src="data:image/png;base64,') == 1


def test_another_score_asks_neither_for_images_nor_for_another_head(repository):
    before = head().arrays
    assert repository.changed("method=mcm") == set(AFTER_SCORE)
    assert all((head().arrays[name] == before[name]).all() for name in before)


def test_other_prompts_are_learned_from_the_features_that_are_there(repository):
    written, before = chunks(), head().arrays
    # The train stage finds its weights as they were; no image is encoded.
    weights = "recipes.locoop.entropy_weight=4", "recipes.locoop.topk=1"
    assert repository.changed(*weights, last="visualise") == {"train", "adapt", "visualise"}
    weighted = head().arrays
    assert weighted["context"].shape == before["context"].shape == (4, 64)
    assert (weighted["context"] != before["context"]).any()
    assert read_regions(Path("data/work/regions")).topk == 1
    words = "recipes.locoop.n_ctx=5", "recipes.locoop.position=front"
    assert repository.changed(*words, last="adapt") == {"train", "adapt"}
    assert head().arrays["context"].shape == (5, 64)
    assert chunks() == written


def test_each_kind_of_head_from_text_is_made_of_the_same_features(repository):
    """Negative labels join the head of the prompts, and change nothing of it."""
    words = WordList("neglabel", (("lamp", "noun"), ("sea", "noun"), ("blue", "adjective")))
    Path("words.csv").write_text(words.to_text())
    written, names, metrics = chunks(), head().class_names, []
    for overrides, last, expected in (
        (["recipe=zero_shot"], "evaluate", AFTER_RECIPE | {"evaluate"}),
        (["recipe=coop", *SMALL], "evaluate", AFTER_RECIPE | {"evaluate"}),
        (["recipes.coop.n_ctx=5", "recipes.coop.position=front"], "evaluate",
         AFTER_RECIPE | {"evaluate"}),
        (["negatives.words=words.csv", "negatives.share=0.5", "method=neglabel"], None,
         set(AFTER_EXTRACT)),
    ):  # fmt: skip
        assert repository.changed(*overrides, last=last) == expected, overrides
        assert head().class_names == names
        found = json.loads(Path("results/metrics.json").read_text())
        metrics.append((found["id"]["accuracy"], found["mean"]["auroc"]))
    assert len(set(metrics[:3])) == 3
    assert metrics[3][0] == metrics[2][0]
    assert head().arrays["negative_weight"].shape == (2, 64)
    assert not Path("data/work/adapting/state").exists()
    assert chunks() == written


def test_a_forgotten_file_is_named(repository, capsys):
    Path("data/weights/small_clip.json").unlink()
    with pytest.raises(SystemExit):
        repository.repro()
    assert "backbones.clip.model is 'data/weights/small_clip.json'" in capsys.readouterr().err
