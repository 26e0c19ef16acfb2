import json
import os

import numpy as np
import pytest
import torch

from ltood.core.errors import (
    ConfigError,
    CorruptStoreError,
    DataError,
    StoreError,
    UnknownNameError,
)
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.checkpoint import load_checkpoint, read_head_extras, write_checkpoint
from ltood.networks.checkpoint_files import (
    CheckpointFiles,
    read_files,
    read_history,
    read_meta,
    weights_digest,
    write_files,
)
from ltood.runtime.provenance import digest

IMAGES = ImageSpec(1, 8, 8, (0.5,), (0.25,), 3, 1)
CONTENT = {"backbone": {"name": "cifar_resnet", "settings": {"variant": "small"}}, "seed": 4}


@pytest.fixture
def checkpoint(tmp_path):
    backbone = build_backbone("cifar_resnet", {"variant": "small"}, IMAGES)
    write_checkpoint(tmp_path, backbone, CONTENT)
    return tmp_path, backbone.eval()


def edit(path, change):
    meta = json.loads((path / "checkpoint.json").read_text())
    change(meta)
    meta["content_sha256"] = digest({key: meta[key] for key in meta if key != "content_sha256"})
    (path / "checkpoint.json").write_text(json.dumps(meta))


def test_what_was_written_is_rebuilt(checkpoint):
    path, backbone = checkpoint
    torch.manual_seed(1)
    expected_draw = torch.rand(1)
    torch.manual_seed(1)
    rebuilt, meta = load_checkpoint(path)
    assert torch.rand(1) == expected_draw
    assert not rebuilt.training
    pixels = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(rebuilt(pixels).logits, backbone(pixels).logits)
    assert rebuilt.images == IMAGES
    assert meta["seed"] == 4
    assert meta == read_meta(path)


def test_a_description_that_was_read_is_written_again(checkpoint, tmp_path_factory):
    files = read_files(checkpoint[0])
    again = tmp_path_factory.mktemp("again")
    write_files(again, files)
    assert read_files(again) == files
    # The digest of extras that are left out is that of no file any more.
    stale = {**files.meta, "head_extras_sha256": "0" * 64}
    write_files(again, CheckpointFiles(stale, files.weights))
    assert read_meta(again) == files.meta


def test_extras_of_a_recipe_are_kept_and_compared(checkpoint, tmp_path_factory):
    plain, backbone = checkpoint
    assert read_head_extras(plain) == {}
    assert not (plain / "head_extras.safetensors").exists()
    path = tmp_path_factory.mktemp("extras")
    extras = {"gamma_bias": np.arange(3, dtype=np.float32)}
    write_checkpoint(path, backbone, CONTENT, extras)
    found = read_head_extras(path)
    assert list(found) == ["gamma_bias"]
    np.testing.assert_array_equal(found["gamma_bias"], extras["gamma_bias"])
    file = path / "head_extras.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\1")
    for read in (read_head_extras, read_meta, load_checkpoint):
        with pytest.raises(CorruptStoreError, match=r"head_extras.* was changed"):
            read(path)
    file.unlink()
    with pytest.raises(CorruptStoreError, match=r"cannot be read \(FileNotFoundError"):
        read_meta(path)


def test_memory_layout_does_not_change_the_file(checkpoint, tmp_path_factory):
    path, backbone = checkpoint
    other = tmp_path_factory.mktemp("other")
    write_checkpoint(other, backbone.to(memory_format=torch.channels_last), CONTENT)
    name = "model.safetensors"
    assert (other / name).read_bytes() == (path / name).read_bytes()


def test_an_empty_folder_holds_no_checkpoint(tmp_path):
    with pytest.raises(
        StoreError, match=r"holds no checkpoint \(checkpoint\.json\); run the train"
    ):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "null"])
def test_an_unreadable_description_is_named(checkpoint, text):
    (checkpoint[0] / "checkpoint.json").write_text(text)
    with pytest.raises(CorruptStoreError, match=r"cannot be read \(\w+: .*\); run the train stage"):
        read_meta(checkpoint[0])


def test_missing_weights_are_named(checkpoint):
    (checkpoint[0] / "model.safetensors").unlink()
    with pytest.raises(CorruptStoreError, match=r"cannot be read \(FileNotFoundError.*safetensors"):
        load_checkpoint(checkpoint[0])


def test_a_flipped_bit_is_found(checkpoint):
    weights = checkpoint[0] / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(
        CorruptStoreError,
        match=r"has SHA-256 [0-9a-f]{12}… but [0-9a-f]{12}… is recorded",
    ):
        load_checkpoint(checkpoint[0])


