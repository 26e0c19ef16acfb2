import pickle
import sys

import pytest
import torch

from ltood.core.errors import ConfigError, UnknownNameError
from ltood.core.registry import available, check_name, flag, load, summary
from ltood.pipeline._code import code_of
from ltood.pipeline._params import Params
from tests.pipeline.workspace import ROOT

METHOD = '''"""Norm: length of the feature, negated.

Source: a test.
"""

from dataclasses import dataclass

from ltood.core.settings import Settings
from ltood.core.slots import Method

from ltood.methods._sign import SIGN


@dataclass(frozen=True)
class Config(Settings):
    """No settings."""


class Norm(Method[Config]):
    """Negated feature norm."""

    arrays = ("features",)

    def _score(self, batch):
        return SIGN * batch.features.norm(dim=1)


Entry = Norm
'''


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a method of its own, and the current directory."""
    (tmp_path / "params.yaml").write_text("method: norm\n")
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "norm.py").write_text(METHOD)
    (folder / "_sign.py").write_text("SIGN = -1\n")
    (folder / "test_norm.py").write_text("")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("ltood.methods.")]:
        if not (ROOT / "ltood/methods" / f"{name.split('.')[2]}.py").is_file():
            del sys.modules[name]


def test_it_is_found_and_used_by_name(repository):
    import ltood

    assert {"norm", "knn"} <= set(available("methods"))
    assert not {"test_norm", "_sign"} & set(available("methods"))
    assert summary("methods", "norm") == "Norm: length of the feature, negated."
    assert not flag("methods", "norm", "ADAPTS_HEAD")
    method = ltood.method("norm")
    assert method.score(torch.tensor([[3.0, 4.0]])).tolist() == [-5.0]
    assert type(pickle.loads(pickle.dumps(method))) is type(method)


def test_it_counts_only_beside_params_yaml(repository, monkeypatch):
    (repository / "params.yaml").unlink()
    assert "norm" not in available("methods")
    (repository / "params.yaml").touch()
    monkeypatch.chdir(repository / "methods")
    with pytest.raises(UnknownNameError, match="norm"):
        load("methods", "norm")


def test_that_of_another_folder_is_another_one(repository, tmp_path_factory, monkeypatch):
    first = load("methods", "norm")
    assert load("methods", "norm") is first
    other = tmp_path_factory.mktemp("other")
    (other / "methods").mkdir()
    (other / "params.yaml").touch()
    (other / "methods/norm.py").write_text(METHOD)
    (other / "methods/_sign.py").write_text("SIGN = 1\n")
    monkeypatch.chdir(other)
    assert load("methods", "norm").SIGN == 1
    monkeypatch.chdir(repository)
    assert load("methods", "norm").SIGN == -1


def test_a_script_that_lies_there_is_no_entry_until_it_is_named(repository):
    (repository / "methods/download.py").write_text("print('anything')\n")
    assert "download" not in available("methods")
    with pytest.raises(ConfigError, match=r"methods/download\.py .*Config"):
        check_name("methods", "download")


@pytest.mark.parametrize("name", ["x" * 10_000, "../methods/norm", "", ".", "no/such"])
def test_a_name_that_cannot_be_a_file_is_unknown(repository, name):
    with pytest.raises(UnknownNameError):
        check_name("methods", name)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("knn", METHOD, "methods/knn.py"),
        ("my-norm", METHOD, "my-norm"),
        ("other", "def f(:\n", "methods/other.py, line 1"),
        ("other", "class Entry: ...", "Config"),
        ("other", "class Config: ...", "Entry"),
    ],
)
def test_what_cannot_be_an_entry_is_refused_before_it_runs(repository, name, text, said):
    (repository / "methods" / f"{name}.py").write_text(text)
    with pytest.raises(ConfigError, match=said):
        check_name("methods", name)


def test_its_code_counts_in_the_digest(repository):
    text = "method: norm\ncalibrator: none\nnormaliser: none\n"
    (repository / "params.yaml").write_text(text)

    def modules():
        return code_of("score", Params())["modules"]

    first = modules()
    assert {"ltood.methods.norm", "ltood.methods._sign"} <= first.keys()
    (repository / "methods/_sign.py").write_text("# The sign.\nSIGN = -1\n")
    assert modules() == first
    (repository / "methods/_sign.py").write_text("SIGN = -2\n")
    changed = modules()
    assert {name for name in first if changed[name] != first[name]} == {"ltood.methods._sign"}


def test_the_schema_of_settings_knows_it(repository):
    from ltood.cli.schema import params_schema

    known = params_schema()["properties"]
    assert "norm" in known["method"]["enum"]
    assert (
        known["methods"]["properties"]["norm"]["description"]
        == "Norm: length of the feature, negated."
    )
