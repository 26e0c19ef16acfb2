import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import (
    COUNTS,
    HEAD,
    NAMES,
    PROVENANCE,
    array_specs,
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

from ltood.core.errors import DataError, FingerprintError, IncompleteStoreError, StoreError
from ltood.store import features as features_module
from ltood.store.features import ArraySpec, FeatureStore, SplitSpec, StoreSpec


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_was_written_is_read_back(data):
    spec = make_spec(
        data.draw(st.none() | st.integers(1, 9), label="rows per chunk"),
        data.draw(st.sampled_from(["float32", "float16"]), label="dtype"),
        local=data.draw(st.booleans(), label="local"),
        train=data.draw(st.integers(1, 23), label="train rows"),
        ood_a=data.draw(st.integers(1, 5), label="ood rows"),
    )
    order = data.draw(st.permutations(ranges(spec)), label="order")
    stop = data.draw(st.integers(0, len(order)), label="interrupted after")
    batch = data.draw(st.integers(1, 25), label="batch")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.zarr"
        write(create(path, spec), order[:stop])
        writer = resume(path, spec)
        assert missing(writer) == sorted(order[stop:])
        write(writer, order[stop:])
        writer.finish()
        for split, expected in contents(spec).items():
            parts = list(FeatureStore.open(path).split(split).batches(batch, sorted(expected)))
            assert all(len(part["ids"]) == batch for part in parts[:-1])
            for name, values in expected.items():
                read = np.concatenate([part[name] for part in parts])
                assert read.dtype == values.dtype
                assert read.tobytes() == values.tobytes()


def test_any_row_range_is_read_back(tmp_path):
    split = FeatureStore.open(write_store(tmp_path / "store")).split("train")
    expected = contents(make_spec())["train"]
    for start in range(10):
        for stop in range(start + 1, 11):
            for name in ("features", "labels"):
                np.testing.assert_array_equal(
                    split.read(name, start, stop), expected[name][start:stop]
                )


@pytest.mark.parametrize("bounds", [(0, 0), (3, 2), (-1, 2), (0, 11), (10, 12)])
def test_rows_outside_the_split_are_refused_and_never_padding(tmp_path, bounds):
    split = FeatureStore.open(write_store(tmp_path / "store")).split("train")
    with pytest.raises(StoreError, match=rf"rows {bounds[0]} to {bounds[1]} of split train were"):
        split.read("features", *bounds)


def test_a_store_describes_itself(tmp_path):
    spec = make_spec(ood_b=2, test=3, ood_a=1, aux=2, train=5)
    store = FeatureStore.open(str(write_store(tmp_path / "store", spec)))
    assert store.splits == ["train", "test", "aux", "ood_a", "ood_b"]
    assert store.ood_splits == ["ood_a", "ood_b"]
    assert store.class_names == NAMES
    assert store.prior().counts.tolist() == COUNTS
    assert store.provenance == {**PROVENANCE, "mean": [0.5, 0.25]}
    assert len(store.fingerprint) == 64
    split = store.split("train")
    assert (len(split), split.dim, split.num_outputs) == (5, 4, 3)
    assert split.arrays == ["features", "ids", "labels", "logits"]
    head = store.head_arrays()
    assert head.keys() == HEAD.keys()
    for name, values in HEAD.items():
        assert head[name].shape == values.shape
        np.testing.assert_array_equal(head[name], values)
        assert not head[name].flags.writeable


def test_zarr_reads_the_same_values(tmp_path):
    spec = make_spec(3, "float16", local=True, train=10, ood_a=1)
    group = zarr.open_group(str(write_store(tmp_path / "store", spec)), mode="r")
    assert group.metadata.zarr_format == 3
    assert sorted(group.group_keys()) == ["head", "ood_a", "train"]
    assert sorted(group["train"].array_keys()) == sorted(spec.splits["train"].arrays)
    for split, arrays in contents(spec).items():
        for name, values in arrays.items():
            stored = group[f"{split}/{name}"]
            assert stored.dtype == values.dtype
            np.testing.assert_array_equal(stored[...], values)
    for name, values in HEAD.items():
        np.testing.assert_array_equal(group[f"head/{name}"][...], values)


def test_unwritten_rows_show_as_nan_and_minus_one(tmp_path):
    create(tmp_path / "store", make_spec())
    group = zarr.open_group(str(tmp_path / "store"), mode="r")
    assert np.isnan(group["train/features"][...]).all()
    assert (group["train/labels"][...] == -1).all()


def test_arrays_are_read_only_and_tensors_cannot_reach_the_file(tmp_path):
    path = write_store(tmp_path / "store")
    before = tree(path)
    split = FeatureStore.open(path).split("train")
    within, across = split.read("features", 0, 2), split.read("features", 2, 6)
    for rows in (within, across):
        with pytest.raises(ValueError, match="read-only"):
            rows[0] = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(within)
    tensor.fill_(42)
    assert (within == 42).all()
    assert tree(path) == before
    fresh = FeatureStore.open(path).split("train").read("features", 0, 2)
    np.testing.assert_array_equal(fresh, contents(make_spec())["train"]["features"][:2])


def test_load_reads_whole_arrays_up_to_the_limit(tmp_path, monkeypatch):
    split = FeatureStore.open(write_store(tmp_path / "store")).split("train")
    loaded = split.load(["features", "labels"])
    assert loaded.keys() == {"features", "labels"}
    np.testing.assert_array_equal(loaded["features"], contents(make_spec())["train"]["features"])
    monkeypatch.setattr(features_module, "LOAD_LIMIT_GIB", 1e-9)
    with pytest.raises(
        StoreError, match=r"features, ids of split train take .* GiB, more than .*batches\(\)"
    ):
        split.load(["features", "ids"])


def test_names_and_sizes_that_cannot_be_read_are_refused(tmp_path):
    store = FeatureStore.open(write_store(tmp_path / "store"))
    with pytest.raises(StoreError, match=r"has no split 'test'; it has train\."):
        store.split("test")
    split = store.split("train")
    rule = r"has no array 'local'; it has features, ids, labels, logits\."
    for read in (
        lambda: split.read("local", 0, 1),
        lambda: split.load(["local"]),
        lambda: list(split.batches(4, ["local"])),
    ):
        with pytest.raises(StoreError, match=rule):
            read()
    for rows in (0, -3):
        with pytest.raises(StoreError, match=rf"batches of {rows} rows were asked for; a batch"):
            list(split.batches(rows))


def test_opening_and_reading_needs_neither_zarr_nor_torch(tmp_path):
    path = write_store(tmp_path / "store")
    code = (
        "import sys; from pathlib import Path; from ltood.store.features import FeatureStore\n"
        "from ltood.store.scores import ScoreStore\n"
        "store = FeatureStore.open(Path(sys.argv[1])); store.head_arrays(); store.prior()\n"
        "print(store.split('train').read('features', 0, 10).shape)\n"
        "heavy = {'zarr', 'torch', 'faiss', 'sklearn', 'matplotlib'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "(10, 4)\n"), done.stderr


def test_an_existing_path_is_never_created_over(tmp_path):
    path = write_store(tmp_path / "store")
    before = tree(path)
    with pytest.raises(StoreError, match=r"store exists already; choose another path or remove"):
        create(path, make_spec())
    assert tree(path) == before


def test_a_path_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write .*file/store: "):
        create(tmp_path / "file" / "store", make_spec())


def test_a_store_that_appears_meanwhile_is_reported(tmp_path, monkeypatch):
    def overtaken(store):
        monkeypatch.undo()
        zarr.consolidate_metadata(store)
        write_store(tmp_path / "store")

    monkeypatch.setattr(zarr, "consolidate_metadata", overtaken)
    with pytest.raises(StoreError, match=r"store exists already"):
        create(tmp_path / "store", make_spec())
    assert [file.name for file in tmp_path.iterdir()] == ["store"]


def test_an_interrupted_creation_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(store):
        raise KeyboardInterrupt

    monkeypatch.setattr(zarr, "consolidate_metadata", interrupt)
    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "store", make_spec())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "spec", "sentence"),
    [
        ({"provenance": {**PROVENANCE, "checkpoint": "sha256:99"}}, None,
         r"\(provenance\.checkpoint was 'sha256:12ab', now 'sha256:99'\)"),
        ({"provenance": {**PROVENANCE, "seed": None}}, None,
         r"\(provenance\.seed was absent, now None\)"),
        ({"provenance": {**PROVENANCE, "dataset": {"name": "x" * 60}}}, None,
         r"provenance\.dataset\.name was 'cifar10_lt', now 'x+…"),
        ({"class_counts": [50, 5, 2]}, None,
         r"\(class_counts was \[50, 5, 1\], now \[50, 5, 2\]\)"),
        ({"class_names": ["cat", "dog", "emu"]}, None, r"class_names was .*'owl'.* now .*'emu'"),
        ({"head": {**HEAD, "bias": HEAD["bias"] + 1}}, None, r"\(head\.bias\.crc32c was '"),
        ({}, make_spec(5), r"\(splits\.train\.rows_per_chunk was 4, now 5\)"),
        ({}, make_spec(4, "float16"), r"\(splits\.train\.arrays\.features\.dtype was 'float32'"),
        ({}, make_spec(4, train=10, ood_a=1), r"\(splits\.ood_a was absent, now"),
    ],
)  # fmt: skip
def test_other_inputs_are_named_and_refused(tmp_path, changes, spec, sentence):
    path = write_store(tmp_path / "store")
    with pytest.raises(FingerprintError, match=sentence) as error:
        resume(path, spec or make_spec(), **changes)
    assert str(error.value).endswith("Remove it or write to another path.")


