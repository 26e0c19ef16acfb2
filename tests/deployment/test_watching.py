"""A folder that fills: each image has its row once, whatever happens in between."""

import csv
import errno
import itertools
import os
import re
import signal
import sys
import threading

import pytest
from PIL import Image

from ltood.core.errors import ConfigError, CorruptStoreError, DataError, StoreError
from ltood.deployment import journal
from ltood.deployment.arrivals import Arrivals
from ltood.deployment.images import Embedder
from ltood.deployment.journal import Journal
from ltood.deployment.judging import BadInputs
from ltood.deployment.verdicts import COLUMNS, Verdict
from ltood.deployment.watching import watch
from ltood.runtime.stopping import stop_on_signals


class Turns:
    """Stands for the event that ends a watch: does something at each wait, and ends behind."""

    def __init__(self, *turns):
        self._turns, self._is_set = list(turns), False

    def is_set(self):
        return self._is_set

    def wait(self, seconds):
        del seconds
        if not self._turns:
            self._is_set = True
        else:
            turn = self._turns.pop(0)
            if turn is not None:
                turn()


@pytest.fixture
def box(samples, tmp_path):
    """A folder, and what puts images into it and watches it."""
    folder, out = tmp_path / "in coming é", tmp_path / "rows.csv"
    folder.mkdir()
    embedder = Embedder.open(samples.checkpoint, samples.detector)

    class Box:
        path, made_by = folder, {"detector": "d"}
        file = out

        def put(self, name, number=0):
            (folder / name).parent.mkdir(exist_ok=True)
            Image.fromarray(samples.images[number]).save(folder / name)

        def run(self, *turns, stop=None, **options):
            with Journal(out, "csv", COLUMNS, self.made_by) as written:
                arrivals = Arrivals(folder, written.seen)
                options = {"bad": BadInputs(), "batch_size": 2, **options}
                stop = stop or Turns(*turns)
                rows = watch(samples.detector, arrivals, embedder, written, stop=stop, **options)
                return [row.path.removeprefix(f"{folder}/") for row in rows]

        def names(self):
            with out.open(newline="") as file:
                return [row["path"].removeprefix(f"{folder}/") for row in csv.DictReader(file)]

    return Box()


def test_each_image_has_its_row_once(box):
    box.put("a.png")
    box.put("deep/b.png", 1)
    (box.path / "notes.txt").write_text("not an image")
    (box.path / ".hidden.png").write_text("nor this")

    def more():
        box.put("c.png", 2)

    assert sorted(box.run(None, more, None, None)) == ["a.png", "c.png", "deep/b.png"]
    assert sorted(box.names()) == ["a.png", "c.png", "deep/b.png"]
    # A later run goes on with what is new.
    box.put("d.png")
    assert box.run(None, None) == ["d.png"]
    assert sorted(box.names()) == ["a.png", "c.png", "d.png", "deep/b.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_odd_names_do_not_stop_it(box):
    odd = os.fsdecode(b"latin\xff.png")
    box.put(odd)
    box.put("two\nlines.png")
    box.put("plain.png")
    assert sorted(box.run(None, None)) == sorted([odd, "two\nlines.png", "plain.png"])
    assert box.run(None, None) == []
    assert sorted(box.names()) == ["latin\\udcff.png", "plain.png", "two\nlines.png"]


def test_a_file_that_grows_is_waited_for(box, samples):
    box.put("whole.png")
    content = (box.path / "whole.png").read_bytes()
    (box.path / "whole.png").unlink()
    parts = [
        lambda end=end: (box.path / "slow.png").write_bytes(content[:end])
        for end in (10, 40, 60, len(content))
    ]
    assert box.run(*parts, None, None) == ["slow.png"]
    with box.file.open() as file:
        assert [row["verdict"] != "error" for row in csv.DictReader(file)] == [True]


def test_changed_renamed_and_deleted_files(box):
    box.put("a.png")
    box.put("b.png", 1)

    def change():
        box.put("a.png", 2)
        os.utime(box.path / "a.png", ns=(1, 1))
        (box.path / "b.png").rename(box.path / "c.png")

    def delete():
        (box.path / "c.png").unlink()

    found = box.run(None, None, change, None, None, delete, None)
    assert sorted(found) == ["a.png", "a.png", "b.png", "c.png"]
    assert sorted(box.names()) == sorted(found)


def test_what_is_deleted_before_it_is_read_has_no_row(box, monkeypatch):
    box.put("a.png")
    box.put("b.png", 1)
    read = Embedder.read

    def late(self, path):
        if path.name == "a.png":
            path.unlink(missing_ok=True)
        return read(self, path)

    monkeypatch.setattr(Embedder, "read", late)
    assert box.run(None, None) == ["b.png"]


def test_broken_images_have_a_row_and_the_folder_may_vanish(box, capsys):
    (box.path / "broken.png").write_bytes(b"")
    assert box.run(None, None) == ["broken.png"]

    def vanish():
        (box.path / "broken.png").unlink()
        box.path.rmdir()

    def return_():
        box.path.mkdir()
        box.put("a.png")

    assert box.run(vanish, None, None, return_, None, None) == ["a.png"]
    assert capsys.readouterr().err.count("waiting: ") == 1


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("where", range(1, 9))
def test_a_kill_loses_nothing_and_repeats_nothing(box, monkeypatch, where):
    """After anything is appended to journal or rows, torn or whole."""
    for number in range(5):
        box.put(f"{number}.png", number)
        os.utime(box.path / f"{number}.png", ns=(number, number))
    appended = itertools.count(1)

    append = journal._append

    def killed(file, content):
        append(file, content)
        if next(appended) == where:
            if where % 2:  # The last bytes did not reach the disk.
                file.truncate(max(os.fstat(file.fileno()).st_size - 3, 0))
            raise Killed

    monkeypatch.setattr(journal, "_append", killed)
    with pytest.raises(Killed):
        box.run(None, None, None)
    monkeypatch.undo()
    box.run(None, None)
    assert box.names() == [f"{number}.png" for number in range(5)]
    with box.file.open(newline="") as file:
        assert next(csv.reader(file)) == list(COLUMNS)


@pytest.mark.parametrize("where", range(1, 9))
def test_a_full_disk_is_named_and_the_next_run_goes_on(box, monkeypatch, where):
    for number in range(5):
        box.put(f"{number}.png", number)
    calls = itertools.count(1)

    def full(number):
        if next(calls) >= where:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "fsync", full)
        with pytest.raises(StoreError, match=re.escape(str(box.file))):
            box.run(None, None, None)
    box.run(None, None)
    assert sorted(box.names()) == [f"{number}.png" for number in range(5)]


