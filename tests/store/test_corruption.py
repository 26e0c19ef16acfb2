"""Changed, truncated and missing bytes are reported by name, never read as data."""

import json
import shutil

import pytest
import zarr
from store_samples import (
    DIM,
    contents,
    create,
    make_spec,
    missing,
    resume,
    tree,
    write,
    write_store,
)

from ltood.core.errors import CorruptStoreError, IncompleteStoreError, StoreError
from ltood.store.chunks import checksum
from ltood.store.features import FeatureStore
from ltood.store.metadata import store_kind
from ltood.store.scores import ScoreStore

CHUNK = "train/features/c/1/0"
MARKER = "train/.done/000001.json"
SPEC = make_spec()


@pytest.fixture
def path(tmp_path):
    return write_store(tmp_path / "store")


def read_all(path):
    """Everything a reader can ask for, as plain bytes."""
    store = FeatureStore.open(path)
    split = store.split("train")
    rows = {name: split.read(name, 0, len(split)).tobytes() for name in split.arrays}
    head = {name: values.tobytes() for name, values in store.head_arrays().items()}
    return store.attributes, rows, head


def flip(file, position, mask=0x01):
    raw = bytearray(file.read_bytes())
    raw[position] ^= mask
    file.write_bytes(raw)


@pytest.mark.parametrize(
    "name",
    [CHUNK, "train/logits/c/0/0", "train/labels/c/2", "train/ids/c/0",
     "head/weight/c/0/0", "head/bias/c/0", "head/logit_scale/c"],
)  # fmt: skip
def test_every_flipped_byte_of_an_array_is_reported(path, name):
    file = path / name
    sound = file.read_bytes()
    for position in range(len(sound)):
        flip(file, position, 1 << position % 8)
        with pytest.raises(CorruptStoreError, match=rf"{name} .*changed"):
            read_all(path)
        file.write_bytes(sound)
    read_all(path)


@pytest.mark.parametrize("name", ["zarr.json", MARKER])
def test_a_flipped_bit_of_metadata_never_gives_other_data(path, name):
    file = path / name
    sound, expected, reports = file.read_bytes(), read_all(path), []
    # Odd steps through a long file meet every bit and every kind of place.
    positions = range(0, len(sound), 1 if len(sound) < 1000 else 7)
    for position in positions:
        flip(file, position, 1 << position % 8)
        try:
            assert read_all(path) == expected
        except StoreError as error:
            reports.append(str(error))
        file.write_bytes(sound)
    assert len(reports) == len(positions)
    assert all(str(path) in report for report in reports)


def test_a_reader_of_one_array_is_not_stopped_by_another(path):
    flip(path / CHUNK, 0)
    split = FeatureStore.open(path).split("train")
    assert split.read("labels", 0, 10).tolist() == contents(SPEC)["train"]["labels"].tolist()
    assert len(split.read("features", 0, 4)) == 4
    with pytest.raises(CorruptStoreError, match=CHUNK):
        split.read("features", 3, 5)


def test_the_message_of_a_changed_chunk_says_what_to_do_and_it_works(path):
    sound = tree(path)
    flip(path / CHUNK, 5)
    with pytest.raises(
        CorruptStoreError,
        match=rf"{CHUNK} has checksum [0-9a-f]{{8}} but [0-9a-f]{{8}} was written; its bytes "
        rf"changed\. Delete .*{MARKER} and run the stage that wrote the store again; it writes "
        r"only this chunk\.",
    ):
        read_all(path)
    (path / MARKER).unlink()
    writer = resume(path, SPEC)
    assert missing(writer) == [("train", 4, 8)]
    write(writer, missing(writer))
    writer.finish()
    assert tree(path) == sound


def test_a_truncated_chunk_is_reported(path):
    file, size = path / CHUNK, 4 * DIM * 4
    for length in (0, 1, size - 1, size + 1):
        file.write_bytes(file.read_bytes().ljust(length, b"\0")[:length])
        with pytest.raises(
            CorruptStoreError, match=rf"{CHUNK} has {length} bytes instead of {size}\. Delete"
        ):
            read_all(path)


def test_a_missing_chunk_is_reported(path):
    (path / CHUNK).unlink()
    with pytest.raises(CorruptStoreError, match=rf"{CHUNK} is missing although its marker exists"):
        read_all(path)


def test_a_deleted_array_folder_is_reported(path):
    shutil.rmtree(path / "train" / "features")
    with pytest.raises(CorruptStoreError, match=r"train/features/c/0/0 is missing although its ma"):
        read_all(path)


def test_a_missing_marker_is_an_unfinished_split(path):
    (path / MARKER).unlink()
    with pytest.raises(IncompleteStoreError, match=r"split train of .*store has 6 of 10 rows; run"):
        read_all(path)


