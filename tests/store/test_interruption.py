"""A finished store has the same files and bytes, however it came about."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import store_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import (
    PROCESS_SPEC,
    contents,
    create,
    make_spec,
    missing,
    ranges,
    resume,
    tree,
    write,
    write_store,
)

from ltood.core.errors import LtoodError, StoreError
from ltood.store.features import FeatureStore


def start_writer(path, part=0, parts=1):
    command = [sys.executable, "-W", "error", store_samples.__file__, path, str(part), str(parts)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_until_writing(process):
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "writing\n"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return tree(write_store(tmp_path_factory.mktemp("undisturbed") / "store", PROCESS_SPEC))


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(ranges(make_spec(3, train=10, ood_a=4))), stop=st.integers(0, 6))
def test_order_and_interruption_leave_no_trace(tmp_path_factory, order, stop):
    folder, spec = tmp_path_factory.mktemp("order"), make_spec(3, train=10, ood_a=4)
    straight = write_store(folder / "straight", spec)
    write(create(folder / "detour", spec), order[:stop])
    writer = resume(folder / "detour", spec)
    write(writer, order[stop:])
    writer.finish()
    assert tree(folder / "detour") == tree(straight)


def test_finishing_again_changes_nothing(tmp_path):
    path = write_store(tmp_path / "store")
    stamps = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    resume(path, make_spec()).finish()
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == stamps


def test_killed_writers_resume_to_the_same_bytes(tmp_path, undisturbed):
    path, moments = tmp_path / "store", random.Random()
    left = len(ranges(PROCESS_SPEC))
    for _ in range(3):
        process = start_writer(path)
        wait_until_writing(process)
        time.sleep(moments.uniform(0.02, 0.2))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        before, left = left, len(missing(resume(path, PROCESS_SPEC)))
        assert 0 < left <= before
        with pytest.raises(LtoodError, match=r"rows; run the stage that writes it again"):
            [FeatureStore.open(path).split(name) for name in PROCESS_SPEC.splits]
    process = start_writer(path)
    wait_until_writing(process)
    assert process.wait() == 0
    assert tree(path) == undisturbed


def test_two_processes_write_their_halves_at_once(tmp_path, undisturbed):
    path = tmp_path / "store"
    create(path, PROCESS_SPEC)
    halves = [start_writer(path, part, 2) for part in range(2)]
    for process in halves:
        wait_until_writing(process)
    assert [process.wait() for process in halves] == [0, 0]
    resume(path, PROCESS_SPEC).finish()
    assert tree(path) == undisturbed


def test_leftovers_of_a_killed_writer_do_no_harm_and_go_at_the_end(tmp_path):
    whole, path, spec = write_store(tmp_path / "whole"), tmp_path / "store", make_spec()
    writer = create(path, spec)
    write(writer, ranges(spec)[:1])
    folder = path / "train"
    for name in ("features/c/0/.0.17.tmp", "labels/c/.1.17.tmp", ".done/.000001.json.17.tmp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"half a ch")
    (path / ".zarr.json.17.tmp").write_bytes(b"{")
    writer = resume(path, spec)
    assert missing(writer) == ranges(spec)[1:]
    write(writer, missing(writer))
    np.testing.assert_array_equal(
        FeatureStore.open(path).split("train").read("ids", 0, 10), contents(spec)["train"]["ids"]
    )
    writer.finish()
    assert tree(path) == tree(whole)


def test_data_without_its_marker_counts_as_unwritten(tmp_path):
    path, spec = tmp_path / "store", make_spec()
    write(create(path, spec), ranges(spec))
    whole = tree(path)
    (path / "train" / ".done" / "000001.json").unlink()
    (path / "train" / "features" / "c" / "1" / "0").write_bytes(b"from another time")
    writer = resume(path, spec)
    assert missing(writer) == [("train", 4, 8)]
    write(writer, missing(writer))
    assert tree(path) == whole


def test_a_full_disk_leaves_no_temporary_file(tmp_path, monkeypatch):
    writer = create(tmp_path / "store", make_spec())
    before = tree(tmp_path / "store").keys()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"cannot write /.*: No space left"):
            write(writer, ranges(make_spec())[:1])
    added = tree(tmp_path / "store").keys() - before
    assert all(name.endswith("/") for name in added)
    write(writer, missing(writer))
    writer.finish()
    assert tree(tmp_path / "store") == tree(write_store(tmp_path / "whole"))