def test_a_file_moved_away_begins_anew(box):
    box.put("a.png")
    box.run(None, None)
    box.file.rename(box.file.with_name("yesterday.csv"))
    box.put("b.png")
    assert box.run(None, None) == ["b.png"]
    assert box.names() == ["b.png"]


def test_rows_that_go_on_elsewhere_are_refused(box):
    box.put("a.png")
    box.run(None, None)
    with Journal(box.file, "csv", COLUMNS, box.made_by), pytest.raises(StoreError, match="process"):
        box.run()
    with pytest.raises(StoreError, match="another detector"):
        Journal(box.file, "csv", COLUMNS, {"detector": "e"})
    with pytest.raises(StoreError, match="another columns"):
        Journal(box.file, "csv", COLUMNS[:3], box.made_by)
    journal = box.file.with_name(".rows.csv.journal")
    content = journal.read_text()
    box.file.write_text("path\n")
    with pytest.raises(CorruptStoreError, match="shorter"):
        box.run()
    for wrong in ("{}\nno json\n", "[]\n[]\n", '{"kind": 1}\n{"end": 1, "inputs": [1]}\n'):
        journal.write_text(wrong)
        with pytest.raises(CorruptStoreError, match="was changed"):
            box.run()
    journal.unlink()
    with pytest.raises(StoreError, match="not begun by --watch"):
        box.run()
    assert content.startswith('{"kind"')


def test_scores_of_earlier_rows_are_read_again(box, samples):
    box.put("a.png")
    (box.path / "b.png").write_text("broken")
    box.run(None, None)
    with Journal(box.file, "csv", COLUMNS, box.made_by) as written:
        found = dict.fromkeys(verdict for verdict, _ in written.past_rows())
        assert {score is None for verdict, score in written.past_rows() if verdict == "error"} == {
            True
        }
    assert len(found) == 2
    lines = box.file.with_suffix(".jsonl")
    with Journal(lines, "jsonl", COLUMNS, {}) as written:
        list(written.write([], [Verdict("a", None, "ID", 0.5), Verdict("b", None, "error")]))
        assert list(written.past_rows()) == [("ID", 0.5), ("error", None)]


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"poll": 0}, {"poll": float("nan")}, {"until_idle": -1}]
)
def test_numbers_out_of_range(box, options):
    with pytest.raises(ConfigError):
        box.run(**options)


def test_a_folder_is_needed(box):
    box.path.rmdir()
    with pytest.raises(DataError, match="does not exist"):
        box.run()


def test_idle_ends_it(box):
    box.put("a.png")
    assert box.run(stop=threading.Event(), poll=0.001, until_idle=0.0) == ["a.png"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_it_after_what_is_in_hand(number):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before
