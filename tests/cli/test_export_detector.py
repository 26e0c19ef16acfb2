import json

import pytest


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
