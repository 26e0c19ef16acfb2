"""Extraction to an address gives the bytes of extraction to a folder, however often interrupted."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from address_samples import s3_files, stopped_after
from image_samples import (
    TinyImages,
    extract_tiny,
    extract_tiny_to,
    extracted_tiny,
    one_thread,
    tree,
)

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.repair import repair
from ltood.runtime.drivers import Driver
from ltood.sharing.copying import copy_store
from ltood.store.claimed import CLAIM, claimed
from ltood.store.disks import LocalDisk
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreWriter
from ltood.store.writer import SplitWriter

fsspec = pytest.importorskip("fsspec")
CONFIG = {"batch_size": 2, "rows_per_chunk": 3}
ADDRESS = "memory://bucket/features"


class Images(TinyImages):
    """Splits under other names, and some with fewer rows."""

    def __init__(self, names=(), rows=None):
        super().__init__()
        self._splits |= {new: self._splits[old] for new, old in dict(names).items()}
        for name, count in (rows or {}).items():
            split = self._splits[name]
            self._splits[name] = type(split)(
                split.images[:count], split.labels[:count], split.ids[:count]
            )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return extracted_tiny(tmp_path_factory.mktemp("in place"), CONFIG)


@pytest.fixture(autouse=True)
def system(tmp_path, monkeypatch):
    monkeypatch.setenv("LTOOD_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)


@pytest.fixture
def s3_bucket(monkeypatch):
    """A bucket of a server on this machine."""
    with s3_files(monkeypatch) as s3fs:
        s3fs.S3FileSystem().mkdir("features")
        yield "features"


def there(system):
    """Every file at the address, by its name in the store."""
    found = system.find("/bucket/features")
    return {name.removeprefix("/bucket/features/"): system.cat_file(name) for name in found}


def files(path):
    return {name: content for name, content in tree(path).items() if not name.endswith("/")}


def test_bytes_are_those_of_a_folder(made, system, monkeypatch):
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    assert there(system) == files(made / "features.zarr")
    monkeypatch.setattr(Driver, "write", None)  # Nothing is written a second time.
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)


@pytest.mark.parametrize(
    "after", [30, *(pytest.param(count, marks=pytest.mark.slow) for count in (0, 7, 60, 74))]
)
def test_a_run_that_was_stopped_goes_on(made, system, monkeypatch, after):
    stopped_after(monkeypatch, after, lambda: extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG))
    before = set(there(system))
    assert "zarr.json" not in before
    with pytest.raises(StoreError):
        FeatureStore.open(ADDRESS)
    write, names = Driver.write, []

    def noting(driver, name, content):
        names.append(name)
        write(driver, name, content)

    monkeypatch.setattr(Driver, "write", noting)
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    assert there(system) == files(made / "features.zarr")
    markers = {name for name in before if ".done" in name}
    assert not markers & set(names)


@pytest.mark.slow
def test_only_what_changed_is_computed(made, system, monkeypatch):
    checkpoint, computed, write = made / "checkpoint", set(), SplitWriter.write

    def noting(writer, start, arrays):
        computed.add(writer.files.name)
        write(writer, start, arrays)

    monkeypatch.setattr(SplitWriter, "write", noting)
    twin = Images({"ood_twin": "ood_noise"})
    shorter = Images(rows={"test": 4})
    for images, expected in ((None, None), (twin, set()), (shorter, {"test"})):
        computed.clear()
        extract_tiny_to(checkpoint, ADDRESS, CONFIG, images)
        assert expected is None or computed == expected
        fresh = made / f"{images is twin}.zarr"
        extract_tiny(checkpoint, fresh, CONFIG, images)
        assert there(system) == files(fresh)


@pytest.mark.slow
def test_lost_and_damaged_chunks_are_computed_again(made, system):
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    whole = there(system)
    system.rm(f"{ADDRESS}/train/features/c/1/0")
    system.pipe_file(f"{ADDRESS}/test/.done/000000.json", b"{")
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    assert there(system) == whole
    name = "test/features/c/0/0"
    system.pipe_file(f"{ADDRESS}/{name}", b"x" * len(whole[name]))
    with one_thread():
        found = repair(
            ADDRESS, made / "checkpoint", TinyImages(), ExtractionConfig(), device_name="cpu"
        )
    assert [(fault.split, fault.rows[0]) for fault in found] == [("test", 0)]
    assert there(system) == whole


def test_another_store_is_never_replaced(made, system, tmp_path):
    with ScoreWriter(tmp_path / "scores.zarr", {}, {"kind": "scores"}):
        pass
    copy_store(str(tmp_path / "scores.zarr"), ADDRESS)
    before = there(system)
    with pytest.raises(StoreError, match="scores"):
        extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    assert there(system) == before


OTHER = {**CONFIG, "dtype": "float16"}


def test_two_writers_of_different_stores_do_not_mix(made, system, monkeypatch):
    write, refused = Driver.write, []

    def writing(driver, name, content):
        write(driver, name, content)
        if len(refused) < 3:
            refused.append(None)
            with pytest.raises(StoreError, match="is being written") as error:
                extract_tiny_to(made / "checkpoint", ADDRESS, OTHER)
            refused[-1] = error

    monkeypatch.setattr(Driver, "write", writing)
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    assert len(refused) == 3
    assert there(system) == files(made / "features.zarr")


def killed(made, monkeypatch, config, after=7):
    """Begin a store at the address, and end as a killed process does."""
    stopped_after(
        monkeypatch,
        after,
        lambda: extract_tiny_to(made / "checkpoint", ADDRESS, config),
        kills=True,
    )


def test_a_killed_writer_keeps_the_place_for_its_own_store(made, system, monkeypatch):
    killed(made, monkeypatch, CONFIG)
    assert CLAIM in there(system)
    before = there(system)
    with pytest.raises(StoreError, match="take_over=True"):
        extract_tiny_to(made / "checkpoint", ADDRESS, OTHER)
    assert there(system) == before
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    assert there(system) == files(made / "features.zarr")


def test_the_place_of_a_killed_writer_is_taken_over_on_request(made, system, monkeypatch):
    killed(made, monkeypatch, OTHER)
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG, take_over=True)
    assert there(system) == files(made / "features.zarr")


def test_a_writer_whose_place_was_taken_over_writes_no_list_of_contents(made, system, monkeypatch):
    write, names = Driver.write, []

    def taken_over(driver, name, content):
        write(driver, name, content)
        names.append(name)
        if len(names) == 20:
            system.pipe_file(f"{ADDRESS}/{CLAIM}", b'{"writes": "another"}')

    monkeypatch.setattr(Driver, "write", taken_over)
    with pytest.raises(StoreError, match="is being written"):
        extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    assert "zarr.json" not in there(system)
    assert CLAIM in there(system)


@pytest.mark.parametrize("content", [b"[]", b"{", b""])
def test_an_unreadable_claim_is_named(made, system, content):
    system.pipe_file(f"{ADDRESS}/{CLAIM}", content)
    with pytest.raises(CorruptStoreError, match=r"writing\.json"):
        extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)


def test_a_finished_store_needs_no_claim(made, system, monkeypatch):
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    for name in ("create", "remove", "write"):  # As for those who may only read.
        monkeypatch.setattr(Driver, name, None)
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)


def test_folders_are_claimed_alike(tmp_path):
    disk = LocalDisk(tmp_path / "ü a")
    with claimed(disk, "one") as check, claimed(disk, "one"):
        check()
        with pytest.raises(StoreError, match="process"), claimed(disk, "other"):
            pass
    assert not (tmp_path / "ü a" / CLAIM).exists()
    with claimed(disk, "other") as check:
        with claimed(disk, "one", take_over=True), pytest.raises(StoreError):
            check()
        check()  # Whoever took it over is done.


@pytest.mark.slow
def test_one_of_many_writers_has_an_object_of_s3(s3_bucket):
    drivers = [Driver(f"s3://{s3_bucket}/place") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda pair: pair[1].create("claim", b"%d" % pair[0]), enumerate(drivers))
        )
    assert sum(made) == 1
    assert drivers[0].read("claim") == b"%d" % made.index(True)


@pytest.mark.slow
def test_a_store_is_extracted_to_s3(made, s3_bucket):
    address = f"s3://{s3_bucket}/features"
    for config in (OTHER, CONFIG):
        extract_tiny_to(made / "checkpoint", address, config)
    system = fsspec.filesystem("s3")
    skipped = len(f"{s3_bucket}/features/")
    found = {name[skipped:]: system.cat_file(name) for name in system.find(f"{s3_bucket}/features")}
    assert found == files(made / "features.zarr")
