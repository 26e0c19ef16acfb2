"""Extra arrays come from archives, go back to them, and are a part of the store for all."""

import numpy as np
import pytest
from store_samples import HEAD

from ltood.core.errors import DataError, StoreError
from ltood.store.exchange import export_split, import_folder
from ltood.store.features import FeatureStore
from ltood.store.layout import ArraySpec, SplitSpec, StoreSpec, part_name
from ltood.store.verifying import store_files, verify_store

ROWS, DIM = 9, HEAD["weight"].shape[1]


def archive(rng, rows=ROWS):
    return {
        "features": rng.normal(size=(rows, DIM)).astype(np.float32),
        "labels": np.arange(rows) % 3,
        "odin/features": rng.normal(size=(rows, DIM)).astype(np.float32),
        "own/maps": rng.normal(size=(rows, 2, 3)).astype(np.float16),
    }


@pytest.fixture
def folder(tmp_path, rng):
    np.savez(tmp_path / "head.npz", **HEAD)
    np.savez(tmp_path / "test.npz", **archive(rng))
    bare = {k: v for k, v in archive(rng).items() if "/" not in k}
    np.savez(tmp_path / "train.npz", **bare)
    return tmp_path


def test_archives_and_stores_hold_the_same(folder, tmp_path):
    store = import_folder(folder, tmp_path / "s.zarr")
    assert store.splits == ["train", "test"]
    assert store.groups("test") == ["odin", "own"]
    assert store.groups("train") == []
    split = store.split("test")
    assert split.array_spec("own/maps") == ArraySpec("float16", (2, 3))
    arrays = export_split(store.path, "test", tmp_path / "out.npz")
    with np.load(folder / "test.npz") as given, np.load(tmp_path / "out.npz") as found:
        assert {*given} <= {*arrays} == {*found}
        for name in given:
            np.testing.assert_array_equal(found[name], given[name])


def test_verifying_and_sending_see_every_file(folder, tmp_path):
    store = import_folder(folder, tmp_path / "s.zarr")
    assert [name for name, _ in verify_store(store.path)] == store.parts
    on_disk = [p.relative_to(store.path).as_posix() for p in store.path.rglob("*") if p.is_file()]
    assert store_files(store) == sorted(on_disk)


def test_zarr_reads_them(folder, tmp_path):
    import zarr

    store = import_folder(folder, tmp_path / "s.zarr")
    found = zarr.open_group(str(store.path), mode="r")["test/odin/features"][:]
    np.testing.assert_array_equal(found, store.split("test").read("odin/features", 0, ROWS))


def test_a_second_import_goes_on(folder, tmp_path):
    store = import_folder(folder, tmp_path / "s.zarr")
    assert import_folder(folder, store.path).fingerprint == store.fingerprint


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("odin/features", np.zeros((ROWS + 1, DIM)), "rows"),
        ("odin/features", np.full((ROWS, DIM), np.nan), "NaN or infinity"),
        ("odin/features", np.zeros((ROWS, DIM), bool), "holds numbers"),
    ],
)
def test_faults_are_named(folder, tmp_path, rng, name, values, message):
    np.savez(folder / "test.npz", **{**archive(rng), name: values})
    with pytest.raises(DataError, match=rf"(?s){name}.*{message}"):
        import_folder(folder, tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()


def spec(**parts):
    arrays = {"features": ArraySpec("float32", (DIM,))}
    return StoreSpec({"test": SplitSpec(ROWS, arrays), **parts})


@pytest.mark.parametrize("name", ["val/odin", "test/", "test/a/b", "test/.done", "test/.."])
def test_parts_without_a_split_or_a_name_are_refused(name):
    part = SplitSpec(ROWS, {"features": ArraySpec("float32", (DIM,))})
    with pytest.raises(StoreError, match=r"extra arrays|split name"):
        spec(**{name: part})


def test_parts_of_other_rows_are_refused():
    part = SplitSpec(ROWS + 1, {"features": ArraySpec("float32", (DIM,))})
    with pytest.raises(StoreError, match=f"{ROWS + 1} rows"):
        spec(**{part_name("test", "odin"): part})


@pytest.mark.parametrize("width", [1, 10**5])
def test_chunks_of_a_part_lie_within_those_of_its_split(width):
    part = SplitSpec(50_000, {"map": ArraySpec("float32", (width,))})
    whole = SplitSpec(50_000, {"features": ArraySpec("float32", (DIM,))})
    found = StoreSpec({"test": whole, "test/own": part})
    assert found.chunk_rows("test") % found.chunk_rows("test/own") == 0
    assert found.chunk_rows("test/own") * width * 4 <= 2 * 16 * 2**20


def test_old_stores_have_no_parts(tmp_path, folder):
    (folder / "test.npz").unlink()
    store = import_folder(folder, tmp_path / "s.zarr")
    assert FeatureStore.open(store.path).parts == ["train"]
