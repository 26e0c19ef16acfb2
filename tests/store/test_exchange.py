import io
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from store_samples import tree

from ltood.core.errors import CorruptStoreError, DataError, StoreError
from ltood.store.archives import Archive, write_archive
from ltood.store.exchange import export_head, export_split, import_folder
from ltood.store.features import FeatureStore

CLASSES, DIM = 3, 5


def toy(rng, **changes):
    """Arrays of a valid folder; `changes` replaces or (None) removes "<file>.<array>"."""
    weight = rng.normal(size=(CLASSES, DIM)).astype(np.float32)
    bias = rng.normal(size=CLASSES).astype(np.float32)
    folder = {
        "head": {"weight": weight, "bias": bias},
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
    for key, value in changes.items():
        file, _, array = key.partition("__")
        if value is None:
            del folder[file][array]
        else:
            folder.setdefault(file, {})[array] = value
    return folder


def write(path: Path, folder) -> Path:
    path.mkdir()
    for name, arrays in folder.items():
        np.savez(path / f"{name}.npz", **arrays)
    return path


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_round_trip(tmp_path, rng):
    folder = toy(rng, ood_far__sc_label=np.array([-1, 0, -1, 2, -1, -1, -1]))
    store = import_folder(write(tmp_path / "in", folder), tmp_path / "out.zarr")
    assert store.splits == ["train", "test", "ood_far"]
    assert store.prior().counts.tolist() == [10, 10, 10]
    head = store.head_arrays()
    np.testing.assert_array_equal(head["weight"], folder["head"]["weight"])
    for name in ("train", "test", "ood_far"):
        rows = store.split(name).load(("features", "logits", "labels", "ids"))
        features = folder[name]["features"]
        np.testing.assert_array_equal(rows["features"], features)
        expected = features @ head["weight"].T + head["bias"]
        np.testing.assert_allclose(rows["logits"], expected, rtol=1e-6)
        np.testing.assert_array_equal(rows["ids"], np.arange(len(features)))
        export_split(tmp_path / "out.zarr", name, tmp_path / "back" / f"{name}.npz")
    export_head(tmp_path / "out.zarr", tmp_path / "back" / "head.npz")
    again = import_folder(tmp_path / "back", tmp_path / "again.zarr")
    for name in again.splits:
        for key in ("features", "logits", "labels", "ids"):
            a, b = store.split(name).load((key,)), again.split(name).load((key,))
            np.testing.assert_array_equal(a[key], b[key])


def test_optional_arrays_are_kept(tmp_path, rng):
    weight, bias = rng.normal(size=(1, DIM)), rng.normal(size=1)
    local = rng.normal(size=(12, 4, DIM)).astype(np.float16)
    folder = toy(
        rng,
        head__extra_weight=weight,
        head__extra_bias=bias,
        head__logit_scale=np.float32(100.0),
        head__negative_weight=rng.normal(size=(9, DIM)),
        head__no_weight=rng.normal(size=(CLASSES, DIM)),
        head__class_counts=np.array([100, 10, 1]),
        test__local=local,
        test__ids=np.arange(12)[::-1].copy(),
        aux__features=rng.normal(size=(4, DIM)),
        train__features=rng.normal(size=(30, DIM)).astype(np.float16),
    )
    store = import_folder(write(tmp_path / "in", folder), tmp_path / "out.zarr")
    assert store.prior().counts.tolist() == [100, 10, 1]
    assert store.splits == ["train", "test", "aux", "ood_far"]
    test = store.split("test").load(("logits", "local", "ids"))
    expected = folder["test"]["features"] @ weight.T.astype(np.float32) + bias
    np.testing.assert_allclose(test["logits"][:, CLASSES:], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(test["local"], local)
    assert test["ids"][0] == 11
    assert store.split("train").load(("features",))["features"].dtype == np.float16
    head = store.head_arrays()
    assert head["logit_scale"].shape == ()
    assert head["negative_weight"].shape == (9, DIM)
    assert head["no_weight"].shape == (CLASSES, DIM)


BAD = [
    ({"head__weight": None}, "the head has no weight"),
    ({"head__weight": np.zeros(3)}, r"weight has shape \(3,\); it must be \[C, D\]"),
    ({"head__bias": np.zeros(2)}, r"bias has shape \(2,\)"),
    ({"head__bias": np.array([0, np.nan, 0])}, "bias has 1 values that are not finite"),
    ({"head__bias": np.array(["a", "b", "c"])}, "bias is .*; it must be numbers"),
    ({"head__bn_weight": np.zeros(3)}, "3 classes x 5 features"),
    ({"head__extra_weight": np.zeros((0, DIM))}, "must be given together"),
    ({"head__gamma_bias": np.zeros(3)}, "gamma_weight and gamma_bias must be given together"),
    ({"head__energy_map": np.zeros(3)}, r"energy_map has shape \(3,\)"),
    ({"head__negative_weight": np.zeros((0, DIM))}, "negative_weight has no rows"),
    ({"head__no_weight": np.zeros((2, DIM))}, r"no_weight has shape \(2, 5\)"),
    ({"head__weight": np.zeros((3, 4))}, r"features have shape \(7, 5\); .* 4 features"),
    ({"head__class_counts": np.array([1, 2])}, r"class_counts is int64 of shape \(2,\)"),
    ({"head__class_counts": np.array([1, 0, 2])}, r"classes \[1\] have no training images"),
    ({"train__labels": np.zeros(30, dtype=np.int64)}, r"classes \[1, 2\] have no training images"),
    ({"train__labels": None}, "has no array 'labels'"),
    ({"test__labels": np.full(12, 3)}, r"labels\[0\] is 3; it must lie in 0 to 2"),
    ({"test__labels": np.full(12, -1)}, r"labels\[0\] is -1; it must lie in 0 to 2"),
    ({"test__labels": np.zeros(12)}, "labels is float64"),
    ({"test__labels": np.zeros(11, dtype=int)}, "all arrays of a split describe the same rows"),
    ({"ood_far__sc_label": np.full(7, 9)}, r"sc_label\[0\] is 9; it must lie in -1 to 2"),
    ({"test__features": np.zeros((0, DIM))}, "has no rows"),
    ({"test__features": np.zeros(12)}, r"must be \[N, 5\]"),
    ({"test__features": np.zeros((12, DIM), dtype=int)}, "features are int64"),
    ({"test__logits": np.zeros((12, 4))}, r"logits have shape \(12, 4\)"),
    ({"test__local": np.zeros((12, 4, 6))}, r"they must be \[N, P, 5\]"),
    ({"extra__features": np.zeros((3, DIM))}, "extra.npz is not a split"),
    ({"head__weight": np.full((3, DIM), 1e39)}, "weight has 15 values that are not finite"),
    ({"head__logit_scale": np.float32(0)}, "logit_scale is 0.0; .* it must be above 0"),
    (
        {"head__frozen_weight": np.ones((3, DIM)), "head__frozen_copies": np.float32(0)},
        "frozen_copies is 0.0",
    ),
    ({"head__frozen_copies": np.float32(2)}, "frozen_weight and frozen_copies"),
    ({"test__features": np.full((12, DIM), 1e39)}, "features of row 0 hold NaN or infinity"),
    ({"test__features": np.full((12, DIM), 3e38)}, "row 0 are so large that their logits"),
    ({"test__logits": np.full((12, 3), "a")}, "logits are <U1; they must be numbers"),
    ({"test__local": np.full((12, 4, DIM), "a")}, "local are <U1; they must be numbers"),
    ({"test__ids": np.full(12, "a")}, "ids are <U1; they must be whole numbers"),
    ({"test__ids": np.arange(12) + 0.5}, "ids are float64; they must be whole numbers"),
    ({"head__weight": np.array([None] * 3)}, "holds Python objects, which could execute code"),
]


@pytest.mark.parametrize(("changes", "sentence"), BAD)
def test_bad_archives_are_named(tmp_path, rng, changes, sentence):
    folder = write(tmp_path / "in", toy(rng, **changes))
    with pytest.raises(DataError, match=sentence):
        import_folder(folder, tmp_path / "out.zarr")
    # Nothing is left that would stand in the way of corrected archives.
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_by_row(tmp_path, rng, value):
    features = rng.normal(size=(12, DIM))
    features[4, 2] = value
    folder = write(tmp_path / "in", toy(rng, test__features=features))
    with pytest.raises(DataError, match=r"test.npz: features of row 4 hold NaN or infinity"):
        import_folder(folder, tmp_path / "out.zarr")


def test_logits_of_another_network_are_refused(tmp_path, rng):
    folder = toy(rng)
    logits = folder["test"]["features"] @ folder["head"]["weight"].T + folder["head"]["bias"]
    good = write(tmp_path / "good", {**folder, "test": {**folder["test"], "logits": logits}})
    import_folder(good, tmp_path / "good.zarr")
    logits[7] *= 1.01
    bad = write(tmp_path / "bad", {**folder, "test": {**folder["test"], "logits": logits}})
    with pytest.raises(
        DataError, match=r"logits of row 7 differ from features @ weight\.T \+ bias"
    ):
        import_folder(bad, tmp_path / "bad.zarr")


def test_truncated_archives_are_named(tmp_path, rng):
    folder = write(tmp_path / "in", toy(rng))
    path = folder / "train.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"train\.npz is damaged"):
        import_folder(folder, tmp_path / "out.zarr")


def test_a_flipped_byte_in_an_archive_is_noticed(tmp_path, rng):
    folder = write(tmp_path / "in", toy(rng))
    path = folder / "train.npz"
    raw = bytearray(path.read_bytes())
    raw[400] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"train\.npz is damaged"):
        import_folder(folder, tmp_path / "out.zarr")


def test_an_archive_that_ends_early(tmp_path):
    path = tmp_path / "x.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_2_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10, 2)}
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("features.npy", header.getvalue() + b"\0" * 40)
    with pytest.raises(DataError, match="ends 40 bytes early"), Archive(path) as archive:
        archive.load("features")


def test_missing_files_and_folders(tmp_path, rng):
    with pytest.raises(DataError, match="is not a folder"):
        import_folder(tmp_path / "nowhere", tmp_path / "out.zarr")
    empty = write(tmp_path / "empty", {"head": toy(rng)["head"]})
    with pytest.raises(DataError, match="holds no split"):
        import_folder(empty, tmp_path / "out.zarr")
    (empty / "head.npz").unlink()
    with pytest.raises(DataError, match="holds no split"):
        import_folder(empty, tmp_path / "out.zarr")


def test_counts_need_a_source(tmp_path, rng):
    folder = toy(rng)
    del folder["train"]
    with pytest.raises(DataError, match=r"neither class_counts in head\.npz nor train\.npz"):
        import_folder(write(tmp_path / "in", folder), tmp_path / "out.zarr")


def test_unknown_arrays_are_said_and_left_out(tmp_path, rng, capsys):
    folder = toy(rng, test__paths=np.arange(12), head__note=np.zeros(1))
    import_folder(write(tmp_path / "in", folder), tmp_path / "out.zarr")
    said = capsys.readouterr().err
    assert "no split holds 'paths'" in said
    assert "'note' that no head uses" in said


def test_fortran_order_is_read_right(tmp_path, rng):
    features = np.asfortranarray(rng.normal(size=(12, DIM)).astype(np.float32))
    folder = write(tmp_path / "in", toy(rng, test__features=features))
    store = import_folder(folder, tmp_path / "out.zarr")
    np.testing.assert_array_equal(store.split("test").load(("features",))["features"], features)


def test_another_import_is_refused_unless_told(tmp_path, rng):
    first = write(tmp_path / "a", toy(rng))
    second = write(tmp_path / "b", toy(rng))
    import_folder(first, tmp_path / "out.zarr")
    before = FeatureStore.open(tmp_path / "out.zarr").fingerprint
    import_folder(first, tmp_path / "out.zarr")  # the same again: nothing to do
    with pytest.raises(StoreError, match=r"was made from other inputs .*Pass --overwrite"):
        import_folder(second, tmp_path / "out.zarr")
    assert FeatureStore.open(tmp_path / "out.zarr").fingerprint == before
    import_folder(second, tmp_path / "out.zarr", overwrite=True)
    assert FeatureStore.open(tmp_path / "out.zarr").fingerprint != before


def test_refused_archives_leave_the_store_they_were_to_replace(tmp_path, rng):
    store = tmp_path / "out.zarr"
    import_folder(write(tmp_path / "first", toy(rng)), store)
    before = FeatureStore.open(store).fingerprint
    broken = toy(rng)
    broken["test"]["features"][3, 1] = np.nan
    with pytest.raises(DataError, match="features of row 3 hold NaN"):
        import_folder(write(tmp_path / "second", broken), store, overwrite=True)
    assert FeatureStore.open(store).fingerprint == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "out.zarr", "second"]
    # What a killed command left of the new store is gone on with, or makes way.
    shutil.copytree(store, tmp_path / ".out.zarr.new")
    import_folder(write(tmp_path / "third", toy(rng)), store, overwrite=True)
    assert FeatureStore.open(store).fingerprint != before
    assert not (tmp_path / ".out.zarr.new").exists()


