"""params.schema.json is that of this version, passes params.yaml and refuses broken ones."""

import copy
import json

import pytest
from jsonschema import Draft7Validator

from ltood.cli.schema import FILE
from tests.pipeline.workspace import ROOT


@pytest.fixture(scope="module")
def validator():
    return Draft7Validator(json.loads((ROOT / FILE).read_text(encoding="utf-8")))


def test_the_shipped_schema_is_up_to_date(ltood):
    ltood("schema", "--check", "--out", ROOT / FILE)


def test_a_schema_is_written_and_compared(ltood, tmp_path):
    path = tmp_path / "a.json"
    assert str(path) in ltood("schema", "--check", "--out", path, code=1).stderr
    ltood("schema", "--out", path)
    assert path.read_bytes() == (ROOT / FILE).read_bytes()
    path.write_text(path.read_text(encoding="utf-8").replace("knn", "nnk"), encoding="utf-8")
    assert str(path) in ltood("schema", "--check", "--out", path, code=1).stderr


def test_params_yaml_names_it_and_passes(validator, params):
    Draft7Validator.check_schema(validator.schema)
    first = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={FILE}"
    assert list(validator.iter_errors(params)) == []


def test_settings_of_an_experiment_of_ones_own_pass(validator, params):
    assert validator.is_valid({**params, "mine": {"anything": [1]}})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("method", "knnn"),
        ("dataset", None),
        ("backbone", 18),
        ("seed", -1),
        ("seed", "0"),
        ("device", "gpu"),
        ("training", []),
        ("training.epochs", 0),
        ("training.optimiser", "sgdm"),
        ("training.learning_rate", 0),
        ("training.learning_rate", float("inf")),
        ("training.milestones.1", 0),
        ("extraction.dtype", "float64"),
        ("compare.methods", "knn"),
        ("compare.methods", []),
        ("compare.normalisers", ["none", "none"]),
        ("methods.knn.k", 0),
        ("methods.knn.k", 2.5),
        ("methods.himplos.percentile", 101),
        ("methods.himplos.clip", "automatic"),
        ("calibrators.patt.rho", "real"),
        ("normalisers.imood.official_sign", "no"),
        ("backbones.clip.local", 1),
        ("datasets.folder.imbalance_ratio", 0),
    ],
)
def test_a_broken_value_is_found_where_it_is(validator, params, path, value):
    *above, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    broken = copy.deepcopy(params)
    place = broken
    for key in above:
        place = place[key]
    place[last] = value
    [error] = validator.iter_errors(broken)
    assert list(error.absolute_path) == [*above, last]


@pytest.mark.parametrize(
    ("path", "key"),
    [("", "method"), ("", "training"), ("methods.knn", "K"), ("training", "epoch"),
     ("recipes", "my_recipe"), ("compare", "recipes")],
)  # fmt: skip
def test_missing_and_unknown_keys_are_named(validator, params, path, key):
    broken = copy.deepcopy(params)
    place = broken
    for name in filter(None, path.split(".")):
        place = place[name]
    if path:
        place[key] = None
    else:
        del place[key]
    [error] = validator.iter_errors(broken)
    assert list(error.absolute_path) == list(filter(None, path.split(".")))
    assert repr(key) in error.message
