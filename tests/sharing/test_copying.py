"""A copy has the bytes of the store, at any kind of place, however often it was interrupted."""

import os

import pytest
from address_samples import s3_files

from ltood.core.errors import CorruptStoreError, IncompleteStoreError, StoreError, TransferError
from ltood.runtime.files import MACHINE
from ltood.sharing import copying
from ltood.sharing.copying import There, copy_store
from ltood.store.claimed import CLAIM, NOTE, claimed
from ltood.store.disks import disk_at
from ltood.store.verifying import verify_store
from tests.store.store_samples import create, make_spec, tree, write_store

SPEC = make_spec(4, train=10, ood_a=3)


class Stopped(Exception):
    pass


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "a störe")


@pytest.fixture
def there():
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    yield "memory://bucket/copied", system
    system.rm("/bucket", recursive=True)


def test_a_copy_in_a_folder_has_the_same_bytes(store, tmp_path):
    copied = copy_store(str(store), str(tmp_path / "out"))
    assert (copied.sent, copied.kept) == (3, 0)
    assert tree(tmp_path / "out") == tree(store)
    (tmp_path / "out/train/labels/c/1").write_bytes(b"x" * 32)
    # What a copy that was killed at this chunk leaves.
    (tmp_path / f"out/train/labels/c/.1.{MACHINE}-{os.getpid()}-0.tmp").write_bytes(b"")
    copied = copy_store(str(store), str(tmp_path / "out"))
    assert (copied.sent, copied.kept) == (1, 2)
    assert tree(tmp_path / "out") == tree(store)


def test_a_copy_comes_back_from_an_address(store, there, tmp_path):
    address, system = there
    assert copy_store(str(store), address).sent == 3
    assert copy_store(str(store), address).kept == 3
    system.pipe_file("/bucket/copied/train/labels/c/1", b"x" * 32)
    with pytest.raises(CorruptStoreError, match="train/labels/c/1"):
        copy_store(address, str(tmp_path / "back"))
    assert copy_store(str(store), address, check=True).sent == 1
    copy_store(address, str(tmp_path / "back"))
    assert tree(tmp_path / "back") == tree(store)


@pytest.mark.parametrize("after", range(0, 25, 3))
def test_a_copy_that_was_stopped_anywhere_goes_on(store, tmp_path, monkeypatch, after):
    write, left = copying.Here.write, [after]

    def counting(place, name, content):
        if not left[0]:
            raise Stopped
        left[0] -= 1
        write(place, name, content)

    monkeypatch.setattr(copying.Here, "write", counting)
    with pytest.raises(Stopped):
        copy_store(str(store), str(tmp_path / "out"))
    assert not (tmp_path / "out/zarr.json").exists()
    left[0] = -1
    copy_store(str(store), str(tmp_path / "out"))
    assert tree(tmp_path / "out") == tree(store)


def test_half_a_copy_of_another_store_is_left_alone(store, tmp_path, monkeypatch):
    other, out = write_store(tmp_path / "other", make_spec(2, train=4)), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(copying, "_copy_rest", lambda *_: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            copy_store(str(other), str(out))
    before = tree(out)
    with pytest.raises(StoreError, match="another store"):
        copy_store(str(store), str(out))
    assert tree(out) == before
    copy_store(str(other), str(out))
    assert tree(out) == tree(other)


def test_folders_that_only_look_like_a_copy_are_left_alone(store, tmp_path):
    (tmp_path / "mine/train/labels/c").mkdir(parents=True)
    with pytest.raises(StoreError, match="other files"):
        copy_store(str(store), str(tmp_path / "mine"))


def test_what_is_not_copied(store, tmp_path):
    other = write_store(tmp_path / "other", make_spec(2, train=4))
    for target in (other, store):
        with pytest.raises(StoreError):
            copy_store(str(store), str(target))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(StoreError):
        copy_store(str(store), str(tmp_path / "mine"))
    create(tmp_path / "begun", SPEC)
    with pytest.raises(IncompleteStoreError):
        copy_store(str(tmp_path / "begun"), str(tmp_path / "out"))
    with pytest.raises(StoreError):
        copy_store(str(tmp_path / "nowhere"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_copy_in_an_object_store(store, tmp_path, monkeypatch):
    with s3_files(monkeypatch) as s3fs:
        with pytest.raises(TransferError, match="no-such-bucket"):
            copy_store(str(store), "s3://no-such-bucket/x")
        s3fs.S3FileSystem().mkdir("features")
        assert copy_store(str(store), "s3://features/toy").sent == 3
        assert copy_store(str(store), "s3://features/toy", check=True).kept == 3
        monkeypatch.setenv("LTOOD_CACHE", str(tmp_path / "cache"))
        assert list(verify_store("s3://features/toy")) == [("train", 10)]
        s3fs.S3FileSystem().pipe_file("features/toy/train/ids/c/1", b"")
        with pytest.raises(CorruptStoreError, match="s3://features/toy/train/ids/c/1"):
            list(verify_store("s3://features/toy"))
        assert copy_store(str(store), "s3://features/toy").sent == 1
        copy_store("s3://features/toy", str(tmp_path / "back"))
        assert tree(tmp_path / "back") == tree(store)


def test_a_link_in_the_copy_leaves_its_target_alone(store, tmp_path):
    copy_store(str(store), str(tmp_path / "out"))
    other, chunk = tmp_path / "other", tmp_path / "out/train/labels/c/1"
    other.write_bytes(b"mine")
    chunk.unlink()
    chunk.symlink_to(other)
    copy_store(str(store), str(tmp_path / "out"))
    assert tree(tmp_path / "out") == tree(store)
    assert other.read_bytes() == b"mine"


def test_an_address_is_written_by_one_at_a_time(store, monkeypatch, tmp_path):
    pytest.importorskip("fsspec")
    place = There("memory://copied/ü f")
    try:
        place.write(CLAIM, b"{}")
        with pytest.raises(StoreError, match="extraction"):
            copy_store(str(store), place.address)
        place.remove(CLAIM)
        read = There.read
        # Another copy begins after this one has looked.
        monkeypatch.setattr(
            There,
            "create",
            lambda own, name, content: (own.write(name, b"another"), False)[1],
        )
        with pytest.raises(StoreError, match="another store"):
            copy_store(str(store), place.address)
        assert read(place, NOTE) == b"another"
        assert read(place, "zarr.json") is None
        with (
            pytest.raises(StoreError, match="part of a copy"),
            claimed(disk_at(place.address), "some"),
        ):
            pass
    finally:
        place.system.rm("/copied", recursive=True)
