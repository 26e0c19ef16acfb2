"""Pull from a folder: whole, resumed, damaged, refused."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys

import pytest

from ltood.core.errors import CorruptStoreError, FingerprintError, StoreError, TransferError
from ltood.deployment.files import load_detector
from ltood.deployment.opening import open_detector
from ltood.runtime.claims import claim
from ltood.sharing import pulling
from ltood.sharing.places import Folder
from ltood.sharing.pulling import pull
from ltood.sharing.subjects import open_subject
from tests.sharing.folder_samples import Watched, part_files, send
from tests.store.store_samples import tree


def test_a_store_of_features_comes_back(subject, there, tmp_path):
    pulled = pull(Folder(there), tmp_path / "back.zarr")
    assert tree(tmp_path / "back.zarr") == tree(subject.path)
    assert pulled.fetched == len(pulled.manifest.parts) > 3
    assert {path.name for path in tmp_path.iterdir()} == {"there", "back.zarr"}


def test_a_store_of_scores_comes_back(scores, tmp_path, monkeypatch):
    send(open_subject(scores), tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    pulled = pull(Folder(tmp_path / "there"), None)
    assert str(pulled.path) == "energy.zarr"
    assert tree(tmp_path / "energy.zarr") == tree(scores)


def test_a_detector_comes_back_by_either_file(detector, tmp_path):
    send(open_subject(detector.with_suffix(".json")), tmp_path / "there")
    pull(Folder(tmp_path / "there"), tmp_path / "new.json")
    for ending in (".safetensors", ".json"):
        back = (tmp_path / "new").with_suffix(ending)
        assert back.read_bytes() == detector.with_suffix(ending).read_bytes()
    load_detector(tmp_path / "new.safetensors", "cpu")


def test_a_network_comes_back_with_its_detector(detector_with_network, tmp_path):
    (detector_with_network.with_suffix(".network") / "detector.onnx").write_bytes(b"derived")
    send(open_subject(detector_with_network), tmp_path / "there")
    new = tmp_path / "new one.safetensors"
    pull(Folder(tmp_path / "there"), new)
    sent, back = (tree(path.with_suffix(".network")) for path in (detector_with_network, new))
    assert sent.pop("detector.onnx")
    assert back == sent
    assert open_detector(new, None, "cpu").network.input_shape == (8, 8, 3)
    # What is there without it is made whole, and is left alone then.
    shutil.rmtree(new.with_suffix(".network"))
    for fetched in (True, False):
        assert bool(pull(Folder(tmp_path / "there"), new).fetched) == fetched
        assert tree(new.with_suffix(".network")) == sent


def test_another_network_is_not_carried(detector, detector_with_network, tmp_path):
    for path in (detector, detector.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    network = detector_with_network.with_suffix(".network")
    shutil.copytree(network, tmp_path / "mine.network")  # Beside a detector without one.
    files = open_subject(tmp_path / "mine.safetensors").files
    assert set(files) == {"detector.json", "detector.safetensors"}
    for path in (detector_with_network, detector_with_network.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    weights = tmp_path / "mine.network" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptStoreError, match=r"model\.safetensors"):
        open_subject(tmp_path / "mine.safetensors")


def test_a_pull_that_broke_off_is_continued(subject, there, tmp_path):
    out = tmp_path / "back.zarr"
    with pytest.raises(TransferError):
        pull(Watched(there, left=3), out)  # The list and two parts.
    assert not out.exists()
    place = Watched(there)
    pulled = pull(place, out)
    assert pulled.fetched == len(pulled.manifest.parts) - 2 == len(place.fetched) - 1
    assert tree(out) == tree(subject.path)


def test_bytes_that_changed_between_two_runs_are_fetched_again(subject, there, tmp_path):
    out = tmp_path / "back.zarr"
    with pytest.raises(TransferError):
        pull(Watched(there, left=4), out)
    arrived = tmp_path / ".back.zarr.pulling" / "files"
    first = min(path for path in arrived.rglob("*") if path.is_file() and path.stat().st_size)
    first.write_bytes(b"\xff" * first.stat().st_size)
    (arrived / "stranger").write_text("of another version")
    pull(Folder(there), out)
    assert tree(out) == tree(subject.path)


def test_another_version_between_two_runs(subject, scores, there, tmp_path):
    out = tmp_path / "back.zarr"
    with pytest.raises(TransferError):
        pull(Watched(there, left=4), out)
    (there / "manifest.json").unlink()
    send(open_subject(scores), there)
    pull(Folder(there), out)
    assert tree(out) == tree(scores)


KILLED = """
import os, signal, sys
from pathlib import Path
from ltood.sharing.places import Folder
from ltood.sharing import pulling
class Place(Folder):
    left = int(sys.argv[3])
    def fetch(self, name, target):
        Place.left -= 1
        if Place.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super().fetch(name, target)
