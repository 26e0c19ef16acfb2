"""Published settings: each file is taken by the settings classes, and says where it comes from."""

import copy
import re
from pathlib import Path

import pytest

from ltood.core.errors import UnknownNameError
from ltood.core.registry import load
from ltood.core.settings import parse, to_section
from ltood.pipeline._params import PACKAGES
from ltood.runtime.params import parse_params, read_params, with_settings
from ltood.tables.settings import FOLDER, SOURCE, complete, names, text_of
from ltood.training.plan import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]
PARAMS = read_params(ROOT / "params.yaml")
every_run = pytest.mark.parametrize("name", names())


def settings_of(name):
    content = parse_params(text_of(name), Path(name))
    return content, content.pop(SOURCE)


def leaves(content, *above):
    for key, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, *above, key)
        else:
            yield (*above, key), value


def at(content, path):
    for key in path:
        content = content[key]
    return content


@every_run
def test_every_setting_exists_and_is_taken(name):
    content, _ = settings_of(name)
    merged = complete(content)
    for path, value in leaves(content):
        assert at(PARAMS, path) != {}, path  # the setting exists in params.yaml
        assert at(merged, path) == value, path
    for key, package in PACKAGES.items():
        chosen = content[key]
        section = {**PARAMS[package][chosen], **merged.get(package, {}).get(chosen, {})}
        parse(section, load(package, chosen).Config, f"{package}.{chosen}")
    assert {section for section in merged if isinstance(merged[section], dict)} <= {
        "training",
        *PACKAGES.values(),
    }


@every_run
def test_only_sections_of_what_is_chosen_are_set(name):
    content, _ = settings_of(name)
    for key, package in PACKAGES.items():
        assert set(content.get(package, {})) <= {content[key]}


@every_run
def test_every_value_names_its_origin(name):
    lines = text_of(name).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("dataset:"))
    for line in lines[start:]:
        assert re.search(r":$|  # \S", line), line
    _, source = settings_of(name)
    assert set(source) == {"paper", "code", "command", "row", "departures"}
    assert all(source[key] for key in ("paper", "code", "command", "row"))
    assert source["code"].startswith("https://github.com/")


@every_run
def test_batches_steps_and_precision_are_the_published_ones(name):
    content, _ = settings_of(name)
    if content["recipe"] in ("pretrained", "locoop"):
        return
    keeps_all = content["recipe"] == "balanced_energy"
    training = parse(content["training"], TrainingConfig, "training")
    assert (training.drop_last, training.amp) == (not keeps_all, "off")
    assert training.accumulate == 1
    assert (training.ema, training.clip_norm, training.warmup_epochs) == (0, None, 0)


def test_what_an_earlier_run_left_does_not_stay(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    for name in ("patt-imagenet-lt", "pascl-cifar10-lt"):
        path.write_text(with_settings(path, complete(settings_of(name)[0])))
    alone = tmp_path / "alone.yaml"
    alone.write_text((ROOT / "params.yaml").read_text())
    alone.write_text(with_settings(alone, complete(settings_of("pascl-cifar10-lt")[0])))
    both, single = read_params(path), read_params(alone)
    assert both["training"] == single["training"]
    assert both["training"]["policies"] == to_section(TrainingConfig())["policies"]
    assert both["recipes"]["pascl"] == single["recipes"]["pascl"]


def test_the_command_writes_lists_and_shows(ltood, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    before = copy.deepcopy(PARAMS)
    said = ltood("preset", "imood-bin-disc-cifar10-lt", "--params", path).stdout
    assert "differs: " in said
    after = read_params(path)
    assert (after["recipe"], after["method"], after["normaliser"]) == ("imood", "bin_disc", "none")
    assert after["datasets"]["cifar10"]["root"] == before["datasets"]["cifar10"]["root"]
    assert after["methods"] == before["methods"]
    assert "# Every setting of the pipeline." in path.read_text()
    assert len(ltood("preset").stdout.splitlines()) == len(list(FOLDER.glob("*.yaml")))
    assert ltood("preset", "patt-cifar10-lt", "--show").stdout == text_of("patt-cifar10-lt")


def test_the_overview_names_every_run():
    page = (ROOT / "docs" / "recipes" / "README.md").read_text(encoding="utf-8")
    table = page[page.index("## Published settings, ready to run") : page.index("### The training")]
    named = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", table))
    second = {name.replace("eat-", "eat-stage2-") for name in named if name.startswith("eat-")}
    assert (named | second) & set(names()) == set(names())


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="pascl-cifar10-lt"):
        text_of("pascl-cifar10")
