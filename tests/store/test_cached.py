"""A store behind an address reads as the one it was copied from, with bounded copies on disk."""

import os
from pathlib import Path

import numpy as np
import pytest

from ltood.core.errors import ConfigError, CorruptStoreError, StoreError, TransferError
from ltood.runtime.drivers import Driver, address_of, path_of
from ltood.sharing.copying import copy_store
from ltood.store.cached import _caches
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreWriter
from ltood.store.verifying import verify_store
from tests.store.store_samples import contents, create, make_spec, write_store

fsspec = pytest.importorskip("fsspec")
ADDRESS = "memory://bucket/a störe"
SPEC = make_spec(4, train=30, ood_a=3)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTOOD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/ltood/stores"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "here", SPEC)


@pytest.fixture
def system(cache, here):
    copy_store(str(here), ADDRESS)
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/bucket", recursive=True)


def read_all(place=ADDRESS):
    store = FeatureStore.open(place)
    return {name: store.split(name).load(["features", "ids"]) for name in store.splits}


def held(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def count_reads(monkeypatch):
    names, read = [], Driver.read

    def counting(driver, name, limit=None):
        names.append(name)
        return read(driver, name, limit)

    monkeypatch.setattr(Driver, "read", counting)
    return names


def test_rows_are_those_of_the_store(system, here):
    known = contents(SPEC)
    for name, arrays in read_all().items():
        for key, values in arrays.items():
            np.testing.assert_array_equal(values, known[name][key])
    here, there = FeatureStore.open(here), FeatureStore.open(ADDRESS)
    assert there.attributes == here.attributes
    assert there.path == ADDRESS
    np.testing.assert_array_equal(there.head_arrays()["weight"], here.head_arrays()["weight"])
    assert list(verify_store(ADDRESS)) == [("train", 30), ("ood_a", 3)]


def test_chunks_come_once(system, monkeypatch):
    read_all()
    names = count_reads(monkeypatch)
    read_all()
    assert not [name for name in names if "/c/" in name]


def test_a_damaged_copy_is_replaced(system, cache, monkeypatch):
    before = read_all()
    victim = next(cache.rglob("features/c/1/0"))
    victim.write_bytes(b"x" * victim.stat().st_size)
    after = read_all()
    np.testing.assert_array_equal(after["train"]["features"], before["train"]["features"])


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_stands_in_the_place_of_a_copy_gives_way(system, cache, kind, tmp_path):
    before = read_all()
    victim, other = next(cache.rglob("features/c/1/0")), tmp_path / "other"
    victim.unlink()
    if kind == "folder":
        (victim / "inside").mkdir(parents=True)
    elif kind == "pipe":
        os.mkfifo(victim)
    else:
        other.write_bytes(b"other")
        victim.symlink_to(other)
    after = read_all()
    np.testing.assert_array_equal(after["train"]["features"], before["train"]["features"])
    assert victim.is_file()
    assert kind != "link" or other.read_bytes() == b"other"


def test_a_cache_without_room_is_named(system, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file")
    with pytest.raises(StoreError, match="LTOOD_CACHE"):
        read_all()


def test_another_store_at_the_address_is_noticed(system, tmp_path):
    before = read_all()
    system.rm("/bucket", recursive=True)
    other = make_spec(4, dtype="float16", train=30, ood_a=3)
    copy_store(str(write_store(tmp_path / "other", other)), ADDRESS)
    after = read_all()
    assert after["train"]["features"].dtype == np.float16
    np.testing.assert_array_equal(after["train"]["ids"], before["train"]["ids"])


@pytest.mark.parametrize("content", [b"", b"x" * 64, b"x" * 65, None])
def test_damage_at_the_address_is_named(system, content):
    name = f"{ADDRESS}/train/features/c/2/0"
    if content is None:
        system.rm(name)
    else:
        system.pipe_file(name, content)
    for read in (read_all, lambda: list(verify_store(ADDRESS))):
        with pytest.raises(CorruptStoreError, match="memory://bucket/a störe/train/features/c/2/0"):
            read()


def test_verifying_looks_at_the_address_and_not_at_copies(system):
    read_all()
    system.pipe_file(f"{ADDRESS}/train/features/c/2/0", b"x" * 64)
    with pytest.raises(CorruptStoreError):
        list(verify_store(ADDRESS))


def test_the_cache_stays_small(system, cache, monkeypatch, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/mine.txt").write_text("mine" * 100)
    limit = 300
    monkeypatch.setenv("LTOOD_CACHE_GIB", repr(limit / 2**30))
    known = contents(SPEC)
    for _ in range(2):
        np.testing.assert_array_equal(read_all()["train"]["features"], known["train"]["features"])
        assert 0 < held(cache) <= limit
    assert (tmp_path / "cache/mine.txt").exists()


def test_what_a_killed_process_left_goes(system, cache):
    read_all()
    old, new = (cache / name for name in (".0.abc-1-0.tmp", ".1.abc-1-0.tmp"))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    next(cache.rglob("features/c/1/0")).unlink()
    _caches.clear()  # As in another process, which has not looked yet.
    read_all()
    assert (old.exists(), new.exists()) == (False, True)


def test_what_was_used_last_stays(system, cache, monkeypatch):
    monkeypatch.setenv("LTOOD_CACHE_GIB", repr(200 / 2**30))  # Three chunks of features.
    split = FeatureStore.open(ADDRESS).split("train")
    for chunk in (1, 3, 1, 5, 1, 7):
        split._rows._mapped.clear()
        split.read("features", 4 * chunk, 4 * chunk + 1)
    left = {path.parent.name for path in cache.rglob("features/c/*/0")}
    assert left == {"1", "5", "7"}


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf", "ten"])
def test_a_size_that_is_none(monkeypatch, size):
    monkeypatch.setenv("LTOOD_CACHE_GIB", size)
    with pytest.raises(ConfigError, match="LTOOD_CACHE_GIB"):
        FeatureStore.open(ADDRESS)


def test_what_is_written_to_a_disk_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (ADDRESS, Path(ADDRESS)):
        with pytest.raises(StoreError, match="ltood store copy"):
            create(place, SPEC)
        with pytest.raises(StoreError, match="ltood store copy"):
            ScoreWriter(place, {"test": 3}, {})
    assert not any(tmp_path.iterdir())


def test_nothing_there(system):
    with pytest.raises(StoreError, match="memory://bucket/other"):
        FeatureStore.open("memory://bucket/other")


def test_a_password_in_an_address_is_refused_without_showing_it():
    with pytest.raises(TransferError) as caught:
        FeatureStore.open("ssh://me:s3cret@host/store")
    assert "s3cret" not in str(caught.value)


def test_what_is_an_address(tmp_path, monkeypatch):
    assert address_of("s3://bucket/a/") == "s3://bucket/a"
    assert address_of(Path("s3://bucket/a b")) == "s3://bucket/a b"
    for path in ("a/b", "/a", "C:/a", Path("C:/a"), "file:///a", Path("file:///a"), "s3:", "a:b/c"):
        assert address_of(path) is None
    plain = Path("/a b/#1?")
    for written in ("file:///a b/#1?", "file:///a%20b/%231%3F", "file://localhost/a b/#1?"):
        assert path_of(written) == plain
    assert path_of(Path("file:///a%20b/#1?")) == plain
    monkeypatch.chdir(tmp_path)
    os.makedirs("s3:/bucket")  # noqa: PTH103 - a folder of that very name
    assert address_of(Path("s3:/bucket")) is None


@pytest.mark.parametrize("place", ["s3://", "s3a://", "memory://", Path("s3://"), Path("gs:")])
def test_an_address_names_a_place(place):
    with pytest.raises(StoreError, match="names no place"):
        address_of(place)


@pytest.mark.parametrize("place", ["draft:", Path("draft:"), "s3", "C:"])
def test_a_name_with_a_colon_is_a_path(place):
    assert address_of(place) is None
