"""A feature store has the same bytes however its extraction was interrupted or shared."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from image_samples import (
    TinyImages,
    child,
    extract_tiny,
    kill_when,
    make_plan,
    train_tiny,
    tree,
)
from rank_samples import run_ranks

from ltood.backbones.cifar_resnet import CifarResNet
from ltood.core.errors import (
    ConfigError,
    CorruptStoreError,
    DataError,
    FingerprintError,
    StoreError,
)
from ltood.core.settings import parse
from ltood.extraction import extract as extract_module
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.trained import refuse_other_images
from ltood.networks.checkpoint import load_checkpoint, write_checkpoint
from ltood.networks.checkpoint_files import read_meta
from ltood.runtime.distributed import Ranks
from ltood.runtime.files import MACHINE
from ltood.store.features import FeatureStore
from ltood.store.writer import SplitWriter

#: Many small chunks, none a multiple of the batch.
CONFIG = {"batch_size": 2, "rows_per_chunk": 3}


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    train_tiny(out, make_plan(epochs=2))
    return out


@pytest.fixture(scope="module")
def undisturbed(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "features.zarr"
    extract_tiny(checkpoint, out, CONFIG)
    return out


def copy_with_one_changed_weight(checkpoint, folder):
    """A checkpoint that differs from another in one weight only."""
    backbone, meta = load_checkpoint(checkpoint)
    with torch.no_grad():
        backbone.head.weight[0, 0] += 1e-3
    folder.mkdir()
    content = {key: value for key, value in meta.items() if not key.endswith("_sha256")}
    write_checkpoint(folder, backbone, content)
    return folder


def stop_after(monkeypatch, num_chunks):
    write, left, lock = SplitWriter.write, [num_chunks], threading.Lock()

    def counting(writer, *args):
        with lock:
            if not left[0]:
                raise Stopped
            left[0] -= 1
        write(writer, *args)

    monkeypatch.setattr(SplitWriter, "write", counting)


def test_stored_rows_are_those_of_the_backbone(checkpoint, undisturbed):
    backbone, _ = load_checkpoint(checkpoint)
    images, store = TinyImages(), FeatureStore.open(undisturbed)
    for name in images.splits():
        split, stored = images.split(name), store.split(name)
        pixels = torch.from_numpy(split.images.copy()).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            output = backbone(pixels)
        found = stored.load(["features", "logits", "labels", "ids"])
        np.testing.assert_allclose(found["features"], output.pooled, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["logits"], output.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found["labels"], split.labels)
        np.testing.assert_array_equal(found["ids"], split.ids)


def test_head_gives_the_stored_logits(undisturbed):
    store = FeatureStore.open(undisturbed)
    head, rows = store.head_arrays(), store.split("test").load(["features", "logits"])
    logits = rows["features"] @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(rows["logits"], logits, rtol=1e-4, atol=1e-5)
    assert head["bn_weight"].shape == head["bn_bias"].shape == (128,)


def test_an_older_store_that_could_not_be_removed_goes(tmp_path, checkpoint, undisturbed):
    out = shutil.copytree(undisturbed, tmp_path / "f.zarr")
    left = tmp_path / f".f.zarr.{MACHINE}-{2**22 + 1}-0.tmp"  # No process has such a number.
    shutil.copytree(undisturbed, left)
    extract_tiny(checkpoint, out, CONFIG)
    assert not left.exists()


def test_a_checkpoint_of_other_images_is_refused(checkpoint):
    refuse_other_images(checkpoint, TinyImages())
    with pytest.raises(FingerprintError, match="train"):
        refuse_other_images(checkpoint, TinyImages(seed=1))
    with pytest.raises(FingerprintError):
        refuse_other_images(checkpoint, TinyImages(splits_held=("train", "test")))


def test_provenance_names_every_input_and_neither_host_nor_time(checkpoint, undisturbed):
    provenance = FeatureStore.open(undisturbed).provenance
    assert set(provenance) == {
        "backbone", "checkpoint", "code_sha256", "dataset", "extraction", "libraries",
        "precision", "preprocessing", "recipe", "seed", "source", "training",
    }  # fmt: skip
    meta = read_meta(checkpoint)
    assert provenance["checkpoint"]["weights_sha256"] == meta["weights_sha256"]
    assert provenance["preprocessing"]["mean"] == pytest.approx(meta["images"]["mean"])
    assert provenance["dataset"]["name"] == "tiny"
    assert provenance["backbone"]["name"] == "cifar_resnet"
    assert provenance["recipe"]["name"] == "cross_entropy"
    assert os.uname().nodename not in json.dumps(provenance)


@pytest.mark.parametrize("num_chunks", [0, 1, 13, 40, 41])
def test_stopping_after_any_chunk_leaves_no_trace(
    tmp_path, checkpoint, undisturbed, monkeypatch, num_chunks
):
    out = tmp_path / "features.zarr"
    with monkeypatch.context() as patch:
        stop_after(patch, num_chunks)
        with pytest.raises(Stopped):
            extract_tiny(checkpoint, out, CONFIG)
    with monkeypatch.context() as patch:
        stop_after(patch, 42 - num_chunks)  # finished chunks are kept
        extract_tiny(checkpoint, out, CONFIG)
    assert tree(out) == tree(undisturbed)


def test_short_chunks_share_batches_and_leave_no_trace(tmp_path, checkpoint, monkeypatch):
    config, sizes = {"batch_size": 8, "rows_per_chunk": 3}, []
    embed = CifarResNet.embed

    def noting(net, images):
        sizes.append(len(images))
        return embed(net, images)

    monkeypatch.setattr(CifarResNet, "embed", noting)
    extract_tiny(checkpoint, tmp_path / "whole.zarr", config)
    # 42 rows and four times 20, by 6: two whole chunks.
    assert sizes == [6] * 7 + [6, 6, 6, 2] * 4
    out = tmp_path / "apart" / "features.zarr"
    with monkeypatch.context() as patch:
        stop_after(patch, 17)
        with pytest.raises(Stopped):
            extract_tiny(checkpoint, out, config)
    with monkeypatch.context() as patch:
        stop_after(patch, 42 - 17)
        extract_tiny(checkpoint, out, config)
    assert tree(out) == tree(tmp_path / "whole.zarr")


def test_killed_processes_leave_no_trace(tmp_path, checkpoint, undisturbed):
    out, moments = tmp_path / "features.zarr", random.Random()
    killed = 0
    for least in sorted(moments.sample(range(1, 40), 3)):
        process = child(extract_tiny, checkpoint, out, CONFIG)

        def reached(least=least):
            return len(list(tmp_path.glob("extracting/*/.done/*.json"))) >= least

        killed += kill_when(process, reached, moments)
    assert killed >= 1
    process = child(extract_tiny, checkpoint, out, CONFIG)
    process.join()
    assert process.exitcode == 0
    assert tree(out) == tree(undisturbed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["extracting", "features.zarr"]


def test_a_finished_store_is_left_as_it_is(tmp_path, checkpoint, undisturbed, monkeypatch):
    out = Path(shutil.copytree(undisturbed, tmp_path / "features.zarr"))
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    stop_after(monkeypatch, 0)
    extract_tiny(checkpoint, out, CONFIG)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps


@pytest.mark.parametrize("num_chunks", [7, 42])
def test_one_changed_weight_starts_over(tmp_path, checkpoint, monkeypatch, capsys, num_chunks):
    changed = copy_with_one_changed_weight(checkpoint, tmp_path / "changed")
    out, fresh = tmp_path / "features.zarr", tmp_path / "apart" / "fresh.zarr"
    with monkeypatch.context() as patch:
        stop_after(patch, num_chunks)
        try:
            extract_tiny(checkpoint, out, CONFIG)
        except Stopped:
            assert num_chunks == 7
    extract_tiny(changed, out, CONFIG)
    said = capsys.readouterr().err
    if num_chunks == 42:
        assert "was made from other inputs (" in said
        assert "checkpoint.weights_sha256 was" in said
    extract_tiny(changed, fresh, CONFIG)
    assert tree(out) == tree(fresh)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "apart", "changed", "extracting", "features.zarr",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "images", "said"),
    [
        ({"dtype": "float16"}, TinyImages(), "provenance.extraction.dtype was 'float32', now"),
        ({"batch_size": 3}, TinyImages(), "provenance.extraction.batch_size was 2, now 3"),
        ({"amp": "bf16"}, TinyImages(), "provenance.precision was 'float32', now 'bfloat16'"),
        ({}, TinyImages(seed=3), "provenance.dataset.settings.seed was 0, now 3"),
    ],
)
def test_other_inputs_start_over(tmp_path, checkpoint, undisturbed, capsys, config, images, said):
    out = Path(shutil.copytree(undisturbed, tmp_path / "features.zarr"))
    extract_tiny(checkpoint, out, {**CONFIG, **config}, images)
    assert said in capsys.readouterr().err
    assert tree(out) != tree(undisturbed)


def test_half_precision_features_have_whole_logits(tmp_path, checkpoint, undisturbed):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, {**CONFIG, "dtype": "float16"})
    half = FeatureStore.open(out).split("test").load(["features", "logits"])
    full = FeatureStore.open(undisturbed).split("test").load(["features", "logits"])
    assert half["features"].dtype == np.float16
    np.testing.assert_allclose(half["features"], full["features"], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(half["logits"], full["logits"])


def test_chunks_do_not_change_values_beyond_rounding(tmp_path, checkpoint, undisturbed):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, {"channels_last": True})
    one = FeatureStore.open(out).split("train").load(["features"])["features"]
    many = FeatureStore.open(undisturbed).split("train").load(["features"])["features"]
    np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-5)


class Meeting(Ranks):
    """A rank among threads instead of processes."""

    hub: dict = {}  # noqa: RUF012

    def broadcast(self, value):
        if self.rank == 0:
            self.hub["value"] = value
        self.barrier()
        return self.hub["value"]

    def barrier(self):
        self.hub["barrier"].wait(60)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_what_is_left(tmp_path, checkpoint, undisturbed, monkeypatch, world):
    out = tmp_path / "features.zarr"
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Stopped):
            extract_tiny(checkpoint, out, CONFIG)
    Meeting.hub = {"barrier": threading.Barrier(world)}
    written, write = [], SplitWriter.write
    shared, begin = [], extract_module.part_of

    def noting(writer, start, arrays):
        written.append((writer.files.name, start))
        write(writer, start, arrays)

    def beginning(*args):
        shared.append(threading.get_ident())
        return begin(*args)

    monkeypatch.setattr(SplitWriter, "write", noting)
    monkeypatch.setattr(extract_module, "part_of", beginning)
    # Threads share what processes have of their own: flags of torch and its thread count.
    monkeypatch.setattr("ltood.runtime.devices.deterministic", lambda device: nullcontext())
    num_threads = torch.get_num_threads()
    threads = [
        threading.Thread(
            target=extract_tiny,
            args=(checkpoint, out, CONFIG),
            kwargs={"ranks": Meeting(rank, world, rank)},
        )
        for rank in range(world)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.set_num_threads(num_threads)
    assert len(written) == len(set(written)) == 37
    shares = list(Counter(shared).values())
    assert len(shares) == world
    assert max(shares) - min(shares) <= 1
    assert tree(out) == tree(undisturbed)


PROGRAM = """
import sys
from image_samples import extract_tiny
from ltood.runtime.distributed import ranks_from_environment
with ranks_from_environment() as ranks:
    extract_tiny(sys.argv[1], sys.argv[2], {"batch_size": 2, "rows_per_chunk": 3}, ranks=ranks)
