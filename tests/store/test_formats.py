import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.feather
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import save_file

from ltood.core.errors import ConfigError, DataError, MissingPackageError
from ltood.store.exchange import import_folder
from ltood.store.formats import open_table

ROOT = Path(__file__).resolve().parents[2]
CLASSES, DIM, ROWS = 3, 5, 12


@pytest.fixture
def arrays():
    """Arrays of a folder: head, train and an OOD set."""
    rng = np.random.default_rng(0)
    return {
        "head": {
            "weight": rng.normal(size=(CLASSES, DIM)).astype(np.float32),
            "bias": rng.normal(size=CLASSES).astype(np.float32),
        },
        "train": {
            "features": rng.normal(size=(ROWS, DIM)).astype(np.float32),
            "labels": np.arange(ROWS) % CLASSES,
        },
        "ood_far_away": {"features": rng.normal(size=(7, DIM)).astype(np.float32)},
    }


def as_npz(folder, name, arrays):
    np.savez(folder / f"{name}.npz", **arrays)


def as_npy(folder, name, arrays):
    for key, values in arrays.items():
        np.save(folder / f"{name}_{key}.npy", values)


def as_safetensors(folder, name, arrays):
    tensors = {key: torch.from_numpy(values) for key, values in arrays.items()}
    save_file(tensors, folder / f"{name}.safetensors")


def as_torch(folder, name, arrays):
    torch.save({k: torch.from_numpy(v) for k, v in arrays.items()}, folder / f"{name}.pt")


def as_tensors(folder, name, arrays):
    for key, values in arrays.items():
        torch.save(torch.from_numpy(values), folder / f"{name}_{key}.pth")


def as_arrow(folder, name, arrays):
    table = pyarrow.table({key: list(values) for key, values in arrays.items()})
    with (
        pyarrow.OSFile(str(folder / f"{name}.arrow"), "wb") as sink,
        pyarrow.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=3)


def as_parquet(folder, name, arrays):
    table = pyarrow.table({key: list(values) for key, values in arrays.items()})
    parquet.write_table(table, folder / f"{name}.parquet", row_group_size=4)


