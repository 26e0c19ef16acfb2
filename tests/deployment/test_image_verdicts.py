"""Image files of the training data get the scores that they have in the feature store."""

import dataclasses

import numpy as np
import pytest
from image_samples import extract_tiny, make_plan, train_tiny
from PIL import Image

from ltood.core.building import EntrySpec
from ltood.datasets.folder import Config, Dataset
from ltood.deployment.exporting import fit_detector
from ltood.deployment.images import Embedder, fit_image, fit_pixels
from ltood.deployment.inputs import image_files
from ltood.deployment.predicting import predict_files
from ltood.images.decoding import Geometry
from ltood.images.prepared import open_prepared
from ltood.networks.backbone import ImageSpec
from ltood.preparing.prepare import prepare
from ltood.store.features import FeatureStore

#: Wide, high and odd ones; what is squashed differs from what is cropped.
SIZES = ((20, 12), (11, 24), (16, 16), (9, 30))


def write_images(root, suffix="png"):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number, (width, height) in enumerate(SIZES):
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.{suffix}", quality=95)
    folder = root / "test" / "b"
    turned = Image.Exif()
    turned[0x0112] = 6  # A quarter turn, which preparing does not apply.
    Image.open(folder / f"0.{suffix}").save(folder / "turned.png", exif=turned)
    deep = rng.integers(0, 2**16, (14, 10), dtype=np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")


@pytest.mark.parametrize(
    ("mode", "jpeg_side"), [("squash", None), ("centre_crop", None), ("centre_crop", 4)]
)
def test_images_score_as_in_the_store(mode, jpeg_side, tmp_path):
    write_images(tmp_path / "mine", "png" if jpeg_side is None else "jpg")
    settings = {
        "root": str(tmp_path / "mine"),
        "size": 8,
        "mode": mode,
        "jpeg_side": jpeg_side,
    }
    prepare(Dataset(Config(**settings)), "folder", settings, tmp_path / "prepared")
    data = open_prepared(tmp_path / "prepared")
    train_tiny(tmp_path / "checkpoint", make_plan(), data)
    extract_tiny(tmp_path / "checkpoint", tmp_path / "store", {}, data)
    store = FeatureStore.open(tmp_path / "store")
    detector = fit_detector(store, EntrySpec("energy"), threshold_split="test", device="cpu")
    wanted = detector.score(store.split("test").load(["features"])["features"])
    found = predict_files(
        detector, [tmp_path / "mine" / "test"], checkpoint=tmp_path / "checkpoint"
    )
    np.testing.assert_allclose([row.score for row in found], wanted, rtol=1e-5, atol=1e-6)
    steps = Embedder.open(tmp_path / "checkpoint", detector).steps
    expected = [] if jpeg_side is None else [{"mode": "jpeg_side", "size": 4}]
    assert [step for step in steps if step["mode"] == "jpeg_side"] == expected


def test_pixels_that_the_network_was_fed_are_not_cropped_again():
    spec = ImageSpec(3, 8, 8, (0.5,) * 3, (0.2,) * 3, num_classes=2)
    geometry = Geometry((8, 8), "centre_crop", 10)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit_pixels(pixels, spec, geometry), pixels)
    np.testing.assert_array_equal(fit_image(Image.fromarray(pixels), spec, geometry), pixels)
    # Training images of this size, whose spec names none, were cropped like all others.
    files = dataclasses.replace(spec, height=0, width=0)
    assert (fit_image(Image.fromarray(pixels), files, geometry) != pixels).any()


def test_hidden_files_are_no_images(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg" / "b.png")
    (tmp_path / "._b.png").write_bytes(b"written by macOS beside each file of a foreign disk")
    assert image_files(tmp_path) == [tmp_path / "a.jpg" / "b.png"]
