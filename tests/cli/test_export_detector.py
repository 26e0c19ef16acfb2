import dataclasses
import json

import pytest

from ltood.deployment.files import load_detector
from ltood.deployment.images import Embedder
from ltood.store.adapted import write_adapted
from tests.deployment.detector_samples import make_image_samples


@pytest.fixture
def export(ltood, store, tmp_path):
    """Export a detector of the store, with more options."""

    def run(*options, code=0):
        arguments = ("--store", store, "--out", tmp_path / "d.safetensors", "--device", "cpu")
        return ltood("export-detector", *arguments, *options, code=code)

    return run


def test_the_rows_that_set_the_threshold_are_named(export):
    said = export("--method", "energy").stdout
    assert "of the 30 rows of val (score <= threshold is ID)" in said


def test_settings_are_recorded(export, tmp_path):
    export("--method", "energy", "--set", "temperature=2")
    description = json.loads((tmp_path / "d.json").read_text())
    assert description["method"]["settings"] == {"temperature": 2.0}


def test_an_older_detector_is_not_replaced(export, tmp_path):
    export("--method", "energy")
    before = (tmp_path / "d.safetensors").read_bytes()
    assert "exists already" in export("--method", "msp", code=1).stderr
    assert (tmp_path / "d.safetensors").read_bytes() == before


def test_the_nearest_name_is_proposed(export, tmp_path):
    assert "Did you mean energy" in export("--method", "enrgy", code=1).stderr
    assert list(tmp_path.iterdir()) == []


PARAMS = """
method: knn
methods: {knn: {k: 7}, msp: {temperature: 2}}
calibrator: none
calibrators: {none: {}}
normaliser: none
normalisers: {none: {}}
export: {tpr: 0.8, examples: 6}
"""


@pytest.fixture
def pipeline(tmp_path, monkeypatch, store):
    """A folder with settings, and features where its stages keep them."""
    folder = tmp_path / "my pipeline ä"
    (folder / "data" / "work").mkdir(parents=True)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "data" / "work" / "features.zarr").symlink_to(store)
    write_adapted(folder / "data" / "work" / "head", None)
    monkeypatch.chdir(folder)
    return folder


def slots_of(path):
    said = json.loads(path.with_suffix(".json").read_text())
    return said, {slot: said[slot]["name"] for slot in ("method", "calibrator", "normaliser")}


def test_without_a_method_the_pipeline_s_slots_and_settings_count(ltood, pipeline):
    ltood("export-detector", "--out", "d.safetensors", "--device", "cpu")
    said, names = slots_of(pipeline / "d.json")
    assert names == {"method": "knn", "calibrator": "none", "normaliser": "none"}
    assert said["method"]["settings"]["k"] == 7
    assert (said["threshold"]["tpr"], said["examples"]["rows"]) == (0.8, 6)


def test_options_change_what_the_pipeline_says(ltood, pipeline, store):
    common = ("export-detector", "--out", "d.safetensors", "--device", "cpu", "--overwrite")
    ltood(*common, "--set", "k=3", "--tpr", "0.9", "--store", store)
    said, _ = slots_of(pipeline / "d.json")
    assert (said["method"]["settings"]["k"], said["threshold"]["tpr"]) == (3, 0.9)
    # A method that is named stands alone, as it did.
    ltood(*common, "--method", "msp")
    said, names = slots_of(pipeline / "d.json")
    assert names == {"method": "msp", "calibrator": "none", "normaliser": "none"}
    assert said["method"]["settings"]["temperature"] == 1
    assert said["threshold"]["tpr"] == 0.95


def test_another_pooling_of_the_pipeline_is_not_passed_over(ltood, pipeline):
    params = pipeline / "params.yaml"
    params.write_text(params.read_text() + "pooling: {kind: max}\n")
    said = ltood("export-detector", "--out", "d.safetensors", code=1).stderr
    assert "pooling/max" in said
    assert not (pipeline / "d.json").exists()


@pytest.mark.parametrize("given", [[], ["--published", "cifar10-densenet"]])
def test_without_a_pipeline_the_method_is_asked_for(export, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    said = export(*given, code=1).stderr
    assert "--method" in said
    assert said.count("\n") == 1


def test_the_network_is_put_beside_the_detector(ltood, tmp_path):
    samples = make_image_samples(tmp_path / "samples")
    common = ("--method", "energy", "--device", "cpu", "--out", tmp_path / "d.safetensors")
    stored = ("--store", tmp_path / "samples" / "features.zarr")
    told = ltood("export-detector", *common, *stored, "--checkpoint", samples.checkpoint).stdout
    assert "d.network" in told
    said = ltood("predict", tmp_path / "d.safetensors", samples.folder, "--format", "jsonl").stdout
    assert len(said.splitlines()) == 3
    detector = load_detector(tmp_path / "d.safetensors", "cpu")
    assert dataclasses.astuple(Embedder.open(tmp_path / "d.network", detector).spec)[0] == 3


def test_another_network_is_refused(export, tmp_path):
    samples = make_image_samples(tmp_path / "samples")
    said = export("--method", "energy", "--checkpoint", samples.checkpoint, code=1).stderr
    assert str(samples.checkpoint) in said
    assert not (tmp_path / "d.json").exists()
