import numpy as np
import pytest
import torch

import ltood
from ltood.core.errors import DataError, LtoodError, StoreError
from ltood.library.columns import Column
from ltood.library.features import Split
from ltood.library.opening import open_features
from ltood.store.exchange import import_folder

CLASSES, DIM = 3, 5
NAMES = ["cat", "dog", "emu"]


@pytest.fixture
def given():
    """Head and splits of one network."""
    rng = np.random.default_rng(0)
    return {
        "head": {
            "weight": rng.normal(size=(CLASSES, DIM)).astype(np.float32),
            "bias": rng.normal(size=CLASSES).astype(np.float32),
            "class_names": np.array(NAMES),
        },
        "train": {
            "features": rng.normal(size=(30, DIM)).astype(np.float32),
            "labels": np.arange(30) % CLASSES,
        },
        "test": {
            "features": rng.normal(size=(12, DIM)).astype(np.float32),
            "labels": np.arange(12) % CLASSES,
        },
        "ood_far": {"features": rng.normal(size=(7, DIM)).astype(np.float32)},
    }


def as_folder(path, given):
    path.mkdir()
    for name, arrays in given.items():
        np.savez(path / f"{name}.npz", **arrays)
    return path


def as_store(path, given):
    as_folder(path.with_suffix(".in"), given)
    import_folder(path.with_suffix(".in"), path)
    return path


def splits_of(given):
    return {name: arrays for name, arrays in given.items() if name != "head"}


def head_of(given):
    return given["head"]["weight"], given["head"]["bias"]


def same(found, given):
    assert found.splits == ["train", "test", "ood_far"]
    assert found.class_names == NAMES
    assert found.prior.counts.tolist() == [10, 10, 10]
    weight, bias = head_of(given)
    np.testing.assert_array_equal(found.head.weight, weight)
    for name, arrays in splits_of(given).items():
        split = found[name]
        rows = len(arrays["features"])
        assert len(split) == rows
        np.testing.assert_array_equal(split.features, arrays["features"])
        np.testing.assert_array_equal(split.features[2:5], arrays["features"][2:5])
        np.testing.assert_array_equal(split.ids, np.arange(rows))
        np.testing.assert_array_equal(split.labels, arrays.get("labels", np.full(rows, -1)))
        expected = arrays["features"] @ weight.T + bias
        np.testing.assert_allclose(split.logits[:], expected, rtol=1e-5, atol=1e-6)


def test_store_folder_and_arrays_open_alike(tmp_path, given):
    same(open_features(as_store(tmp_path / "f.zarr", given)), given)
    same(open_features(as_folder(tmp_path / "npz", given)), given)
    memory = open_features(splits_of(given), head=head_of(given), class_names=NAMES)
    same(memory, given)
    saved = memory.save(tmp_path / "saved.zarr")
    same(saved, given)
    assert saved.path == tmp_path / "saved.zarr"
    assert "logits" not in saved.bare("test").columns
    with pytest.raises(StoreError, match="exists already"):
        memory.save(tmp_path / "saved.zarr")
    same(ltood.open_features(str(tmp_path / "saved.zarr")), given)


def test_arrays_are_not_copied(given):
    found = open_features(splits_of(given))
    assert np.shares_memory(found["train"].features[3:9], given["train"]["features"])


def test_npy_files_stay_on_disk(tmp_path, given):
    for name, arrays in splits_of(given).items():
        for key, values in arrays.items():
            np.save(tmp_path / f"{name}_{key}.npy", values)
    found = open_features(tmp_path, head=head_of(given), class_names=NAMES)
    same(found, given)
    assert isinstance(found["train"].features[2:4].base, np.memmap)


def test_pairs_tensors_and_short_names(given):
    train = torch.tensor(given["train"]["features"]), torch.arange(30) % CLASSES
    found = open_features({"train": train, "far": given["ood_far"]["features"]})
    assert found.splits == ["train", "ood_far"]
    np.testing.assert_array_equal(found["far"].features, given["ood_far"]["features"])
    assert "far" in found
    assert found.class_names == ["0", "1", "2"]
    for read in (lambda: found.head, lambda: found["train"].logits):
        with pytest.raises(LtoodError, match=r"a head|no logits"):
            read()


COLUMN = Column.of("rows", np.arange(60).reshape(20, 3))


@pytest.mark.parametrize(
    "key",
    [
        slice(None),
        slice(2, 7),
        slice(15, 99),
        slice(-4, None),
        slice(1, 12, 3),
        slice(9, 2),
        slice(None, None, -1),
        5,
        -1,
        np.int64(3),
        (slice(2, 5), 1),
        (4, 2),
        (slice(None), slice(0, 2)),
        [3, 1, 1],
        np.arange(20) % 2 == 0,
        (np.array([1, 2]), 0),
        (...,),
        None,
    ],
)
def test_columns_slice_as_arrays_do(key):
    np.testing.assert_array_equal(COLUMN[key], np.arange(60).reshape(20, 3)[key])


def test_columns_loop_and_refuse_rows_that_are_not_there():
    np.testing.assert_array_equal(list(COLUMN), np.arange(60).reshape(20, 3))
    with pytest.raises(IndexError):
        _ = COLUMN[20]


