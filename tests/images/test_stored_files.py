"""Images that stay on disk, from a dataset through preparing and extraction to features."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from image_samples import extract_tiny, make_plan, train_tiny, tree
from PIL import Image

from ltood.core.errors import CorruptStoreError, DataError
from ltood.images.decoding import decode
from ltood.images.files import ImageFiles
from ltood.images.prepared import open_prepared
from ltood.networks.backbone import ImageSpec
from ltood.networks.checkpoint import load_checkpoint
from ltood.preparing.prepare import prepare
from ltood.store.features import FeatureStore

COUNTS = {"train": 6, "test": 5, "ood_noise": 4}


class Images:
    """An `ImageDataset` of files of many sizes."""

    class_names = ("a", "b")

    def __init__(self, root, on_error="raise"):
        self.root, self.on_error = root, on_error
        for name, num in COUNTS.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for row in range(num):
                rng = np.random.default_rng([row, num])
                pixels = rng.integers(0, 256, (200 + 10 * row, 240, 3), dtype=np.uint8)
                path = root / name / f"{row}.jpg"
                if not path.exists():
                    Image.fromarray(pixels).save(path)

    def splits(self):
        return tuple(COUNTS)

    def split(self, name):
        num = COUNTS[name]
        paths = tuple(f"{name}/{row}.jpg" for row in range(num))
        labels = np.full(num, -1) if name.startswith("ood") else np.arange(num) % 2
        return ImageFiles(self.root, paths, labels, np.arange(num), on_error=self.on_error)


@pytest.fixture
def prepared(tmp_path):
    prepare(Images(tmp_path / "images"), "folder", {}, tmp_path / "prepared")
    return open_prepared(tmp_path / "prepared")


def test_files_come_back_with_their_digests(prepared):
    files = prepared.source("test")
    assert isinstance(files, ImageFiles)
    assert files.paths == tuple(f"test/{row}.jpg" for row in range(5))
    assert files.labels.tolist() == [0, 1, 0, 1, 0]
    recorded = hashlib.sha256(files.path(3).read_bytes()).digest()
    assert files.digests[3].tobytes() == recorded
    assert prepared.class_counts.tolist() == [3, 3]
    prepared.verify()


def test_arrays_of_one_size_are_not_to_be_had(prepared):
    with pytest.raises(DataError, match=r"images of train are files .* set datasets\.folder"):
        prepared.split("train")


def test_preparing_twice_gives_the_same_bytes(prepared, tmp_path):
    prepare(Images(tmp_path / "images"), "folder", {}, tmp_path / "again")
    assert tree(tmp_path / "again") == tree(prepared.path)


def test_a_damaged_image_stops_preparing_by_name(tmp_path):
    data = Images(tmp_path / "images")
    (data.root / "test" / "3.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"test: .*3\.jpg cannot be decoded"):
        prepare(data, "folder", {}, tmp_path / "prepared")


def test_a_damaged_image_is_skipped_and_listed(tmp_path, capsys):
    data = Images(tmp_path / "images", on_error="skip")
    (data.root / "test" / "3.jpg").write_bytes(b"no image")
    (data.root / "train" / "1.jpg").write_bytes((data.root / "train" / "5.jpg").read_bytes())
    prepare(data, "folder", {}, tmp_path / "prepared")
    found = open_prepared(tmp_path / "prepared")
    assert found.source("test").ids.tolist() == [0, 1, 2, 4]
    assert found.manifest["splits"]["test"]["skipped"][0].startswith("test/3.jpg cannot")
    told = capsys.readouterr().err
    assert "test: skipped: test/3.jpg" in told
    assert "train/5.jpg = train/1.jpg" in told


def test_training_images_in_other_splits_are_told(tmp_path, capsys):
    data = Images(tmp_path / "images")
    shutil.copy(data.root / "train" / "2.jpg", data.root / "test" / "4.jpg")
    prepare(data, "folder", {}, tmp_path / "prepared")
    told = capsys.readouterr().err
    assert "test: 1 of 5 images are images of train too, byte for byte" in told
    assert "ood_noise:" not in told


@pytest.mark.parametrize("name", ["paths.txt", "digests.npy", "labels.npy"])
def test_lists_that_were_changed_are_refused(prepared, name):
    path = prepared.path / "test" / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptStoreError, match="changed after it was prepared"):
        prepared.verify()


def test_a_shortened_list_is_refused(prepared):
    (prepared.path / "test" / "paths.txt").write_text("test/0.jpg\n")
    with pytest.raises(CorruptStoreError, match="lists 1 files, the manifest says 5"):
        open_prepared(prepared.path)


def test_a_missing_list_is_refused(prepared):
    (prepared.path / "test" / "paths.txt").unlink()
    with pytest.raises(CorruptStoreError, match=r"paths\.txt cannot be read"):
        open_prepared(prepared.path)


def test_features_are_those_of_the_crops(prepared, tmp_path):
    plan = make_plan(recipe="pretrained", weights=str(weights(tmp_path)))
    plan = type(plan)("resnet50", SETTINGS, "pretrained", {}, plan.training)
    train_tiny(tmp_path / "checkpoint", plan, prepared)
    extract_tiny(tmp_path / "checkpoint", tmp_path / "store", {"batch_size": 2}, prepared)
    store = FeatureStore.open(tmp_path / "store")
    backbone, meta = load_checkpoint(tmp_path / "checkpoint")
    assert (meta["images"]["height"], meta["images"]["width"]) == (0, 0)
    pixels = decode(prepared.source("test"), range(5), backbone.geometry)
    with torch.inference_mode():
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        expected = backbone(scaled).pooled.numpy()
    found = store.split("test").load(["features"])["features"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert store.provenance["preprocessing"]["geometry"]["size"] == [224, 224]
    again = tmp_path / "again"
    extract_tiny(tmp_path / "checkpoint", again, {"batch_size": 2}, prepared)
    assert tree(again) == tree(tmp_path / "store")


def test_an_image_that_was_changed_stops_extraction(prepared, tmp_path):
    plan = make_plan(recipe="pretrained", weights=str(weights(tmp_path)))
    plan = type(plan)("resnet50", SETTINGS, "pretrained", {}, plan.training)
    train_tiny(tmp_path / "checkpoint", plan, prepared)
    shutil.copy(tmp_path / "images/test/0.jpg", tmp_path / "images/test/4.jpg")
    with pytest.raises(DataError, match=r"test/4\.jpg was changed after it was prepared"):
        extract_tiny(tmp_path / "checkpoint", tmp_path / "store", {}, prepared)


def test_a_backbone_without_a_size_of_its_own_refuses_files(prepared, tmp_path):
    with pytest.raises(DataError, match=r"set datasets\.folder\.size"):
        train_tiny(tmp_path / "checkpoint", make_plan(), prepared)


SETTINGS = {"weights": None, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


def weights(folder):
    """Fresh weights of a ResNet-50 for two classes."""
    from safetensors.torch import save_file

    from ltood.backbones.resnet50 import Config, Entry

    path = folder / "weights.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        spec = ImageSpec(3, 0, 0, (0.5,) * 3, (0.25,) * 3, 2)
        save_file(Entry(Config(**SETTINGS), spec).state_dict(), path)
    return path
