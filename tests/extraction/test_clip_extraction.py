"""A CLIP store holds unit features, features of patches and views, whoever computes them when."""

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from image_samples import TinyImages, child, extract_tiny, kill_when, make_plan, train_tiny, tree
from PIL import Image

from ltood.adapting.regions import find_regions
from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.deployment.images import Embedder, fit_pixels, read_image
from ltood.images.decoding import as_image
from ltood.images.files import ImageFiles
from ltood.images.views import RandomViews
from ltood.networks.checkpoint import load_checkpoint
from ltood.store.features import FeatureStore
from ltood.store.writer import SplitWriter
from tests.backbones.test_clip import SMALL, small, tensors

CONFIG = {"batch_size": 6, "rows_per_chunk": 5}
#: Images of 8 x 8 pixels come to 16 x 16, which gives 4 patches.
SETTINGS = {"model": str(SMALL), "resolution": 16, "views": 4, "view_seed": 3}


class Stopped(Exception):
    pass


def take(out, folder, **changes):
    """A checkpoint of a small CLIP, made by the train stage."""
    weights = folder / "clip.pt"
    if not weights.exists():
        torch.save(tensors(small(seed=7)), weights)
    plan = make_plan(recipe="zero_shot", backbone={**SETTINGS, **changes}, weights=str(weights))
    train_tiny(out, replace(plan, backbone="clip"))
    return out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taken")
    return take(folder / "checkpoint", folder)


