"""Push to a folder: resumed, damaged, replaced."""

import json
import os
import shutil

import pytest

from ltood.core.errors import CorruptStoreError, StoreError, TransferError
from ltood.sharing.card import Remarks
from ltood.sharing.places import Folder
from ltood.sharing.pulling import pull
from ltood.sharing.pushing import push
from ltood.sharing.subjects import open_subject
from tests.sharing.conftest import PART
from tests.sharing.folder_samples import Watched, part_files, send
from tests.store.store_samples import tree


def test_what_else_lies_in_the_folder_of_a_store_stays(features, tmp_path):
    copy = shutil.copytree(features, tmp_path / "copy.zarr")
    (copy / "secret.txt").write_text("mine")
    (copy / "train" / ".zattrs.1.tmp").write_text("")
    send(open_subject(copy), tmp_path / "there")
    pull(Folder(tmp_path / "there"), tmp_path / "back.zarr")
    assert tree(tmp_path / "back.zarr") == tree(features)


def test_a_push_that_broke_off_is_continued(subject, tmp_path):
    with pytest.raises(TransferError):
        push(subject, Watched(tmp_path / "there", left=2), Remarks(), part_bytes=PART)
    assert not (tmp_path / "there" / "manifest.json").exists()
    place = Watched(tmp_path / "there")
    pushed = push(subject, place, Remarks(), part_bytes=PART)
    assert (pushed.kept, pushed.sent) == (2, len(pushed.manifest.parts) - 2)
    assert place.sent == [part.name for part in pushed.manifest.parts[2:]]


def test_the_same_again_sends_nothing_and_changes_no_byte(subject, there):
    before = tree(there)
    assert send(subject, there).sent == 0
    assert tree(there) == before


@pytest.mark.parametrize("damage", ["changed", "short"])
def test_a_damaged_part_is_sent_again(subject, there, damage):
    good = tree(there)
    part = part_files(there)[1]
    raw = part.read_bytes()
    part.write_bytes(raw[:-1] if damage == "short" else b"\xff" + raw[1:])
    assert send(subject, there).sent == 1
    assert tree(there) == good


class Distant(Watched):
    """A folder whose files are not worth reading to compare them."""

    is_near = False


@pytest.mark.parametrize(("check", "sent"), [(False, 0), (True, 1)])
def test_far_parts_are_read_back_when_asked(subject, there, check, sent):
    part = part_files(there)[1]
    part.write_bytes(b"\xff" + part.read_bytes()[1:])
    pushed = push(subject, Distant(there), Remarks(), part_bytes=PART, check=check)
    assert pushed.sent == sent


def test_a_newer_version_takes_the_place_of_the_older(scores, other_scores, tmp_path):
    there = tmp_path / "there"
    send(open_subject(other_scores), there)
    (there / "parts" / "notes.txt").write_text("mine")
    pushed = send(open_subject(scores), there)
    assert {path.name for path in part_files(there)} == {
        *(part.name.rpartition("/")[2] for part in pushed.manifest.parts),
        "notes.txt",
    }
    pull(Folder(there), tmp_path / "back.zarr")
    assert tree(tmp_path / "back.zarr") == tree(scores)


def test_the_older_version_stays_whole_until_the_newer_is(scores, other_scores, tmp_path):
    there = tmp_path / "there"
    send(open_subject(other_scores), there)
    place = Watched(there, left=2)  # The list and one part.
    with pytest.raises(TransferError):
        push(open_subject(scores), place, Remarks(), part_bytes=PART // 10)
    assert len(place.sent) == 1
    pull(Folder(there), tmp_path / "back.zarr")
    assert tree(tmp_path / "back.zarr") == tree(other_scores)


def test_another_kind_is_never_replaced(scores, detector, there):
    before = tree(there)
    for path in (scores, detector):
        with pytest.raises(StoreError, match="features"):
            send(open_subject(path), there)
    assert tree(there) == before


def test_a_damaged_list_is_replaced(subject, there):
    good = tree(there)
    (there / "manifest.json").write_text("{}")
    send(subject, there)
    assert tree(there) == good


def test_a_file_that_changes_while_it_is_pushed(features, tmp_path):
    copy = shutil.copytree(features, tmp_path / "copy.zarr")
    subject = open_subject(copy)

    class Place(Watched):
        def send(self, name, source):
            super().send(name, source)
            chunk = copy / "train" / "features" / "c" / "0" / "0"
            chunk.write_bytes(b"\xfe" * chunk.stat().st_size)

    with pytest.raises(CorruptStoreError, match=r"copy\.zarr"):
        push(subject, Place(tmp_path / "there"), Remarks(), part_bytes=PART)
    assert not (tmp_path / "there" / "manifest.json").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(subject, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="locked"):
        send(subject, tmp_path / "locked" / "there")


def test_names_are_those_that_every_system_takes(features, tmp_path):
    copy = shutil.copytree(features, tmp_path / "my förster.zarr")
    pushed = send(open_subject(copy), tmp_path / "there")
    assert pushed.manifest.name == "my-f-rster.zarr"
    assert json.loads((tmp_path / "there" / "manifest.json").read_text())["kind"] == "features"