def test_equal_inputs_have_equal_fingerprints_whatever_their_order(tmp_path):
    path = write_store(tmp_path / "store")
    shuffled = dict(reversed(PROVENANCE.items()), mean=[0.5, 0.25])
    head = dict(reversed(HEAD.items()))
    assert missing(resume(path, make_spec(), provenance=shuffled, head=head)) == []


def test_what_cannot_be_compared_later_is_no_provenance(tmp_path):
    for value in (tmp_path, float("nan"), {1}):
        with pytest.raises(DataError, match=r"the provenance holds something other than finite"):
            create(tmp_path / "store", make_spec(), provenance={"checkpoint": value})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"head": {**HEAD, "wieght": HEAD["bias"]}}, r"the head has unknown arrays \['wieght'\]"),
        ({"head": {"bias": HEAD["bias"]}}, r"it needs weight \[C, D\] and bias \[C\]"),
        ({"head": {**HEAD, "weight": HEAD["bias"]}}, r"weight has shape \(3,\); it must"),
        ({"head": {**HEAD, "bias": HEAD["bias"][:2]}}, r"bias has shape \(2,\)"),
        ({"class_names": ["cat"]}, r"there are 1 class names but the head has 3 classes"),
        ({"class_counts": [1, 2]}, r"there are 2 class counts but the head has 3 classes"),
        ({"head": {**HEAD, "extra_bias": np.zeros(1, np.float32)}}, r"must be given together"),
        ({"head": {**HEAD, "extra_bias": np.zeros(1, np.float32),
                   "extra_weight": np.zeros((1, 4), np.float32)}},
         r"logits of split train has rows of shape \(3,\); with this head they must be \(4,\)"),
    ],
)  # fmt: skip
def test_a_head_that_disagrees_is_refused(tmp_path, changes, sentence):
    with pytest.raises(DataError, match=sentence):
        create(tmp_path / "store", make_spec(), **changes)
    assert not list(tmp_path.iterdir())