pulling.pull(Place(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_a_killed_process_leaves_nothing_in_the_way(subject, there, tmp_path):
    out = tmp_path / "back.zarr"
    command = [sys.executable, "-c", KILLED, there, out, "3"]
    done = subprocess.run(command, check=False, env=os.environ, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert pull(Folder(there), out).fetched == len(part_files(there)) - 2
    assert tree(out) == tree(subject.path)
    assert {path.name for path in tmp_path.iterdir()} == {"there", "back.zarr"}


def test_what_is_there_already_is_verified_only(subject, there, tmp_path):
    pull(Folder(there), tmp_path / "back.zarr")
    place = Watched(there)
    assert pull(place, tmp_path / "back.zarr").fetched == 0
    assert place.fetched == ["manifest.json"]


def test_something_else_at_the_place_is_replaced_when_asked(scores, there, subject, tmp_path):
    out = shutil.copytree(scores, tmp_path / "back.zarr")
    with pytest.raises(StoreError, match="--overwrite"):
        pull(Folder(there), out)
    assert tree(out) == tree(scores)
    pull(Folder(there), out, overwrite=True)
    assert tree(out) == tree(subject.path)


def test_a_damaged_store_at_the_place_is_replaced_when_asked(subject, there, tmp_path):
    out = shutil.copytree(subject.path, tmp_path / "back.zarr")
    (out / "zarr.json").write_text("{}")
    with pytest.raises(StoreError, match=r"back\.zarr"):
        pull(Folder(there), out)
    shutil.copytree(subject.path, out, dirs_exist_ok=True)
    chunk = out / "train" / "features" / "c" / "0" / "0"
    chunk.write_bytes(b"\xff" + chunk.read_bytes()[1:])
    with pytest.raises(CorruptStoreError, match="--overwrite"):
        pull(Folder(there), out)
    pull(Folder(there), out, overwrite=True)
    assert tree(out) == tree(subject.path)


def test_what_is_not_a_store_is_never_replaced(there, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_text("dear")
    with pytest.raises(StoreError, match="mine"):
        pull(Folder(there), tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "photo.png").read_text() == "dear"


@pytest.mark.parametrize("digits", [8, 64])
def test_the_fingerprint_that_was_asked_for(subject, there, tmp_path, digits):
    wanted = subject.fingerprint[:digits]
    assert pull(Folder(there), tmp_path / "a.zarr", fingerprint=wanted.upper()).fetched
    place = Watched(there)
    for other in (f"0{wanted[1:]}" if wanted[0] != "0" else f"1{wanted[1:]}", wanted[:7]):
        with pytest.raises(FingerprintError, match=other):
            pull(place, tmp_path / "b.zarr", fingerprint=other)
    assert set(place.fetched) == {"manifest.json"}


def test_nothing_there(tmp_path):
    with pytest.raises(TransferError, match="nothing"):
        pull(Folder(tmp_path / "nothing"), tmp_path / "back.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_gone(there, tmp_path):
    part_files(there)[2].unlink()
    with pytest.raises(CorruptStoreError, match="parts/00002-"):
        pull(Folder(there), tmp_path / "back.zarr")
    assert not (tmp_path / "back.zarr").exists()


def test_a_part_that_is_damaged(there, tmp_path):
    part = part_files(there)[2]
    part.write_bytes(b"\xff" + part.read_bytes()[1:])
    place = Watched(there)
    with pytest.raises(CorruptStoreError, match="parts/00002-"):
        pull(place, tmp_path / "back.zarr")
    assert place.fetched.count(f"parts/{part.name}") == 2


def test_a_list_of_another_fingerprint_than_the_store_has(subject, tmp_path, monkeypatch):
    send(dataclasses.replace(subject, fingerprint="0" * 64), tmp_path / "there")
    with pytest.raises(CorruptStoreError, match=subject.fingerprint):
        pull(Folder(tmp_path / "there"), tmp_path / "back.zarr")


def test_files_that_do_not_belong_to_a_store_never_arrive(subject, tmp_path):
    strange = tmp_path / "config"
    strange.write_text("[core]\nfsmonitor = run-me\n")
    files = {**subject.files, "features.zarr/config": strange}
    send(dataclasses.replace(subject, files=files), tmp_path / "there")
    with pytest.raises(CorruptStoreError, match=r"features\.zarr/config"):
        pull(Folder(tmp_path / "there"), tmp_path / "back.zarr")
    assert not (tmp_path / "back.zarr").exists()


def test_a_store_of_another_kind_than_listed(subject, tmp_path):
    files = {name.replace("features", "scores", 1): path for name, path in subject.files.items()}
    send(dataclasses.replace(subject, kind="scores", files=files), tmp_path / "there")
    with pytest.raises(CorruptStoreError, match="kind features"):
        pull(Folder(tmp_path / "there"), tmp_path / "back.zarr")


@pytest.mark.parametrize("name", ["part", "files/features.zarr/zarr.json", "files"])
def test_nothing_is_written_through_a_link(there, tmp_path, name):
    dear = tmp_path / "dear"
    dear.write_text("dear")
    link = tmp_path / ".back.zarr.pulling" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(dear)
    with pytest.raises(StoreError, match=name):
        pull(Folder(there), tmp_path / "back.zarr")
    assert dear.read_text() == "dear"


def test_no_room(there, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(pulling.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match=r"0\.0 MB free"):
        pull(Folder(there), tmp_path / "back.zarr")


def test_two_at_once(there, tmp_path):
    working = tmp_path / ".back.zarr.pulling"
    (working / "files").mkdir(parents=True)
    with (working / "lock").open("ab") as file:
        assert claim(file)
        with pytest.raises(StoreError, match="another process"):
            pull(Folder(there), tmp_path / "back.zarr")


def test_a_run_that_was_killed_at_its_end(subject, detector, there, tmp_path):
    """After the rename of a store, and between the two files of a detector."""
    out = tmp_path / "back.zarr"
    pull(Folder(there), out)
    (tmp_path / ".back.zarr.pulling" / "files").mkdir(parents=True)
    assert pull(Folder(there), out).fetched == 0
    assert not (tmp_path / ".back.zarr.pulling").exists()
    send(open_subject(detector), tmp_path / "d")
    new = tmp_path / "new.safetensors"
    shutil.copy(detector, new)
    pull(Folder(tmp_path / "d"), new)
    load_detector(new, "cpu")


def test_tensors_of_others_are_not_replaced(detector, tmp_path):
    send(open_subject(detector), tmp_path / "d")
    new = tmp_path / "new.safetensors"
    new.write_bytes(b"weights")
    with pytest.raises(StoreError, match="new"):
        pull(Folder(tmp_path / "d"), new, overwrite=True)
    assert new.read_bytes() == b"weights"


def test_a_part_that_breaks_off_once_is_fetched_again(subject, there, tmp_path):
    class Place(Watched):
        def fetch(self, name, target):
            if len(self.fetched) == 2:
                self.fetched.append("broken")
                raise TransferError("the line is down for a moment.")
            super().fetch(name, target)

    pull(Place(there), tmp_path / "back.zarr")
    assert tree(tmp_path / "back.zarr") == tree(subject.path)
