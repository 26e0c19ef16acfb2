"""`dvc exp run -S key=value` on pages: DVC reads it, the key exists, its entry takes it."""

import copy
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from ruamel.yaml import YAML

from ltood.core.registry import load
from ltood.core.settings import parse
from ltood.extraction.config import ExtractionConfig
from ltood.negatives import NegativesConfig
from ltood.pipeline._params import PACKAGES
from ltood.training.plan import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALL_CLIP = ROOT / "tests/backbones/small_clip.json"
SECTIONS = {
    "training": TrainingConfig,
    "negatives": NegativesConfig,
    "extraction": ExtractionConfig,
}


def runs(text):
    """Settings of each `dvc exp run` in fenced blocks, as pairs of key and text."""
    for block in re.findall(r"```[a-z]*\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.findall(r"dvc exp run (.*?)(?:;|$)", line):
                words = shlex.split(command.replace("$seed", "1"), comments=True)
                found = [word for before, word in pairwise(words) if before == "-S"]
                # A list with an ellipsis is for the reader to fill in.
                yield [word.partition("=")[::2] for word in found if "..." not in word]


def check(settings, params):
    """Apply settings to a copy of params.yaml's content, and parse what they touch."""
    yaml = YAML(typ="safe")
    touched = set()
    for key, given in settings:
        override = OverridesParser.create().parse_override(f"{key}={given}")  # as DVC does
        if override.is_sweep_override():  # A grid: each of its values is taken.
            for value in override.sweep_string_iterator():
                check([(key, value)], copy.deepcopy(params))
            continue
        *parents, last = key.split(".")
        section = params
        for parent in parents:
            assert parent in section, key
            section = section[parent]
        assert last in section, key
        # A script makes this file; the tests' own is of the same kind.
        text = given.replace("data/weights/small_clip.json", str(SMALL_CLIP))
        section[last] = yaml.load(text)
        if parents:
            touched.add(tuple(parents[:2]))
    for key, package in PACKAGES.items():
        name = params[key]
        config = load(package, name).Config  # the name is that of an entry
        if (package, name) in touched:
            parse(params[package][name], config, f"{package}.{name}")
    for package, *names in touched:
        for name in names:
            parse(params[package][name], load(package, name).Config, f"{package}.{name}")
        if package in SECTIONS:
            parse(params[package], SECTIONS[package], package)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if list(runs(page.read_text("utf-8")))], ids=lambda p: p.name
)
def test_settings_exist_and_are_taken(page, params):
    for settings in runs(page.read_text(encoding="utf-8")):
        check(settings, copy.deepcopy(params))


@pytest.mark.parametrize(
    "bad", ["methods.knn.nothing=1", "methods.knn.k=0", "training.epochs=-1", "method=nothing"]
)
def test_a_wrong_setting_is_found(bad, params):
    from ltood.core.errors import LtoodError

    [settings] = runs(f"```\ndvc exp run -S {bad}\n```")
    with pytest.raises((AssertionError, LtoodError)):
        check(settings, copy.deepcopy(params))


def test_braces_without_quotes_are_found(params):
    key = "recipes.zero_shot.templates"
    [bare, quoted] = runs(
        f"```\ndvc exp run -S '{key}=the {{}}'\ndvc exp run -S \"{key}='the {{}}'\"\n```"
    )
    check(quoted, copy.deepcopy(params))
    with pytest.raises(HydraException):
        check(bare, copy.deepcopy(params))