def test_every_split_holds_the_four_arrays(tmp_path):
    arrays = {name: array for name, array in array_specs().items() if name != "ids"}
    with pytest.raises(DataError, match=r"split test lacks the array ids\."):
        create(tmp_path / "store", StoreSpec({"test": SplitSpec(1, arrays)}))
    arrays = array_specs() | {"labels": ArraySpec("int64", (2,))}
    with pytest.raises(DataError, match=r"labels of split test has rows of shape \(2,\); with"):
        create(tmp_path / "store", StoreSpec({"test": SplitSpec(1, arrays)}))


@pytest.mark.parametrize(
    ("start", "change", "sentence"),
    [
        (1, {}, r"row 1 is not the first of a chunk of split train \(4 rows each\)\."),
        (12, {}, r"row 12 is not the first of a chunk"),
        (0, {"local": np.zeros(4)}, r"split train takes features, ids, .*; got features, ids, .*l"),
        (0, {"ids": np.arange(3)}, r"ids of split train at row 0 has shape \(3,\); it must be \(4"),
        (8, {}, r"at row 8 has shape \(4.*; it must be \(2"),
        (0, {"labels": np.zeros(4)}, r"labels of split train at row 0 is float64; the store hold"),
        (0, {"features": np.full((4, 4), 7e4, np.float32)},
         r"features of split train has values of rows 0 to 4 that are too large for float16; sc"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_refused(tmp_path, start, change, sentence):
    spec = make_spec(4, "float16")
    writer = create(tmp_path / "store", spec)
    rows = {name: values[:4] for name, values in contents(spec)["train"].items()} | change
    with pytest.raises(StoreError, match=sentence):
        writer.write("train", start, rows)
    assert len(writer.missing("train")) == 3


def test_wider_values_are_rounded_to_the_stored_type(tmp_path):
    spec = make_spec(4, "float16", train=4)
    writer = create(tmp_path / "store", spec)
    rows = contents(spec)["train"]
    wide = np.float32([[1.0001, 0.1, -np.inf, 65504]] * 4)
    writer.write("train", 0, rows | {"features": wide, "labels": np.zeros(4, np.int32)})
    split = FeatureStore.open(tmp_path / "store").split("train")
    np.testing.assert_array_equal(split.read("features", 0, 4), wide.astype(np.float16))
    assert split.read("labels", 0, 4).dtype == np.int64


def test_an_unfinished_store_says_how_far_it_is(tmp_path):
    spec = make_spec(400, train=2500)
    writer = create(tmp_path / "store", spec)
    write(writer, [("train", 400, 800), ("train", 2400, 2500)])
    with pytest.raises(
        IncompleteStoreError, match=r"split train of .* has 500 of 2,500 rows; run the stage"
    ):
        FeatureStore.open(tmp_path / "store").split("train")
    with pytest.raises(StoreError, match=r"split train of .* still misses rows from 0\."):
        writer.finish()
    assert FeatureStore.open(tmp_path / "store").attributes["complete"] is False