WRITERS = [
    as_npz,
    as_npy,
    as_safetensors,
    as_torch,
    as_tensors,
    as_arrow,
    as_parquet,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_all_formats_give_the_same_rows(tmp_path, arrays, write, monkeypatch):
    monkeypatch.setattr("ltood.store.layout.CHUNK_BYTES", 4 * DIM * 4)
    folder = tmp_path / "in"
    folder.mkdir()
    for name, of in arrays.items():
        (as_npz if name == "head" else write)(folder, name, of)
    store = import_folder(folder, tmp_path / "out.zarr")
    assert store.splits == ["train", "ood_far_away"]
    for name in store.splits:
        rows = store.split(name).load(("features", "labels"))
        np.testing.assert_array_equal(rows["features"], arrays[name]["features"])
        labels = arrays[name].get("labels", np.full(7, -1))
        np.testing.assert_array_equal(rows["labels"], labels)


# In a process of its own, which does not take the folder tests/datasets for the library.
DATA_SETS = """
import sys
from pathlib import Path

import datasets
import numpy as np

from ltood.store.exchange import import_folder

folder, arrays = Path("in"), np.load("arrays.npz")
for name in ("train", "ood_far_away"):
    of = {key.partition("/")[2]: arrays[key] for key in arrays if key.startswith(f"{name}/")}
    datasets.Dataset.from_dict(of).save_to_disk(folder / name)
store = import_folder(folder, Path("out.zarr"))
for name in ("train", "ood_far_away"):
    np.testing.assert_array_equal(
        store.split(name).load(("features",))["features"], arrays[f"{name}/features"]
    )
"""


def test_data_sets_of_hugging_face_give_the_same_rows(tmp_path, arrays):
    (tmp_path / "in").mkdir()
    as_npz(tmp_path / "in", "head", arrays["head"])
    flat = {f"{name}/{key}": rows for name, of in arrays.items() for key, rows in of.items()}
    np.savez(tmp_path / "arrays.npz", **flat)
    done = subprocess.run(
        [sys.executable, "-c", DATA_SETS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("write", [as_npy, as_safetensors, as_torch], ids=lambda w: w.__name__)
def test_heads_have_all_formats_and_names(tmp_path, arrays, write):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, of in arrays.items():
        write(folder, name, of)
    (folder / "head_class_names.txt").write_text("cat\ndog\nemu\n")
    store = import_folder(folder, tmp_path / "out.zarr")
    assert store.class_names == ["cat", "dog", "emu"]
    np.testing.assert_array_equal(store.head_arrays()["weight"], arrays["head"]["weight"])


def test_bfloat16_is_kept_exactly(tmp_path, arrays):
    for name, of in arrays.items():
        as_npz(tmp_path, name, of)
    values = torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(0)).bfloat16()
    (tmp_path / "train.npz").unlink()
    save_file(
        {"features": values, "labels": torch.arange(ROWS) % 3}, tmp_path / "train.safetensors"
    )
    store = import_folder(tmp_path, tmp_path / "out.zarr")
    found = store.split("train").read("features", 0, ROWS)
    np.testing.assert_array_equal(found, values.float().numpy())


@pytest.mark.parametrize(
    ("shape", "pool", "reduce"),
    [
        ((ROWS, DIM, 4, 3), "mean", lambda x: x.mean((2, 3))),
        ((ROWS, DIM, 4, 3), "max", lambda x: x.max((2, 3))),
        ((ROWS, 4, 3, DIM), "mean", lambda x: x.mean((1, 2))),
        ((ROWS, 4, DIM), "mean", lambda x: x.mean(1)),
        ((ROWS, 4, DIM), "cls", lambda x: x[:, 0]),
    ],
)
def test_maps_and_tokens_are_pooled_on_request(tmp_path, arrays, shape, pool, reduce):
    rng = np.random.default_rng(1)
    arrays["train"]["features"] = rng.normal(size=shape).astype(np.float32)
    for name, of in arrays.items():
        as_npz(tmp_path, name, of)
    with pytest.raises(DataError, match="pooled by --pool"):
        import_folder(tmp_path, tmp_path / "out.zarr")
    store = import_folder(tmp_path, tmp_path / "out.zarr", pool=pool)
    found = store.split("train").read("features", 0, ROWS)
    np.testing.assert_allclose(found, reduce(arrays["train"]["features"]), rtol=1e-6, atol=1e-7)
    assert store.provenance["pool"] == pool


@pytest.mark.parametrize(
    ("shape", "pool", "error", "said"),
    [
        ((ROWS, 4, 3, DIM), "cls", DataError, "no first token"),
        ((ROWS, 4, 3, 2), "mean", DataError, "cannot make"),
        ((ROWS, 2, 2, 2, DIM), "mean", DataError, "cannot make"),
        ((ROWS, DIM), "sum", ConfigError, "pool is 'sum'"),
    ],
)
def test_what_cannot_be_pooled_is_refused(tmp_path, arrays, shape, pool, error, said):
    arrays["train"]["features"] = np.zeros(shape, dtype=np.float32)
    for name, of in arrays.items():
        as_npz(tmp_path, name, of)
    with pytest.raises(error, match=said):
        import_folder(tmp_path, tmp_path / "out.zarr", pool=pool)


def test_objects_are_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    torch.save({"features": Evil()}, tmp_path / "train.pt")
    with pytest.raises(DataError, match="could execute code"):
        open_table(tmp_path / "train.pt")
    np.save(tmp_path / "train.npy", np.array([Evil()], dtype=object))
    with pytest.raises(DataError, match=r"train\.npy"):
        open_table(tmp_path / "train.npy")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("ending", ["npy", "safetensors", "pt", "npz"])
def test_damaged_files_are_named(tmp_path, ending):
    for content in (b"", b"something else", b"\x93NUMPY\x01\x00v\x00{'descr'"):
        path = tmp_path / f"train.{ending}"
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"train.{ending}"):
            open_table(path)


@pytest.mark.parametrize("nulls", [[0], [5], range(6)], ids=["first", "last", "all"])
@pytest.mark.parametrize("write", [parquet.write_table, pyarrow.feather.write_feather])
def test_values_that_are_missing_hurt_where_they_are_read(tmp_path, write, nulls):
    def column(values):
        return [None if row in nulls else value for row, value in enumerate(values)]

    ending = "parquet" if write is parquet.write_table else "feather"
    path, features = tmp_path / f"train.{ending}", [[float(row), 1.0] for row in range(6)]
    paths = pyarrow.array(column(list("abcdef")), pyarrow.string())
    write(pyarrow.table({"features": features, "labels": [0, 1] * 3, "path": paths}), path)
    store = import_folder(tmp_path, tmp_path / "out.zarr")
    np.testing.assert_array_equal(store.split("train").load(("features",))["features"], features)
    assert open_table(path).names == ["features", "labels", "path"]
    with pytest.raises(DataError, match="path"):
        open_table(path).load("path")
    labels = pyarrow.array(column([0, 1] * 3), pyarrow.int64())
    write(pyarrow.table({"features": features, "labels": labels}), path)
    with pytest.raises(DataError, match="labels"):
        import_folder(tmp_path, tmp_path / "out.zarr", overwrite=True)


def test_two_files_with_the_same_array_are_refused(tmp_path, arrays):
    for name, of in arrays.items():
        as_npz(tmp_path, name, of)
    np.save(tmp_path / "train_labels.npy", arrays["train"]["labels"])
    with pytest.raises(DataError, match="labels is in another file"):
        import_folder(tmp_path, tmp_path / "out.zarr")


@pytest.mark.parametrize(("ending", "package"), [("parquet", "pyarrow"), ("feather", "pyarrow")])
def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch, ending, package):
    monkeypatch.setattr("ltood.runtime.extras.is_there", lambda module: module != package)
    path = tmp_path / f"train.{ending}"
    path.write_bytes(b"PAR1")
    with pytest.raises(MissingPackageError, match=f"(?i)needs {package}.*pip install"):
        open_table(path)
