"""Change X, and Y reruns: what each stage depends on, taken from dvc.yaml and the stage `inputs`.

A stage runs again if and only if one of its parameters or the content of one of its dependencies
changed. Here the dependencies are those that come from outside; `test_pipeline.py` runs DVC.
"""

import dataclasses
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ltood.core.errors import ConfigError, DataError
from ltood.networks.checkpoint_files import CheckpointFiles, weights_digest, write_files
from ltood.pipeline import _watched
from ltood.pipeline._code import STAGES, code_of, compared, wanted_extras
from ltood.pipeline._params import Params
from ltood.runtime import source
from ltood.runtime.params import read_params
from ltood.training.plan import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = read_params(ROOT / "dvc.yaml")["stages"]
SCORING = {"calibrate", "score", "normalise", "export", "compare"}
SCORED = {"score", "normalise", "export", "compare"}
AFTER_STORE = {"visualise", "examples", *SCORING}
ALL = set(STAGES)


def content(path: str, params: Params) -> Any:
    """What the stage `inputs` writes to one of its files."""
    name = path.removeprefix("data/work/inputs/").removesuffix(".json")
    if name.startswith("code/"):
        return code_of(name.removeprefix("code/"), params)
    if name == "compare":
        return compared(params)
    watched = {file: describe for file, _, describe in _watched.WATCHED.values()}
    return watched[name](params) if name != "data" else None  # see test_own_data.py