def test_a_deleted_split_folder_is_an_unfinished_split(path):
    shutil.rmtree(path / "train")
    with pytest.raises(IncompleteStoreError, match=r"has 0 of 10 rows"):
        read_all(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"rows": [4, 8]'])
def test_an_unreadable_marker_is_reported(path, content):
    (path / MARKER).write_bytes(content)
    for read in (lambda: read_all(path), lambda: missing(resume(path, SPEC))):
        with pytest.raises(
            CorruptStoreError, match=rf"{MARKER} does not hold JSON \(.*; delete it and"
        ):
            read()


@pytest.mark.parametrize(
    "change",
    [
        lambda marker: [],
        lambda marker: {"rows": marker["rows"]},
        lambda marker: {"crc32c": marker["crc32c"]},
        lambda marker: {**marker, "crc32c": "12345678"},
        lambda marker: {**marker, "crc32c": {"features": "12345678"}},
        lambda marker: {**marker, "rows": [0, 4]},
    ],
)
def test_a_marker_of_something_else_is_reported(path, change):
    marker = json.loads((path / MARKER).read_bytes())
    (path / MARKER).write_text(json.dumps(change(marker)))
    for read in (lambda: read_all(path), lambda: missing(resume(path, SPEC))):
        with pytest.raises(
            CorruptStoreError,
            match=rf"{MARKER} is not the marker of rows 4 to 8; delete it and run",
        ):
            read()


def test_swapped_markers_are_reported(path):
    first = path / "train/.done/000000.json"
    sound = first.read_bytes()
    first.write_bytes((path / MARKER).read_bytes())
    with pytest.raises(CorruptStoreError, match=r"000000\.json is not the marker of rows 0 to 4"):
        read_all(path)
    first.write_bytes(sound)
    read_all(path)


def test_a_missing_head_array_is_reported(path):
    (path / "head/bias/c/0").unlink()
    with pytest.raises(CorruptStoreError, match=r"head/bias/c/0 is missing; write the store again"):
        FeatureStore.open(path).head_arrays()


def test_a_truncated_head_array_is_reported(path):
    file = path / "head/weight/c/0/0"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(CorruptStoreError, match=r"head/weight/c/0/0 changed after it was written"):
        FeatureStore.open(path).head_arrays()


def edit_root(path, change):
    document = json.loads((path / "zarr.json").read_bytes())
    change(document)
    (path / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: root["attributes"]["ltood"].update(class_counts=[49, 5, 1]),
        lambda root: root["attributes"]["ltood"]["splits"]["train"].update(rows=9),
        lambda root: root["attributes"]["ltood"].update(complete=False),
        lambda root: root["attributes"].pop("ltood_crc32c"),
        lambda root: root["attributes"].pop("ltood"),
        lambda root: root.pop("consolidated_metadata"),
    ],
)
def test_an_edited_root_is_reported(path, change):
    edit_root(path, change)
    with pytest.raises(
        CorruptStoreError, match=r"store/zarr\.json changed after it was written; write the store"
    ):
        FeatureStore.open(path)


def test_a_root_that_was_only_indented_anew_is_read(path):
    edit_root(path, lambda root: None)
    read_all(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_an_unreadable_root_is_reported(path, content):
    (path / "zarr.json").write_bytes(content)
    with pytest.raises(
        CorruptStoreError, match=r"store/zarr\.json does not hold JSON .*write the st"
    ):
        FeatureStore.open(path)


@pytest.mark.parametrize("content", [b"[]", b'{"attributes": []}'])
def test_a_root_of_another_form_is_reported(path, content):
    (path / "zarr.json").write_bytes(content)
    with pytest.raises(
        CorruptStoreError, match=r"store/zarr\.json does not hold Zarr metadata; write the"
    ):
        FeatureStore.open(path)


def test_what_is_no_store_is_told_apart(path, tmp_path):
    with pytest.raises(
        StoreError, match=r"nowhere is not a store: .*nowhere/zarr\.json does not ex"
    ):
        FeatureStore.open(tmp_path / "nowhere")
    zarr.create_group(str(tmp_path / "other"))
    assert store_kind(tmp_path / "other") == "other"
    with pytest.raises(
        StoreError, match=r"other is a Zarr group but not an ltood store; `ltood impor"
    ):
        FeatureStore.open(tmp_path / "other")
    assert store_kind(path) == "features"
    with pytest.raises(StoreError, match=r"store is a store of features, not of scores\."):
        ScoreStore.open(path)


def test_another_schema_is_named(path):
    def newer(root):
        root["attributes"]["ltood"]["schema"] = 3
        del root["attributes"]["ltood_crc32c"]

    edit_root(path, newer)
    with pytest.raises(StoreError, match=r"store has schema 3; this version reads 2\. Run"):
        FeatureStore.open(path)


def test_an_incomplete_skeleton_is_checked_too(tmp_path):
    create(tmp_path / "store", SPEC)
    flip(tmp_path / "store" / "zarr.json", -3)
    with pytest.raises(CorruptStoreError, match=r"zarr\.json does not hold JSON"):
        resume(tmp_path / "store", SPEC)


def test_the_checksum_is_crc32c():
    assert checksum(b"123456789") == "e3069283"
