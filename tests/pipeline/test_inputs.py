"""The stage that looks at everything first: what it refuses, and what it writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ltood.core.errors import ConfigError, MissingNeedError, MissingPackageError
from ltood.pipeline import inputs
from ltood.pipeline._code import STAGES, code_of
from ltood.pipeline._params import Params
from stages.inputs import main
from tests.pipeline.workspace import ROOT, draw


def with_values(values: dict[str, object]) -> Params:
    params = Params()
    for path, value in values.items():
        *sections, key = path.split(".")
        found = params.content
        for section in sections:
            found = found[section]
        found[key] = value
    return params


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"method": "neglabel", "recipe": "zero_shot"}, r"negatives\.words"),
        ({"method": "tanl", "recipe": "zero_shot"}, r"negatives\.words"),
        ({"method": "outlier_class"}, "recipe cross_entropy"),
        ({"method": "bin_disc"}, "recipe cross_entropy"),
        # Its one output is the class of outliers, and no detector node.
        ({"method": "bin_disc", "recipe": "cocl"}, "recipe cocl"),
    ],
)
def test_parts_that_the_head_will_lack_are_refused_before_the_work(values, key, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=key):
        inputs.check(with_values(values))


@pytest.mark.parametrize(
    "values",
    [
        {"method": "neglabel", "recipe": "zero_shot", "negatives.words": "words.csv"},
        {"method": "outlier_class", "recipe": "cocl"},
        {"method": "outlier_class", "methods.outlier_class.outlier_classes": 1},
        {"method": "outlier_class", "recipe": "imood", "recipes.imood.auxiliary": "cocl"},
        {"method": "bin_disc", "recipe": "imood"},
        {
            "method": "outlier_class",
            "recipe": "pretrained",
            "recipes.pretrained.num_aux_outputs": 1,
            "recipes.pretrained.outlier_classes": 1,
        },
    ],
)
def test_parts_that_the_head_will_have_are_not(values, monkeypatch):
    monkeypatch.chdir(ROOT)
    inputs.check(with_values(values))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"training.epochs": -1}, r"training\.epochs"),
        ({"training.optimiser": "adm"}, r"training\.optimiser"),
        ({"training.epoch": 1}, "'epoch'"),
        ({"extraction.dtype": "int8"}, r"extraction\.dtype"),
        ({"extraction.batch_size": 0}, r"extraction\.batch_size"),
        ({"seed": -1}, "seed"),
        ({"device": 1}, "device"),
        ({"dataset": "dmo"}, "Did you mean demo"),
        ({"datasets.demo.imbalance_ratio": 2.0}, r"datasets\.demo\.imbalance_ratio"),
        ({"backbone": "resnet18"}, "No backbone 'resnet18'"),
        ({"backbones.cifar_resnet.variant": "huge"}, r"backbones\.cifar_resnet\.variant"),
        ({"recipe": "locop"}, "Did you mean locoop"),
        ({"recipe": "logit_adjustment", "recipes.logit_adjustment.tau": "x"}, r"adjustment\.tau"),
        ({"calibrator": "pat"}, "Did you mean patt"),
        ({"calibrator": "patt", "calibrators.patt.low": "x"}, r"calibrators\.patt\.low"),
        ({"method": "knnn"}, "Did you mean knn"),
        ({"method": ""}, "No method ''"),
        ({"method": None}, "method is None"),
        ({"method": "knn", "methods.knn.k": "abc"}, r"methods\.knn\.k"),
        ({"methods.knn.k": 0}, r"methods\.knn\.k"),  # on the leaderboard
        ({"normaliser": "Imood"}, "Did you mean imood"),
        ({"normaliser": "imood", "normalisers.imood.tau": "x"}, r"normalisers\.imood\.tau"),
        ({"compare.methods": ["knm"]}, "Did you mean knn"),
        ({"compare.method": ["knn"]}, "'method'"),
        ({"compare.calibrators": []}, r"compare\.calibrators"),
        ({"report.images": " "}, r"report\.images"),
    ],
)
def test_settings_of_every_stage_are_checked(values, words, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=words):
        inputs.check(with_values(values))


def test_names_that_another_package_knows_are_looked_up(monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.chdir(ROOT)
    values = {"backbone": "timm_model", "backbones.timm_model.model": "resnet1818"}
    with pytest.raises(ConfigError, match="Did you mean resnet18"):
        inputs.check(with_values(values))


@pytest.mark.parametrize("values", [{}, {"compare.methods": ["msp"], "methods.knn.k": 0}])
def test_settings_that_no_stage_uses_may_be_anything(values, monkeypatch):
    monkeypatch.chdir(ROOT)
    inputs.check(with_values(values))


ENSEMBLE = {"members": ["knn", "odin"]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"method": "odin", "pooling.kind": "max"}, r"pooling\.kind.*odin"),
        ({"method": "adascale", "pooling.kind": "mean_std"}, r"pooling\.kind.*adascale"),
        (
            {"method": "ensemble", "methods.ensemble": ENSEMBLE, "pooling.kind": "max"},
            r"pooling\.kind.*odin",
        ),
        ({"method": "odin", "extraction.extras": ["pooling"]}, r"extraction\.extras.*odin"),
        ({"pooling.kind": "max", "extraction.extras": ["odin"]}, r"extraction\.extras.*pooling"),
        ({"pooling.kind": "max", "extraction.extras": []}, r"extraction\.extras.*pooling"),
    ],
)
def test_extra_arrays_that_would_be_missing_are_refused_before_the_work(values, words, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=words):
        inputs.check_extras(with_values(values))


@pytest.mark.parametrize(
    "values",
    [
        {"method": "knn", "pooling.kind": "max"},
        {"method": "odin"},
        {"method": "odin", "extraction.extras": ["adascale", "odin"]},
        {"method": "knn", "extraction.extras": []},
        {"pooling.kind": "max", "extraction.extras": ["pooling"]},
    ],
)
def test_extra_arrays_that_will_be_there_are_not(values, monkeypatch):
    monkeypatch.chdir(ROOT)
    inputs.check_extras(with_values(values))


@pytest.fixture
def images_without_val(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            draw(tmp_path / split / name / "1.png", seed=0)
    return tmp_path


def test_early_stopping_without_validation_images_is_refused_before_the_work(
    images_without_val, monkeypatch
):
    monkeypatch.chdir(ROOT)
    values = {
        "training.early_stopping": 3,
        "dataset": "folder",
        "datasets.folder.root": str(images_without_val),
    }
    with pytest.raises(MissingNeedError, match=r"training\.early_stopping.*val"):
        inputs.check(with_values(values))
    # A head from stored features is learned without it.
    inputs.check(with_values(values | {"recipe": "linear_probe"}))
    draw(images_without_val / "val" / "cat" / "1.png", seed=1)
    draw(images_without_val / "val" / "dog" / "1.png", seed=1)
    inputs.check(with_values(values))


def test_a_package_that_the_report_lacks_is_found_before_the_work(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"ltood\[report\]"):
        inputs.check(Params())


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/demo").symlink_to(ROOT / "data/demo")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path) -> dict[str, bytes]:
    root = folder / "data/work/inputs"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.json")}


def test_the_stage_writes_the_same_for_the_same(workspace):
    done = CliRunner().invoke(main)
    assert done.exit_code == 0, done.output
    assert done.output == ""
    first = written(workspace)
    code = {f"code/{stage}.json" for stage in STAGES}
    files = {f"{name}.json" for name in ("data", "weights", "extras", "texts", "compare")}
    assert first.keys() == {*files, *code}
    assert CliRunner().invoke(main).exit_code == 0
    assert written(workspace) == first


def test_what_was_checked_before_is_not_checked_again(workspace, monkeypatch):
    checked = []
    monkeypatch.setattr(inputs, "check", lambda params: checked.append(params.content["seed"]))
    path = workspace / "params.yaml"
    for _ in range(2):
        assert CliRunner().invoke(main).exit_code == 0
    assert checked == [0]
    path.write_text(path.read_text().replace("seed: 0\ndevice", "seed: 1\ndevice"))
    assert CliRunner().invoke(main).exit_code == 0
    assert checked == [0, 1]


@pytest.mark.parametrize(
    ("values", "again"),
    [
        ({"method": "knn"}, False),  # on the leaderboard
        ({"method": "msp", "methods.msp.temperature": 2.0}, True),
        ({"calibrator": "patt"}, True),
        ({"normaliser": "imood"}, True),
        ({"method": "outlier_class"}, True),
        ({"recipe": "locoop"}, True),
        ({"compare.methods": ["msp"]}, True),
        ({"extraction.dtype": "float16"}, True),
    ],
)
def test_entries_are_checked_once_whether_chosen_or_compared(values, again, monkeypatch):
    monkeypatch.chdir(ROOT)
    states = []
    for params in (Params(), with_values(values)):
        code = {stage: code_of(stage, params) for stage in STAGES}
        states.append(inputs.decisive(params, code))
    assert (states[0] != states[1]) == again


def test_a_pair_is_checked_again_with_another_method(workspace):
    """A method that was checked by itself need not suit the normaliser."""
    path = workspace / "params.yaml"
    text = path.read_text().replace("\nnormaliser: none", "\nnormaliser: imood", 1)
    path.write_text(text)
    assert CliRunner().invoke(main).exit_code == 0
    path.write_text(text.replace("\nmethod: mahalanobis", "\nmethod: knn", 1))
    done = CliRunner().invoke(main)
    assert done.exit_code == 1
    assert "normalisers.imood" in done.output


def test_a_bad_setting_is_found_each_time(workspace):
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("k: 50\n", "k: 0\n", 1))
    for _ in range(2):
        done = CliRunner().invoke(main)
        assert done.exit_code == 1
        assert "methods.knn.k" in done.output


def test_missing_data_end_in_one_line(workspace):
    (workspace / "data/demo").unlink()
    done = CliRunner().invoke(main)
    assert done.exit_code == 1
    assert "data/demo" in done.output
    assert done.output.startswith("error: ")


@pytest.mark.parametrize("method", ["mahalanobis", "knn"])
def test_looking_again_needs_no_torch(workspace, method):
    assert CliRunner().invoke(main).exit_code == 0
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("\nmethod: mahalanobis", f"\nmethod: {method}", 1))
    code = (
        "import sys; from ltood.pipeline.inputs import run; run(); "
        "assert not {'torch', 'PIL', 'matplotlib'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workspace, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["sources.json", "checked", "inputs/code/score.json"])
def test_a_pipe_in_the_place_of_what_it_writes_is_named(place, workspace, monkeypatch):
    monkeypatch.setattr(inputs, "check", lambda params: None)
    monkeypatch.setattr("ltood.runtime.source._recalled", {})
    path = workspace / "data/work" / place
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 1
    assert f"error: data/work/{place} is a device or pipe" in result.output