def test_columns_too_large_for_memory_are_refused():
    endless = Column("features of train", (2**40, 8), "float32", lambda start, stop: None)
    with pytest.raises(DataError, match="limit of 8"):
        np.asarray(endless)


def other_network(given, order):
    """The same images in another order, through a network with twice as many features."""
    rng = np.random.default_rng(1)
    made = {}
    for name, arrays in splits_of(given).items():
        rows = len(arrays["features"])
        features = rng.normal(size=(rows, 2 * DIM)).astype(np.float32)
        ids = order(np.arange(rows))
        made[name] = {"features": features[ids], "ids": ids}
        if "labels" in arrays:
            made[name]["labels"] = arrays["labels"][ids]
        made[name]["whole"] = features
    return made


ORDERS = [
    lambda ids: ids,
    lambda ids: ids[::-1].copy(),
    lambda ids: np.random.default_rng(2).permutation(ids),
]


@pytest.mark.parametrize("order", ORDERS)
def test_several_sources_are_joined_by_ids(tmp_path, given, order):
    other = other_network(given, order)
    whole = {name: arrays.pop("whole") for name, arrays in other.items()}
    one = open_features(as_store(tmp_path / "a.zarr", given))
    two = open_features(other, class_names=NAMES)
    both = open_features([one, two])
    for name in one:
        expected = np.concatenate([given[name]["features"], whole[name]], axis=1)
        np.testing.assert_array_equal(both[name].features, expected)
        np.testing.assert_array_equal(both[name].features[3:6], expected[3:6])
        np.testing.assert_array_equal(both[name].labels, one[name].labels)
    assert not both.head_arrays
    named = open_features([tmp_path / "a.zarr", other], class_names=NAMES)
    np.testing.assert_array_equal(named["test"].features, both["test"].features)
    assert named.class_names == NAMES
    chosen = open_features([two, one], take=1)
    np.testing.assert_array_equal(chosen["test"].ids, two["test"].ids)
    np.testing.assert_allclose(
        chosen["test"].logits,
        np.asarray(one["test"].logits)[order(np.arange(12))],
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_array_equal(
        both.save(tmp_path / "both.zarr")["test"].features, both["test"].features
    )


def test_features_take_the_head_of_another_network(tmp_path, given):
    path = as_store(tmp_path / "a.zarr", given)
    weight, bias = head_of(given)
    found = open_features(path, head=(2 * weight, bias))
    expected = given["test"]["features"] @ (2 * weight).T + bias
    np.testing.assert_allclose(found["test"].logits, expected, rtol=1e-5)
    bare = open_features(splits_of(given), head=path, class_names=NAMES)
    same(bare, given)
    same(open_features(splits_of(given), head=open_features(path), class_names=NAMES), given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda two: two["test"].update(ids=np.arange(1, 13)), "11 have the same id"),
        (lambda two: two["test"].update(ids=np.zeros(12, dtype=int)), "an id twice in test"),
        (lambda two: two["test"].update(labels=(np.arange(12) + 1) % 3), "label for id 0"),
        (lambda two: two["train"].update(labels=np.arange(30) % 4), "different class names"),
    ],
)
def test_sources_that_do_not_fit_are_refused(given, change, message):
    two = {name: dict(arrays) for name, arrays in splits_of(given).items()}
    change(two)
    with pytest.raises(DataError, match=message):
        open_features([open_features(splits_of(given)), open_features(two)])


def test_a_store_with_repeated_ids_is_not_joined(given):
    one = open_features(splits_of(given))
    split = one.bare("test")
    twice = Split("test", {**split.columns, "ids": Column.of("ids", np.zeros(12, dtype=int))})
    two = one.replaced({"test": twice}, None, None)
    with pytest.raises(DataError, match="source 1 has an id twice in test"):
        open_features([one, two])


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ([], {}, "nothing to open"),
        ({}, {}, "no splits"),
        ({"train": (np.zeros((4, 2)), [0, 1, 2, 0])}, {"head": (np.zeros((3, 5)), None)}, "head"),
        ({"train": (np.zeros((4, 2)), [0, 1, 2])}, {}, "same rows"),
        ({"train": np.zeros((4, 2))}, {}, "no array 'labels'"),
        ({"train": (np.zeros((4, 2)), [0, -1, 1, 2])}, {}, r"labels\[1\] is -1"),
        ({"train": (np.zeros((3, 2, 4, 4)), [0, 1, 2])}, {}, "pooled by"),
        ({"train": (np.zeros((3, 2)), [0, 1, 2])}, {"class_names": ["a"]}, "1 class names"),
        ("nowhere.zarr", {}, "nowhere.zarr"),
    ],
)
def test_what_does_not_fit_is_refused(source, options, message):
    with pytest.raises(LtoodError, match=message):
        open_features(source, **options)


def test_maps_in_memory_are_pooled(given):
    maps = np.random.default_rng(3).normal(size=(30, DIM, 2, 3)).astype(np.float32)
    found = open_features({"train": (maps, np.arange(30) % 3)}, pool="mean")
    np.testing.assert_allclose(found["train"].features, maps.mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_take_must_be_a_source(given):
    with pytest.raises(DataError, match="take is 2"):
        open_features([open_features(splits_of(given))], take=2)
