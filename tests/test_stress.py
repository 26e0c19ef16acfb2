"""The stress script, on two commands: what it breaks is broken, and it sees what is wrong."""

import argparse
import importlib
import signal
import sys

import pytest

from benchmarks import stress
from benchmarks.stress_corruptions import corrupt
from benchmarks.stress_damage import DAMAGES, Places
from benchmarks.stress_kills import at_a_change
from benchmarks.stress_kinds import GROUPS
from benchmarks.stress_processes import Fault, kill_self, run
from benchmarks.stress_results import BAD, Results, page, read
from benchmarks.stress_world import World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and counts as Linux does")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Imported arrays, and a store made of them."""
    # Once here, and not in each fork.
    for module in ("ltood.cli.import_features", "ltood.cli.store", "ltood.store.rechunked", "zarr"):
        importlib.import_module(module)
    folder = tmp_path_factory.mktemp("stress")
    results = Results(folder / "record.jsonl", 3)
    return World(folder, 3, results, ("ltood import", "ltood store rechunk"))


@pytest.fixture
def ends(world):
    """Trials since the test began."""
    before = len(read(world.results.record))
    return lambda: [trial.end for trial in read(world.results.record)[before:]]


def test_a_kill_before_a_change_is_one_and_the_rerun_holds(world, ends):
    command = world.named("ltood import")[0]
    world.prepare(command, over=False)
    found = run(world.place, command, Fault(world.changes[command.name] // 2, kill_self))
    assert found.code == -signal.SIGKILL
    assert not world.is_right(command)
    assert at_a_change(world, "kill", command)
    assert ends() == ["held"]


def test_damage_is_noticed_by_the_reader(world, ends):
    chunk, reader = "mine.zarr/train/features/c/0/0", world.named("ltood store rechunk")[0]
    world.prepare(reader)
    places = Places(world.place, world.other, world.whole, world.random)
    assert DAMAGES["truncated file"](places, chunk, [chunk])
    assert run(world.place, reader).kind == "refused"
    assert corrupt(world, "truncated file", world.named("ltood import")[0])
    assert set(ends()) < {"held", "refused, healed"}


def test_what_is_wrong_without_a_word_is_seen(world, ends, monkeypatch):
    command = world.named("ltood import")[0]
    monkeypatch.setitem(world.wanted, command.name, {})
    assert at_a_change(world, "kill", command)
    assert ends() == ["silent"]
    assert "| kill |" in page(read(world.results.record))


def test_every_pair_is_tried_before_one_is_tried_twice(world):
    given = dict.fromkeys(GROUPS, 0)
    number = len(DAMAGES)  # Only the import is read by a command.
    chosen = argparse.Namespace(**{**given, "corruptions": number + 5}, seed=1, only=None, hit=None)
    found = [(pair.kind.name, pair.command.name) for _, pair in stress.plan(chosen, world)]
    assert len(found) == number + 5
    assert {kind for kind, _ in found[:number]} == set(DAMAGES)
    assert set(BAD) >= {"silent", "lost"}


@pytest.mark.slow
def test_a_short_run_over_everything(tmp_path, monkeypatch):
    numbers = [f"--{name}=2" for name in GROUPS]
    record, written = tmp_path / "record.jsonl", tmp_path / "page.md"
    arguments = ["stress", *numbers, f"--record={record}", f"--page={written}"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        stress.main()
    assert not ended.value.code, written.read_text()
    assert len(read(record)) >= 2 * len(GROUPS)