def test_another_schema_is_refused(checkpoint):
    edit(checkpoint[0], lambda meta: meta.update(schema=7))
    with pytest.raises(StoreError, match=r"written with schema 7, this version reads 2; run the"):
        load_checkpoint(checkpoint[0])


@pytest.mark.parametrize("key", ["images", "backbone"])
def test_a_description_without_backbone_or_images_is_refused(checkpoint, key):
    edit(checkpoint[0], lambda meta: meta.pop(key))
    with pytest.raises(CorruptStoreError, match=r"does not describe a backbone and its images"):
        load_checkpoint(checkpoint[0])


def test_another_variant_does_not_take_the_weights(checkpoint):
    edit(checkpoint[0], lambda meta: meta["backbone"]["settings"].update(variant="18"))
    with pytest.raises(CorruptStoreError, match=r"tensors of cifar_resnet \("):
        load_checkpoint(checkpoint[0])


def test_a_removed_backbone_is_named(checkpoint):
    edit(checkpoint[0], lambda meta: meta["backbone"].update(name="cifar_resnets"))
    with pytest.raises(UnknownNameError, match="Did you mean cifar_resnet"):
        load_checkpoint(checkpoint[0])


def test_a_wrong_number_of_channels_is_named(checkpoint):
    edit(checkpoint[0], lambda meta: meta["images"].update(channels="one"))
    with pytest.raises(ConfigError, match=r"images\.channels is 'one'; it must be a whole number"):
        load_checkpoint(checkpoint[0])


@pytest.mark.parametrize(
    "edited",
    [
        lambda meta: meta["backbone"]["settings"].update(mean=[0.1]),
        lambda meta: meta["images"].update(mean=[0.1]),
        lambda meta: meta.update(seed=5),
        lambda meta: meta.update(content_sha256="0" * 64),
        lambda meta: meta.pop("content_sha256"),
    ],
)
def test_an_edited_description_is_refused(checkpoint, edited):
    path = checkpoint[0] / "checkpoint.json"
    meta = json.loads(path.read_text())
    edited(meta)
    path.write_text(json.dumps(meta))
    for read in (read_meta, load_checkpoint, read_head_extras, weights_digest):
        with pytest.raises(CorruptStoreError, match=r"checkpoint\.json was changed"):
            read(checkpoint[0])


def test_an_edited_history_is_refused(tmp_path, checkpoint):
    write_checkpoint(checkpoint[0], checkpoint[1], CONTENT, history="epoch,loss\n1,0.5\n")
    read_meta(checkpoint[0])
    (checkpoint[0] / "history.csv").write_text("epoch,loss\n1,0.4\n")
    with pytest.raises(CorruptStoreError, match=r"history\.csv"):
        read_meta(checkpoint[0])


def test_a_history_is_read_for_the_training_that_it_tells_of(checkpoint):
    text = "epoch,loss\n1,0.5\n"
    content = {**CONTENT, "fingerprint": "ab" * 32}
    write_checkpoint(checkpoint[0], checkpoint[1], content, history=text)
    assert read_history(checkpoint[0], "ab" * 32) == text
    with pytest.raises(StoreError, match="from training"):
        read_history(checkpoint[0], "cd" * 32)
    (checkpoint[0] / "history.csv").unlink()
    os.mkfifo(checkpoint[0] / "history.csv")
    with pytest.raises(CorruptStoreError, match=r"history\.csv"):
        read_history(checkpoint[0], "ab" * 32)


def test_nesting_without_end_is_one_line(checkpoint):
    (checkpoint[0] / "checkpoint.json").write_text("[" * 100_000)
    with pytest.raises(CorruptStoreError, match="RecursionError"):
        read_meta(checkpoint[0])


def test_digests_of_weights_depend_on_content_only(tmp_path, checkpoint):
    for name in ("one.pth", "other.bin"):
        (tmp_path / name).write_bytes(b"tensors")
    assert weights_digest(tmp_path / "one.pth") == weights_digest(tmp_path / "other.bin")
    before = weights_digest(checkpoint[0])
    write_checkpoint(*checkpoint, {**CONTENT, "seed": 5})
    assert weights_digest(checkpoint[0]) == before
    write_checkpoint(*checkpoint, CONTENT, {"gamma_bias": np.zeros(3, dtype=np.float32)})
    assert weights_digest(checkpoint[0]) != before
    with pytest.raises(DataError, match=r"none\.pth.*cannot be read"):
        weights_digest(tmp_path / "none.pth")
