import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import zarr
from store_samples import tree, write_store

from ltood.core.errors import CorruptStoreError, IncompleteStoreError, StoreError
from ltood.store import layout
from ltood.store.scores import ScoreSplit, ScoreStore, ScoreWriter, copy_scores

ROWS = {"test": 23, "ood_b": 1, "ood_a": 8}
ATTRIBUTES = {"method": {"name": "energy", "in_use": {"clip": float("inf")}}, "class_counts": [3]}


def make_rows(count, seed=0):
    random = np.random.default_rng(seed)
    return ScoreSplit(
        random.normal(size=count).astype(np.float32),
        random.integers(0, 10, count),
        random.integers(-1, 10, count),
        random.permutation(count),
    )


def cut(rows, start, stop):
    parts = (rows.scores, rows.predictions, rows.labels, rows.ids)
    return ScoreSplit(*(part[start:stop] for part in parts))


def write(path, sizes=(100,), seed=0, *, overwrite=False):
    """Write a store, each split in parts of `sizes`, over and over."""
    with ScoreWriter(path, ROWS, ATTRIBUTES, overwrite=overwrite) as writer:
        for name, count in ROWS.items():
            rows, done, turn = make_rows(count, seed), 0, 0
            while done < count:
                size = sizes[turn % len(sizes)]
                writer.append(name, cut(rows, done, done + size))
                done, turn = done + size, turn + 1
    return path


def assert_holds(path, seed=0):
    store = ScoreStore.open(path)
    for name, count in ROWS.items():
        found, expected = store.split(name), make_rows(count, seed)
        assert len(found) == count
        for part in ("scores", "predictions", "labels", "ids"):
            values = getattr(found, part)
            assert values.dtype == getattr(expected, part).dtype
            np.testing.assert_array_equal(values, getattr(expected, part))
            assert not values.flags.writeable