def test_overwrite_never_removes_what_is_no_store(tmp_path, rng):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(StoreError):
        import_folder(write(tmp_path / "in", toy(rng)), tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_memory_does_not_grow_with_the_archive(tmp_path, rng):
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.npz"
        write_archive(path, {"x": ((rows, 64), "float32", (np.zeros((rows, 64)),))})
        tracemalloc.start()
        with Archive(path) as archive:
            for _ in archive.blocks("x", [1000] * (rows // 1000)):
                pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small, large = peak(4000), peak(64000)
    assert large < 1.5 * small


def test_written_archives_have_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_archive(tmp_path / f"{name}.npz", {"x": ((2,), "int64", [np.arange(2)])})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 1]


def test_a_changed_store_is_not_exported(tmp_path, rng):
    import_folder(write(tmp_path / "in", toy(rng)), tmp_path / "out.zarr")
    chunk = tmp_path / "out.zarr" / "test" / "features" / "c" / "0" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[0] ^= 1
    chunk.write_bytes(bytes(raw))
    with pytest.raises(CorruptStoreError, match="its bytes changed"):
        export_split(tmp_path / "out.zarr", "test", tmp_path / "test.npz")
    assert not (tmp_path / "test.npz").exists()


def test_import_needs_no_torch():
    code = "import sys, ltood.store.exchange; assert not {'torch', 'zarr'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_logits_that_follow_from_the_head_are_not_stored(tmp_path, rng):
    given = toy(rng)
    head, features = given["head"], given["test"]["features"]
    given["test"]["logits"] = features @ head["weight"].T + head["bias"]
    store = import_folder(write(tmp_path / "in", given), tmp_path / "out.zarr")
    assert "logits" in store.rows("test").spec.arrays
    assert "logits" not in store.rows("train").spec.arrays
    assert not (tmp_path / "out.zarr" / "train" / "logits").exists()
    assert store.split("train").arrays == store.split("test").arrays
    assert store.split("train").num_outputs == CLASSES
    logits = store.split("train").read("logits", 3, 9)
    expected = given["train"]["features"][3:9] @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    assert not logits.flags.writeable
    assert "logits" in export_split(tmp_path / "out.zarr", "train", tmp_path / "train.npz")


def test_class_names_survive_export_and_import(tmp_path, rng):
    names = ["Katze", "犬", "emu"]
    folder = write(tmp_path / "in", toy(rng, head__class_names=np.array(names)))
    store = import_folder(folder, tmp_path / "out.zarr")
    assert store.class_names == names
    (tmp_path / "back").mkdir()
    export_head(store.path, tmp_path / "back" / "head.npz")
    for name in store.splits:
        export_split(store.path, name, tmp_path / "back" / f"{name}.npz")
    again = import_folder(tmp_path / "back", tmp_path / "again.zarr")
    assert again.class_names == names


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (np.array(["a", "b"]), r"class_names is <U1 of shape \(2,\)"),
        (np.arange(3), "class_names is int64"),
        (np.array(["a", "b", "a"]), "class_names has 'a'"),
        (np.array(["a", " ", "c"]), "class_names has ' '"),
    ],
)
def test_bad_class_names_are_refused(tmp_path, rng, names, said):
    folder = write(tmp_path / "in", toy(rng, head__class_names=names))
    with pytest.raises(DataError, match=said):
        import_folder(folder, tmp_path / "out.zarr")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ood_FAR.NPZ", "is not read"),
        ("val.h5", "is not read"),
        ("more.npy", "is not a split"),
        ("ood_svhn.npy", "is damaged"),
        ("ood_x.pt", "is damaged"),
    ],
)
def test_a_file_that_is_not_read_is_named(tmp_path, rng, name, said):
    folder = write(tmp_path / "in", toy(rng))
    (folder / name).write_bytes(b"something")
    with pytest.raises(DataError, match=f"{name} .*{said}"):
        import_folder(folder, tmp_path / "out.zarr")
    (folder / name).rename(folder / "notes.txt")
    assert import_folder(folder, tmp_path / "out.zarr").ood_splits == ["ood_far"]