"""


def test_two_processes_share_one_store(tmp_path, checkpoint, undisturbed):
    out = tmp_path / "features.zarr"
    run_ranks(PROGRAM, checkpoint, out)
    assert tree(out) == tree(undisturbed)


def test_other_classes_are_refused(tmp_path, checkpoint):
    images = TinyImages()
    images.class_names = ("bars", "rows", "dots", "spots", "stars")
    with pytest.raises(
        DataError,
        match=r"trained for 3 classes \(bars, rows, dots\), the prepared data have 5 "
        r"\(bars, rows, dots, …\); run the train stage again",
    ):
        extract_tiny(checkpoint, tmp_path / "features.zarr", CONFIG, images)


def test_other_image_shapes_are_refused(tmp_path, checkpoint):
    with pytest.raises(
        DataError, match=r"images of train have the shape \[8, 8, 3\], the checkpoint was trained"
    ):
        extract_tiny(checkpoint, tmp_path / "features.zarr", CONFIG, TinyImages(channels=3))


def test_something_else_at_the_place_of_the_store_is_left(tmp_path, checkpoint):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError):
        extract_tiny(checkpoint, tmp_path, CONFIG)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_changed_weights_are_refused(tmp_path, checkpoint):
    changed = copy_with_one_changed_weight(checkpoint, tmp_path / "changed")
    weights = changed / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(CorruptStoreError, match=r"model\.safetensors has SHA-256"):
        extract_tiny(changed, tmp_path / "features.zarr", CONFIG)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": 0}, r"extraction\.batch_size is 0"),
        ({"rows_per_chunk": -3}, r"extraction\.rows_per_chunk is -3"),
        ({"dtype": "bfloat16"}, r"extraction\.dtype is 'bfloat16'"),
    ],
)
def test_bad_settings_are_named(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(settings, ExtractionConfig, "extraction")


def test_settings_cost_no_torch():
    code = (
        "import sys, ltood.extraction.extract, ltood.training.plan; "
        "sys.exit('torch' in sys.modules or 'zarr' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