@pytest.fixture
def small_chunks(monkeypatch):
    """Four rows per chunk, so that few rows make several chunks."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 8)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("sizes", [(100,), (1,), (4,), (3, 5), (7, 1, 0), (9,)])
def test_rows_come_in_any_sizes_and_give_the_same_bytes(tmp_path, sizes):
    path = write(tmp_path / "scores", sizes)
    assert_holds(path)
    assert len(list((path / "test" / ".done").iterdir())) == 6
    assert tree(path) == tree(write(tmp_path / "again"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again", "scores"]


@pytest.mark.usefixtures("small_chunks")
def test_full_chunks_are_written_as_they_come(tmp_path):
    with ScoreWriter(tmp_path / "scores", {"test": 23}, {}) as writer:
        writer.append("test", make_rows(9))
        written = [file.name for file in tmp_path.glob(".*.tmp/test/.done/*")]
        assert sorted(written) == ["000000.json", "000001.json"]
        writer.append("test", make_rows(14))


def test_the_store_describes_itself(tmp_path):
    store = ScoreStore.open(str(write(tmp_path / "scores")))
    assert store.splits == ["test", "ood_a", "ood_b"]
    assert store.ood_splits == ["ood_a", "ood_b"]
    assert store.attributes["direction"] == "higher means more OOD"
    assert store.attributes["complete"] is True
    assert ATTRIBUTES.items() <= store.attributes.items()
    with pytest.raises(StoreError, match=r"has no split 'val'; it has test, ood_a, ood_b\."):
        store.split("val")


@pytest.mark.usefixtures("small_chunks")
def test_zarr_finds_exactly_the_splits_and_the_same_values(tmp_path):
    group = zarr.open_group(str(write(tmp_path / "scores")), mode="r")
    assert group.metadata.zarr_format == 3
    assert sorted(group.group_keys()) == sorted(ROWS)
    for name, count in ROWS.items():
        np.testing.assert_array_equal(group[f"{name}/scores"][...], make_rows(count).scores)
        np.testing.assert_array_equal(group[f"{name}/ids"][...], make_rows(count).ids)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        (
            "test/scores/c/3",
            CorruptStoreError,
            r"test/scores/c/3 has checksum .* its bytes changed",
        ),
        ("test/.done/000002.json", StoreError, r"000002\.json does not hold JSON"),
        ("zarr.json", StoreError, r"zarr\.json"),
    ],
)
def test_changed_bytes_are_reported(tmp_path, name, error, sentence):
    path = write(tmp_path / "scores")
    raw = bytearray((path / name).read_bytes())
    raw[1] ^= 1
    (path / name).write_bytes(raw)
    with pytest.raises(error, match=sentence):
        ScoreStore.open(path).split("test")


@pytest.mark.usefixtures("small_chunks")
def test_a_missing_marker_is_an_unfinished_split(tmp_path):
    path = write(tmp_path / "scores")
    (path / "test" / ".done" / "000005.json").unlink()
    with pytest.raises(IncompleteStoreError, match=r"split test of .* has 20 of 23 rows"):
        ScoreStore.open(path).split("test")


def test_an_existing_store_is_replaced_only_when_asked(tmp_path):
    path = write(tmp_path / "scores")
    with pytest.raises(StoreError, match=r"scores exists already; pass --overwrite or another"):
        write(path, seed=1)
    assert_holds(path)
    write(path, seed=1, overwrite=True)
    assert_holds(path, seed=1)
    assert tree(path) == tree(write(tmp_path / "fresh", seed=1))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fresh", "scores"]


def test_scores_read_before_an_overwrite_stay_valid(tmp_path):
    rows = ScoreStore.open(write(tmp_path / "scores")).split("test")
    write(tmp_path / "scores", seed=1, overwrite=True)
    np.testing.assert_array_equal(rows.scores, make_rows(23).scores)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_error_inside_the_block_leaves_what_was_there(tmp_path, overwrite):
    path = tmp_path / "scores"
    if overwrite:
        write(path)

    def fail():
        with ScoreWriter(path, ROWS, {}, overwrite=overwrite) as writer:
            writer.append("test", make_rows(23, 1))
            raise RuntimeError("the method broke")

    with pytest.raises(RuntimeError, match="the method broke"):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == (["scores"] if overwrite else [])
    if overwrite:
        assert_holds(path)


def test_a_full_disk_at_the_end_leaves_what_was_there(tmp_path, monkeypatch):
    path = write(tmp_path / "scores")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = ScoreWriter(path, {"test": 3}, {}, overwrite=True)
    writer.append("test", make_rows(3))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write /.*: No space left"), writer:
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["scores"]
    assert_holds(path)


def test_a_killed_writer_leaves_the_old_store(tmp_path):
    path = write(tmp_path / "scores")
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_score_store import ROWS, ScoreWriter, make_rows\n"
        "with ScoreWriter(sys.argv[1], ROWS, {}, overwrite=True) as writer:\n"
        "    writer.append('test', make_rows(23, 1))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder = os.path.dirname(__file__)  # noqa: PTH120 - a path for sys.path
    done = subprocess.run([sys.executable, "-c", code, path, folder], check=False)
    assert done.returncode < 0
    assert_holds(path)
    write(path, seed=2, overwrite=True)
    assert_holds(path, seed=2)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("count", [0, 1, 22])
def test_too_few_rows_are_refused(tmp_path, count):
    def score():
        with ScoreWriter(tmp_path / "scores", {"test": 23}, {}) as writer:
            writer.append("test", make_rows(count))

    with pytest.raises(StoreError, match=rf"split test got {count} rows; 23 "):
        score()
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("small_chunks")
def test_too_many_rows_are_refused_at_once(tmp_path):
    def score():
        with ScoreWriter(tmp_path / "scores", {"test": 23}, {}) as writer:
            writer.append("test", make_rows(23))
            writer.append("test", make_rows(1))

    with pytest.raises(StoreError, match=r"split test got 24 rows; 23 "):
        score()


def test_rows_of_a_split_nobody_announced_are_refused(tmp_path):
    writer = ScoreWriter(tmp_path / "scores", ROWS, {})
    with pytest.raises(StoreError, match=r"split 'val' .* test, ood_b, ood_a\."):
        writer.append("val", make_rows(1))


@pytest.mark.parametrize(
    ("part", "values", "sentence"),
    [
        (
            "labels",
            np.array([3]),
            r"labels of split test has shape \(1,\) for 5 scores; it must",
        ),
        ("ids", np.zeros((5, 1), int), r"ids of split test has shape \(5, 1\) for 5 scores"),
        ("scores", np.zeros((5, 2)), r"scores of split test has shape \(5, 2\) for 5 scores"),
        (
            "predictions",
            np.zeros(5),
            r"predictions of split test is float64; the store holds int64",
        ),
    ],
)
def test_rows_that_are_not_aligned_are_refused(tmp_path, part, values, sentence):
    rows = make_rows(5)
    parts = {name: getattr(rows, name) for name in ("scores", "predictions", "labels", "ids")}
    writer = ScoreWriter(tmp_path / "scores", {"test": 5}, {})
    with pytest.raises(StoreError, match=sentence):
        writer.append("test", ScoreSplit(**{**parts, part: values}))


def test_only_a_score_store_is_ever_replaced(tmp_path):
    features = write_store(tmp_path / "features")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"precious")
    damaged = write(tmp_path / "damaged")
    (damaged / "zarr.json").write_bytes(b"{")
    before = tree(tmp_path)
    for path, sentence in (
        (features, r"features is not replaced: it is a store of features, not of scores\. Choose"),
        (photos, r"photos is not replaced: .*photos is not a store: .* Remove it by hand\."),
        (photos / "holiday.jpg", r"holiday\.jpg is not replaced: .* Remove it by hand\."),
        (
            damaged,
            r"damaged is not replaced: .*zarr\.json does not hold JSON .* Remove it by hand\.",
        ),
    ):
        with pytest.raises(StoreError, match=sentence):
            write(path, overwrite=True)
    assert tree(tmp_path) == before


def test_an_empty_folder_may_be_used_with_overwrite(tmp_path):
    (tmp_path / "scores").mkdir()
    assert_holds(write(tmp_path / "scores", overwrite=True))


def test_a_copy_has_the_same_bytes(tmp_path):
    source = ScoreStore.open(write(tmp_path / "scores"))
    copied = copy_scores(source, tmp_path / "copy")
    assert copied.path == tmp_path / "copy"
    assert tree(copied.path) == tree(source.path)
    with pytest.raises(StoreError, match="exists already"):
        copy_scores(source, tmp_path / "copy")
    copy_scores(source, tmp_path / "copy", overwrite=True)


def test_a_copy_of_damaged_scores_is_refused(tmp_path):
    source = ScoreStore.open(write(tmp_path / "scores"))
    (source.path / "ood_a" / "labels" / "c" / "0").unlink()
    with pytest.raises(CorruptStoreError, match=r"ood_a/labels/c/0 is missing"):
        copy_scores(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
