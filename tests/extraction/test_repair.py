"""Repair gives a store its bytes back, computes nothing else, and refuses what would not."""

import os
import shutil

import numpy as np
import pytest
from image_samples import (
    TinyImages,
    extracted_tiny,
    one_thread,
    tree,
)

from ltood.core.errors import FingerprintError, StoreError
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.repair import repair
from ltood.runtime.distributed import Ranks
from ltood.runtime.files import MACHINE
from ltood.store.chunks import checksum
from ltood.store.writer import SplitWriter
from tests.store.store_samples import write_store

CONFIG = {"batch_size": 2, "rows_per_chunk": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return extracted_tiny(tmp_path_factory.mktemp("repair"), CONFIG)


@pytest.fixture
def store(made, tmp_path):
    return shutil.copytree(made / "features.zarr", tmp_path / "f.zarr")


@pytest.fixture
def mend(made):
    def run(path, images=None):
        images = images or TinyImages()
        with one_thread():
            return repair(path, made / "checkpoint", images, ExtractionConfig(), device_name="cpu")

    return run


def damage(store):
    (store / "train/features/c/1/0").write_bytes(b"")
    (store / "test/.done/000002.json").write_text("{")
    (store / "ood_noise/logits/c/0/0").unlink()
    file = next((store / "head").rglob("c/0/0"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    # What a repair that was killed at this chunk leaves.
    (store / f"train/features/c/1/.0.{MACHINE}-{os.getpid()}-0.tmp").write_bytes(b"")


def test_only_damaged_chunks_are_computed_and_bytes_return(made, store, mend, monkeypatch):
    damage(store)
    written, write = [], SplitWriter.write

    def noting(writer, start, arrays):
        written.append((writer.files.name, start))
        write(writer, start, arrays)

    monkeypatch.setattr(SplitWriter, "write", noting)
    found = [(fault.split, fault.rows[0]) for fault in mend(store)]
    assert sorted(written) == sorted(found) == [("ood_noise", 0), ("test", 6), ("train", 3)]
    assert tree(store) == tree(made / "features.zarr")
    assert mend(store) == []


def test_what_is_not_a_file_makes_way_and_links_leave_their_target_alone(made, store, mend):
    other = store.with_name("other")
    other.write_bytes(b"of another store")
    files = "train/features/c/1/0", "test/.done/000002.json", "ood_noise/logits/c/0/0"
    for file in files:
        (store / file).unlink()
    (store / files[0]).symlink_to(other)
    os.mkfifo(store / files[1])
    (store / files[2] / "inner").mkdir(parents=True)
    assert len(mend(store)) == 3
    assert tree(store) == tree(made / "features.zarr")
    assert other.read_bytes() == b"of another store"


def test_ranks_share_what_is_damaged(made, store, monkeypatch):
    damage(store)
    (store / "train/features/c/2/0").write_bytes(b"")
    said, written, write = [], [], SplitWriter.write

    class First(Ranks):
        def on_rank_zero(self, make):
            said.append(make())
            return said[-1]

        def barrier(self):
            pass

    class Second(First):
        def on_rank_zero(self, make):
            return said.pop(0)

    def noting(writer, start, arrays):
        written.append((rank, writer.files.name, start))
        write(writer, start, arrays)

    monkeypatch.setattr(SplitWriter, "write", noting)
    for rank, kind in enumerate((First, Second)):
        with one_thread():
            repair(
                store,
                made / "checkpoint",
                TinyImages(),
                ExtractionConfig(),
                device_name="cpu",
                ranks=kind(rank, 2, rank),
            )
    assert len({chunk[1:] for chunk in written}) == len(written) == 4
    assert {rank for rank, *_ in written} == {0, 1}
    assert tree(store) == tree(made / "features.zarr")


def test_an_edited_marker_gets_its_checksums_back(made, store, mend):
    marker = store / "train/.done/000001.json"
    marker.write_bytes(marker.read_bytes().replace(b'"labels": "', b'"labels": "0'))
    (store / "train/features/c/1/0").write_bytes(b"")
    assert len(mend(store)) == 1
    assert tree(store) == tree(made / "features.zarr")


def test_other_images_are_refused(store, mend):
    (store / "train/features/c/1/0").write_bytes(b"")
    before = tree(store)
    with pytest.raises(FingerprintError, match="train"):
        mend(store, TinyImages(seed=1))
    assert tree(store) == before


def test_bytes_of_another_device_are_refused(store, mend):
    file, marker = store / "test/features/c/1/0", store / "test/.done/000001.json"
    raw = bytearray(file.read_bytes())
    crc = checksum(np.frombuffer(raw, np.uint8)).encode()
    raw[0] ^= 1
    file.write_bytes(raw)
    new = checksum(np.frombuffer(raw, np.uint8)).encode()
    marker.write_bytes(marker.read_bytes().replace(crc, new))
    (store / "test/labels/c/1").write_bytes(b"")
    before = tree(store)
    with pytest.raises(FingerprintError, match="other bytes"):
        mend(store)
    assert tree(store) == before


def test_a_store_that_was_not_extracted(tmp_path, mend):
    path = write_store(tmp_path / "s.zarr")
    (path / "train/labels/c/1").unlink()
    with pytest.raises(StoreError, match="not by extraction"):
        mend(path)
