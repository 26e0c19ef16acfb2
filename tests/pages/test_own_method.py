"""docs/how-to/own-method.md: every block of it, in a new repository."""

import shutil
import sys

import numpy as np
import pytest

from ltood.core.registry import load
from tests.pages.running import run_page
from tests.pipeline.workspace import ROOT


@pytest.fixture
def repository(features):
    """A folder with params.yaml and a store of features."""
    shutil.copy(ROOT / "params.yaml", features.parent)
    yield features.parent
    sys.modules.pop("ltood.methods.mean_distance", None)


def test_the_page(repository, monkeypatch, capsys):
    run_page("how-to/own-method.md", monkeypatch)
    assert "power" in capsys.readouterr().out
    assert "  mean_distance:\n    power: 1.0\n" in (repository / "params.yaml").read_text()
    assert (repository / "board/leaderboard.md").is_file()
    assert (repository / "detector.safetensors").is_file()


def test_what_the_page_promises_of_its_contract(repository, monkeypatch):
    """The file of the page under the contract that shipped methods keep."""
    from tests.pages.running import BLOCKS, DOCS

    block = BLOCKS((DOCS / "how-to/own-method.md").read_text())[0]
    (repository / "methods").mkdir()
    (repository / block.title).write_text(block.text)
    method = load("methods", "mean_distance").Entry()
    train = np.random.default_rng(1).normal(size=(40, 6))
    method.fit(train, np.arange(40) % 2)
    twin = type(method)().restore(method.state())
    np.testing.assert_array_equal(twin.score(train), method.score(train))
