"""Extraction to an address gives the bytes of extraction to a folder, however often interrupted."""

import pytest
from image_samples import (
    TinyImages,
    extract_tiny,
    extract_tiny_to,
    extracted_tiny,
    one_thread,
    tree,
)

from ltood.core.errors import StoreError
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.repair import repair
from ltood.runtime.drivers import Driver
from ltood.sharing.copying import copy_store
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
    system.rm("/bucket", recursive=True)


def there(system):
    """Every file at the address, by its name in the store."""
    found = system.find("/bucket/features")
    return {name.removeprefix("/bucket/features/"): system.cat_file(name) for name in found}


def files(path):
    return {name: content for name, content in tree(path).items() if not name.endswith("/")}


class Stopped(Exception):
    pass


def test_bytes_are_those_of_a_folder(made, system, monkeypatch):
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    assert there(system) == files(made / "features.zarr")
    monkeypatch.setattr(Driver, "write", None)  # Nothing is written a second time.
    extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)


@pytest.mark.parametrize(
    "after", [30, *(pytest.param(count, marks=pytest.mark.slow) for count in (0, 7, 60, 74))]
)
def test_a_run_that_was_stopped_goes_on(made, system, monkeypatch, after):
    write, names = Driver.write, []

    def stopping(driver, name, content):
        if len(names) >= after:
            raise Stopped
        names.append(name)
        write(driver, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "write", stopping)
        with pytest.raises(Stopped):
            extract_tiny_to(made / "checkpoint", ADDRESS, CONFIG)
    before = set(there(system))
    assert "zarr.json" not in before
    with pytest.raises(StoreError):
        FeatureStore.open(ADDRESS)
    names.clear()
    after = 10**6
    monkeypatch.setattr(Driver, "write", stopping)
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