def test_ids_beyond_int64_are_refused(tmp_path, rng):
    ids = np.arange(12, dtype=np.uint64)
    folder = write(tmp_path / "in", toy(rng, test__ids=ids))
    found = import_folder(folder, tmp_path / "out.zarr").split("test").read("ids", 0, 12)
    assert found.dtype == np.int64
    assert found.tolist() == list(range(12))
    ids[5] = 2**63 + 5
    np.savez(folder / "test.npz", **toy(rng, test__ids=ids)["test"])
    with pytest.raises(DataError, match=r"ids\[5\] is 9223372036854775813"):
        import_folder(folder, tmp_path / "other.zarr")


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.int8])
def test_repeated_ids_are_refused(tmp_path, rng, kind):
    ids = np.array([4, 7, 1, 0, 9, 7, 3, 4, 8, 5, 6, 2], dtype=kind)
    folder = write(tmp_path / "in", toy(rng, test__ids=ids))
    with pytest.raises(DataError, match=r"test\.npz: ids\[5\] repeats 7 \(2 such rows\)"):
        import_folder(folder, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_a_kill_while_the_old_store_is_replaced_loses_nothing(tmp_path, rng):
    old, new = write(tmp_path / "old", toy(rng)), write(tmp_path / "new", toy(rng))
    store = tmp_path / "store.zarr"
    import_folder(old, store)
    import_folder(new, tmp_path / "straight.zarr")
    import_folder(new, store, overwrite=True)
    assert tree(store) == tree(tmp_path / "straight.zarr")
    # Killed after the old store was moved away, and before the new one was moved to its place.
    store.rename(tmp_path / ".store.zarr.new")
    import_folder(new, store)
    assert tree(store) == tree(tmp_path / "straight.zarr")
    assert not (tmp_path / ".store.zarr.new").exists()