def lookup(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values


def state(params: Params) -> dict[str, dict[str, Any]]:
    """By stage, everything outside of the pipeline that it depends on."""
    found: dict[str, dict[str, Any]] = {}
    for stage, described in PIPELINE.items():
        if stage == "inputs":
            continue
        found[stage] = {}
        for template in described.get("params", []):
            path = re.sub(r"\$\{(\w+)\}", lambda name: params.content[name[1]], template)
            found[stage][path] = lookup(params.content, path)
        for path in described["deps"]:
            if path.startswith("data/work/inputs/"):
                found[stage][path] = content(path, params)
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    assert before.keys() == after.keys() == ALL
    return {stage for stage in before if before[stage] != after[stage]}


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """The code in a folder of its own, which is also the current folder."""
    for package in source.PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.setattr(source, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


#: A file of the code, and the stages that run again when what it does changes. Chosen are the
#: demo, cifar_resnet, cross_entropy and mahalanobis; the leaderboard shows every method.
CODE = [
    ("ltood/__init__.py", set()),
    ("ltood/cli/score.py", set()),
    ("ltood/core/errors.py", set()),
    ("ltood/core/settings.py", ALL),
    ("ltood/core/batches.py", {"examples", *SCORING}),
    ("ltood/core/slots.py", {"examples", *SCORING}),
    ("ltood/runtime/console.py", set()),
    ("ltood/runtime/files.py", set()),
    ("ltood/runtime/devices.py", {"examples", "train", "extract", "adapt", *SCORING}),
    ("ltood/sets/downloads.py", set()),
    ("ltood/sets/catalogue.py", {"prepare"}),
    ("ltood/sets/synthetic.py", set()),
    ("ltood/images/archives.py", {"prepare"}),
    ("ltood/images/longtail.py", {"prepare"}),
    (
        "ltood/images/decoding.py",
        {"examples", "prepare", "train", "extract", "adapt", "visualise", "export"},
    ),
    (
        "ltood/images/prepared.py",
        {"examples", "prepare", "train", "extract", "visualise", "export"},
    ),
    ("ltood/datasets/demo.py", {"prepare"}),
    ("ltood/datasets/folder.py", set()),
    ("ltood/datasets/_outliers.py", {"prepare"}),
    ("ltood/preparing/prepare.py", {"prepare"}),
    ("ltood/preparing/leakage.py", set()),
    ("ltood/preparing/verify_sets.py", set()),
    ("ltood/networks/scaled.py", {"train", "extract", "adapt", "export"}),
    ("ltood/networks/weights.py", {"train"}),
    ("ltood/backbones/cifar_resnet.py", {"train", "extract", "adapt", "export"}),
    ("ltood/backbones/resnet50.py", set()),
    ("ltood/clip/image_tower.py", set()),
    ("ltood/clip/prompts.py", {"adapt"}),
    ("ltood/losses/outlier_exposure.py", set()),
    ("ltood/recipes/cross_entropy.py", {"train", "adapt"}),
    ("ltood/recipes/patt.py", set()),
    ("ltood/training/loop.py", {"train"}),
    ("ltood/training/augmentation/policies.py", {"train"}),
    ("ltood/extraction/extract.py", {"extract"}),
    ("ltood/extraction/perturbed.py", set()),
    ("ltood/core/extras.py", set()),
    ("ltood/store/exchange.py", set()),
    ("ltood/store/features.py", {"extract", "adapt", *AFTER_STORE, "report"}),
    ("ltood/store/adapted.py", {"adapt", *AFTER_STORE, "report"}),
    ("ltood/store/fitted.py", {"examples", *SCORING}),
    ("ltood/store/scores.py", {"examples", "score", "normalise", "evaluate", "compare", "report"}),
    ("ltood/ops/gaussian.py", SCORED),
    ("ltood/ops/neighbours.py", {"compare", "export"}),
    ("ltood/negatives/selection.py", {"adapt"}),
    ("ltood/negatives/building.py", set()),
    ("ltood/negatives/wordnet.py", set()),
    ("ltood/adapting/learning.py", {"adapt"}),
    ("ltood/adapting/negatives.py", {"adapt"}),
    ("ltood/adapting/regions.py", {"visualise"}),
    ("ltood/calibrators/none.py", {"examples", *SCORING}),
    ("ltood/calibrators/patt.py", set()),
    ("ltood/calibrators/logit_adjustment.py", {"compare"}),  # Before members of the ensemble.
    ("ltood/choosing/trial.py", set()),
    ("ltood/methods/mahalanobis.py", SCORED),
    ("ltood/methods/knn.py", {"compare"}),
    ("ltood/normalisers/none.py", {"normalise", "export", "compare"}),
    ("ltood/normalisers/imood.py", set()),
    ("ltood/scoring/run.py", {"score", "normalise"}),
    ("ltood/scoring/session.py", {"examples", *SCORING}),
    ("ltood/metrics/auroc.py", {"examples", "evaluate", "compare", "report"}),
    ("ltood/evaluation/plots.py", {"evaluate"}),
    ("ltood/reporting/tables.py", {"report"}),
    ("ltood/reporting/report.css", {"report"}),
    ("ltood/comparing/running.py", {"compare"}),
    ("ltood/showing/sheet.py", {"examples"}),
    ("ltood/sweeping/searching.py", set()),
    ("ltood/deployment/detector.py", {"export"}),
    ("ltood/exports/parquet.py", set()),
    ("ltood/serving/judge.py", set()),
    ("ltood/runs/comparing.py", set()),
    ("ltood/sharing/pushing.py", set()),
    ("ltood/tables/scheduling.py", set()),
    ("ltood/boards/record.py", set()),
    ("ltood/pipeline/_shell.py", set()),
    ("ltood/library/extract.py", set()),
    ("ltood/pipeline/inputs.py", set()),
    ("ltood/pipeline/_features.py", AFTER_STORE),
    ("ltood/pipeline/train.py", {"train"}),
]


def test_code_reruns_what_runs_it(copy):
    params = Params()
    before = state(params)
    for file, stages in CODE:
        path = copy / file
        text = path.read_text(encoding="utf-8")
        addition = "\nEXTRA = 1\n" if file.endswith(".py") else "\np {}\n"
        path.write_text(text + addition, encoding="utf-8")
        assert changed(before, state(params)) == stages, file
        path.write_text(text, encoding="utf-8")
    assert changed(before, state(params)) == set()


def test_every_room_stands_in_the_table():
    rooms = {path.parent.name for path in (ROOT / "ltood").glob("*/__init__.py")}
    assert {Path(file).parts[1] for file, _ in CODE if file.startswith("ltood/")} >= rooms


#: Parameters by path with another value, and the stages that run again.
PARAMETERS = [
    ({"device": "cpu"}, set()),
    ({"seed": 1}, {"train", "adapt"}),
    ({"training.epochs": 2}, {"train"}),
    ({"training.batch_size": 8}, {"train"}),
    ({"training.amp": "off"}, {"train"}),
    ({"training.checkpoint_minutes": 9.0}, set()),
    ({"training.live": True}, set()),
    ({"training.freeze": "backbone"}, {"train"}),
    ({"training.early_stopping": 5}, {"train"}),
    ({"extraction.dtype": "float16"}, {"extract"}),
    ({"negatives.share": 0.5}, {"adapt"}),
    ({"extraction.extras": ["odin"]}, {"extract"}),
    ({"pooling.kind": "max"}, {"extract", "examples", *SCORING}),
    ({"method": "odin"}, {"extract", "score", "normalise", "export"}),
    ({"compare.methods": ["msp", "adascale"]}, {"extract", "compare"}),
    ({"datasets.demo.imbalance_ratio": 0.5}, {"prepare"}),
    ({"datasets.npz.imbalance_ratio": 0.5}, set()),
    ({"backbones.cifar_resnet.variant": "resnet20"}, {"train"}),
    ({"backbones.resnet50.mean": None}, set()),
    ({"backbone": "wide_resnet"}, {"train", "extract", "adapt", "export"}),
    ({"recipe": "logit_adjustment"}, {"train", "adapt"}),
    ({"recipes.logit_adjustment.tau": 2.0}, set()),
    ({"recipe": "logit_adjustment", "recipes.logit_adjustment.tau": 2.0}, {"train", "adapt"}),
    ({"calibrator": "patt"}, {"examples", *SCORING}),
    ({"calibrators.patt.low": 0.5}, set()),
    ({"method": "himplos"}, {"score", "normalise", "export"}),
    ({"methods.mahalanobis.ridge": 1.0}, {"score", "export", "compare"}),
    ({"methods.knn.k": 10}, {"compare"}),
    ({"method": "knn", "methods.knn.k": 10}, SCORED),
    ({"compare.methods": ["msp"]}, {"compare"}),
    ({"compare.methods": ["msp"], "methods.knn.k": 10}, {"compare"}),
    ({"normaliser": "imood"}, {"normalise", "export", "compare"}),
    ({"export.tpr": 0.9}, {"export"}),
    ({"export.checkpoint": "reference"}, {"export"}),
    ({"report.images": "Mushrooms"}, {"report"}),
    ({"normalisers.imood.tau": 2.0}, set()),
    ({"compare.normalisers": "all"}, {"compare"}),
]


def test_training_depends_on_each_of_its_settings_but_four():
    """Weights count by content; how often a state is saved changes no result."""
    without = {"weights", "checkpoint_epochs", "checkpoint_minutes", "live"}
    listed = {name for name in PIPELINE["train"]["params"] if name.startswith("training.")}
    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    assert listed == {f"training.{name}" for name in fields - without}


@pytest.mark.parametrize(("values", "stages"), PARAMETERS, ids=[str(row[0]) for row in PARAMETERS])
def test_parameters_rerun_what_they_can_change(values, stages, monkeypatch):
    monkeypatch.chdir(ROOT)
    before, after = Params(), Params()
    for path, value in values.items():
        section, _, key = path.rpartition(".")
        found = lookup(after.content, section) if section else after.content
        assert found[key] != value, path
        found[key] = value
    assert changed(state(before), state(after)) == stages


def test_extra_arrays_are_those_of_the_method_the_named_ones_and_their_members(monkeypatch):
    monkeypatch.chdir(ROOT)
    params = Params()
    assert wanted_extras(params) == []  # "all" asks for none.
    params.content["compare"]["methods"] = ["msp", "adascale"]
    assert wanted_extras(params) == ["adascale"]
    params.content["method"] = "ensemble"
    params.content["methods"]["ensemble"]["members"] = ["msp", {"method": "odin"}]
    assert wanted_extras(params) == ["adascale", "odin"]
    params.content["pooling"]["kind"] = "max"
    assert wanted_extras(params) == ["adascale", "odin", "pooling"]
    params.content["extraction"]["extras"] = ["pooling"]
    assert wanted_extras(params) == ["pooling"]


def test_settings_of_what_is_not_compared_do_not_count(monkeypatch):
    monkeypatch.chdir(ROOT)
    before, after = Params(), Params()
    for params in (before, after):
        params.content["compare"]["methods"] = ["msp"]
    after.content["methods"]["knn"]["k"] = 10
    assert changed(state(before), state(after)) == set()


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A workspace with files that parameters may name."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "data/weights").mkdir(parents=True)
    for name in ("start.pt", "other.pt", "names.txt", "rows.csv", "model.json", "w.csv"):
        (tmp_path / "data/weights" / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data/weights"


#: Settings, a file that changes, and the stages that run again.
FILES = [
    ({}, "start.pt", set()),
    ({}, "new.pt", set()),
    ({"training.weights": "start.pt"}, "start.pt", {"train"}),
    ({"training.weights": "start.pt"}, "other.pt", set()),
    ({"backbone": "clip", "backbones.clip.model": "model.json"}, "model.json", {"train"}),
    ({"recipe": "coop", "recipes.coop.class_names": "names.txt"}, "names.txt", {"adapt"}),
    ({"recipe": "locoop", "recipes.locoop.rows": "rows.csv"}, "rows.csv", {"adapt"}),
    ({"recipe": "coop", "negatives.words": "w.csv"}, "w.csv", {"adapt"}),
    ({"recipes.coop.class_names": "names.txt"}, "names.txt", set()),
]


@pytest.mark.parametrize(("values", "file", "stages"), FILES)
def test_files_rerun_what_reads_them(weights, values, file, stages):
    params = Params()
    for path, value in values.items():
        section, _, key = path.rpartition(".")
        named = f"data/weights/{value}" if "." in value else value
        (lookup(params.content, section) if section else params.content)[key] = named
    before = state(params)
    (weights / file).write_text("changed")
    assert changed(before, state(params)) == stages


def test_moved_weights_of_the_same_content_are_the_same(weights):
    params, moved = Params(), Params()
    params.content["training"]["weights"] = "data/weights/start.pt"
    moved.content["training"]["weights"] = "data/weights/moved.pt"
    shutil.copy(weights / "start.pt", weights / "moved.pt")
    assert _watched.weights(params) == _watched.weights(moved)


def test_bundled_class_names_are_no_file(weights):
    params = Params()
    params.content["recipe"] = "coop"
    params.content["recipes"]["coop"]["class_names"] = "imagenet"
    assert _watched.texts(params) == {"class_names": None, "rows": None}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"training.weights": "data/weights/none.pt"}, r"training\.weights is 'data/weights/none"),
        ({"training.weights": "data/weights"}, r"training\.weights"),
        ({"recipe": "coop", "recipes.coop.class_names": "none.txt"}, r"coop\.class_names"),
        ({"recipe": "coop", "negatives.words": "none.csv"}, r"negatives\.words is 'none"),
        ({"backbone": "clip", "backbones.clip.model": "none.json"}, r"clip\.model is 'none"),
    ],
)
def test_missing_files_are_named_with_their_setting(weights, values, key):
    params = Params()
    for path, value in values.items():
        section, _, last = path.rpartition(".")
        (lookup(params.content, section) if section else params.content)[last] = value
    describe = _watched.texts if "recipe" in values else _watched.weights
    with pytest.raises(DataError, match=key):
        describe(params)


def test_words_need_a_head_from_text(weights):
    params = Params()
    params.content["negatives"]["words"] = "data/weights/w.csv"
    with pytest.raises(ConfigError, match=r"negatives\.words .*cross_entropy"):
        _watched.texts(params)


def test_a_damaged_checkpoint_folder_is_refused(weights):
    (weights / "checkpoint.json").write_text("[" * 5000)
    params = Params()
    params.content["training"]["weights"] = "data/weights"
    with pytest.raises(DataError, match="damaged"):
        _watched.weights(params)


def test_a_checkpoint_folder_counts_by_what_training_takes_from_it(weights):
    found = []
    for extras in (b"", b"learned"):
        folder = weights / f"earlier{len(extras)}"
        folder.mkdir()
        write_files(folder, CheckpointFiles({}, b"weights", extras, b"epoch,loss\n"))
        params = Params()
        params.content["training"]["weights"] = f"data/weights/{folder.name}"
        found.append(_watched.weights(params)["weights"])
        assert found[-1] == weights_digest(folder)  # which training compares with it
    assert found[0] != found[1]