@pytest.fixture(scope="module")
def undisturbed(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "features.zarr"
    extract_tiny(checkpoint, out, CONFIG)
    return out


def features_of(checkpoint, images):
    """What the backbone says of images of its size, one by one."""
    backbone, _ = load_checkpoint(checkpoint)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        pooled, local = backbone.embed(pixels)
    return pooled.numpy(), local.numpy()


def test_rows_are_those_of_the_tower_for_scaled_images(checkpoint, undisturbed):
    store, images = FeatureStore.open(undisturbed), TinyImages()
    assert store.splits == ["train", "val", "test", "aux", "train_views", "ood_noise"]
    for name in store.image_splits:
        split = images.split(name)
        held = store.split(name).load(["features", "local", "labels", "ids"])
        assert store.split(name).arrays == ["features", "ids", "labels", "local"]
        scaled = [
            np.asarray(as_image(pixels).resize((16, 16), Image.Resampling.BICUBIC))
            for pixels in split.images
        ]
        pooled, local = features_of(checkpoint, scaled)
        np.testing.assert_allclose(held["features"], pooled, atol=1e-5)
        np.testing.assert_allclose(held["local"], local, atol=1e-3)
        assert held["local"].dtype == np.float16
        assert held["local"].shape[1:] == (4, 24)
        np.testing.assert_allclose(np.linalg.norm(held["features"], axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(held["ids"], split.ids)
        np.testing.assert_array_equal(held["labels"], split.labels)


def test_views_are_stored_row_by_row(checkpoint, undisturbed):
    split = TinyImages().split("train")
    held = FeatureStore.open(undisturbed).split("train_views")
    rows = held.load(["features", "local", "labels", "ids"])
    assert rows["features"].shape == (len(split), 4, 24)
    assert rows["local"].shape == (len(split), 4, 4, 24)
    np.testing.assert_array_equal(rows["ids"], split.ids)
    np.testing.assert_array_equal(rows["labels"], split.labels)
    views = RandomViews(4, 16, 3, split.ids)
    for row in (0, 17, 41):
        pooled, local = features_of(checkpoint, views(as_image(split.images[row]), row))
        np.testing.assert_allclose(rows["features"][row], pooled, atol=1e-5)
        np.testing.assert_allclose(rows["local"][row], local, atol=1e-3)


def test_provenance_says_how_images_were_seen(undisturbed):
    provenance = FeatureStore.open(undisturbed).provenance
    seen = provenance["preprocessing"]
    assert (seen["grid"], seen["activation"], seen["local"]) == (
        [2, 2],
        "quick_gelu",
        "block_value",
    )
    assert seen["geometry"] == {
        "size": [16, 16], "mode": "centre_crop", "resize": None, "interpolation": "bicubic",
    }  # fmt: skip
    assert (seen["views"]["num"], seen["views"]["seed"]) == (4, 3)
    assert len(provenance["checkpoint"]["weights_sha256"]) == 64
    assert FeatureStore.open(undisturbed).head_arrays() == {}
    with pytest.raises(
        MissingNeedError, match=r"irrelevant regions needs the classifier head; .*adapt"
    ):
        find_regions(FeatureStore.open(undisturbed), "test", [0])


@pytest.mark.parametrize("num_chunks", [0, 3, 17, 32])
def test_stopping_after_any_chunk_leaves_no_trace(
    tmp_path, checkpoint, undisturbed, monkeypatch, num_chunks
):
    out, write, left = tmp_path / "features.zarr", SplitWriter.write, [num_chunks]

    def counting(writer, *args):
        if not left[0]:
            raise Stopped
        left[0] -= 1
        write(writer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SplitWriter, "write", counting)
        with pytest.raises(Stopped):
            extract_tiny(checkpoint, out, CONFIG)
    extract_tiny(checkpoint, out, CONFIG)
    assert tree(out) == tree(undisturbed)


def test_other_batches_change_no_view(tmp_path, checkpoint, undisturbed):
    extract_tiny(checkpoint, tmp_path / "one.zarr", {"batch_size": 1, "rows_per_chunk": 9})
    for name in ("train_views", "test"):
        one, many = (
            FeatureStore.open(path).split(name).load(["features", "local"])
            for path in (tmp_path / "one.zarr", undisturbed)
        )
        np.testing.assert_allclose(one["features"], many["features"], atol=1e-5)
        np.testing.assert_allclose(one["local"], many["local"], atol=1e-3)


def test_global_features_alone_and_in_half_precision(tmp_path, checkpoint, undisturbed):
    bare = take(tmp_path / "checkpoint", tmp_path, local=False, views=0)
    out = tmp_path / "features.zarr"
    extract_tiny(bare, out, {**CONFIG, "dtype": "float16"})
    store = FeatureStore.open(out)
    assert "train_views" not in store.splits
    assert store.split("test").arrays == ["features", "ids", "labels"]
    held = store.split("test").load(["features"])["features"]
    whole = FeatureStore.open(undisturbed).split("test").load(["features"])["features"]
    assert held.dtype == np.float16
    np.testing.assert_allclose(held, whole, atol=1e-3)


class OnDisk(TinyImages):
    """The same images as files."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        for name, split in self._splits.items():
            (folder / name).mkdir(parents=True)
            for row, pixels in enumerate(split.images):
                as_image(pixels).save(folder / name / f"{row}.png")

    def source(self, name):
        split = self._splits[name]
        paths = tuple(f"{name}/{row}.png" for row in range(len(split)))
        return ImageFiles(self.folder, paths, split.labels, split.ids)


def test_files_give_the_same_rows_as_arrays(tmp_path, checkpoint, undisturbed):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, CONFIG, OnDisk(tmp_path / "images"))
    found, wanted = FeatureStore.open(out), FeatureStore.open(undisturbed)
    for name in wanted.splits:
        assert found.split(name).arrays == wanted.split(name).arrays
        for array in ("features", "local", "ids", "labels"):
            rows = found.split(name).load([array])[array]
            np.testing.assert_array_equal(rows, wanted.split(name).load([array])[array])


def test_no_other_recipe_trains_it(tmp_path, checkpoint):
    plan = make_plan(backbone=SETTINGS, weights=str(checkpoint.parent / "clip.pt"))
    sentence = "recipe cross_entropy trains a backbone with its head, and clip has no head"
    with pytest.raises(ConfigError, match=sentence):
        train_tiny(tmp_path / "checkpoint", replace(plan, backbone="clip"))


def test_without_weights_it_says_where_they_may_come_from(tmp_path):
    plan = make_plan(recipe="zero_shot", backbone={**SETTINGS, "pretrained": None})
    sentence = r"put a file into data/weights and .* published ones in backbones\.clip\.pretrained"
    with pytest.raises(ConfigError, match=sentence):
        train_tiny(tmp_path / "checkpoint", replace(plan, backbone="clip"))


def test_the_checkpoint_depends_on_no_recipe(checkpoint, tmp_path):
    plan = make_plan(
        recipe="locoop", backbone=SETTINGS, weights=str(checkpoint.parent / "clip.pt"), seed=5
    )
    train_tiny(tmp_path / "checkpoint", replace(plan, backbone="clip"))
    assert tree(tmp_path / "checkpoint") == tree(checkpoint)


@pytest.mark.parametrize("kind", ["file", "array"])
def test_a_detector_sees_images_as_they_were_extracted(tmp_path, checkpoint, undisturbed, kind):
    store, split = FeatureStore.open(undisturbed), TinyImages().split("test")
    seen = {"provenance": store.provenance, "preprocessing": store.provenance["preprocessing"]}
    detector = SimpleNamespace(description=seen, device=torch.device("cpu"))
    embedder = Embedder.open(checkpoint, detector)
    images = []
    for row, pixels in enumerate(split.images[:6]):
        if kind == "file":
            as_image(pixels).save(tmp_path / f"{row}.png")
            image = read_image(tmp_path / f"{row}.png", embedder.spec, embedder.geometry)
        else:
            image = fit_pixels(pixels, embedder.spec, embedder.geometry)
        images.append(image)
    pooled, local = embedder.features(np.stack(images))
    held = store.split("test").load(["features", "local"])
    np.testing.assert_allclose(pooled, held["features"][:6], atol=1e-5)
    np.testing.assert_allclose(local, held["local"][:6], atol=1e-3)
    seen["preprocessing"] = {**seen["preprocessing"], "geometry": {"size": [32, 32]}}
    with pytest.raises(DataError, match="preprocesses images as"):
        Embedder.open(checkpoint, detector)
    unrecorded = SimpleNamespace(description={"provenance": {}}, device=torch.device("cpu"))
    with pytest.raises(DataError, match="has no head that could be compared"):
        Embedder.open(checkpoint, unrecorded)


def test_a_killed_process_leaves_no_trace(tmp_path, checkpoint, undisturbed):
    out, moments = tmp_path / "features.zarr", random.Random(1)
    process = child(extract_tiny, checkpoint, out, CONFIG)

    def reached():
        return len(list(tmp_path.glob("extracting/*/.done/*.json"))) >= 2

    assert kill_when(process, reached, moments)
    extract_tiny(checkpoint, out, CONFIG)
    assert tree(out) == tree(undisturbed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["extracting", "features.zarr"]
