"""Large JPEGs decoded at a part of their size: how large they stay, and how near the pixels are."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ltood.core.errors import DataError
from ltood.datasets._outliers import open_outliers
from ltood.datasets.folder import Config, Dataset
from ltood.images.decoding import Geometry, decode_image
from ltood.images.prepared import open_prepared
from ltood.preparing.prepare import prepare


def picture(width, height, form="JPEG", seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(256, size=(4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    large = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    large.save(file, form, quality=95)
    return file.getvalue()


@given(width=st.integers(1, 300), height=st.integers(1, 300), side=st.integers(1, 400))
def test_the_shorter_side_keeps_enough_pixels(width, height, side):
    content = picture(width, height)
    image, whole = decode_image(content, "a.jpg", side), decode_image(content, "a.jpg")
    assert whole.size == (width, height)
    assert min(image.size) >= min(side, width, height)
    factor = next(s for s in (8, 4, 2, 1) if s == 1 or min(width, height) // side >= s)
    assert image.size == (-(-width // factor), -(-height // factor))
    if factor == 1:
        assert image.tobytes() == whole.tobytes()


def test_what_the_network_sees_differs_little():
    content, geometry = picture(640, 480), Geometry((48, 48), "centre_crop", 56)
    whole, part = (
        geometry(decode_image(content, "a.jpg", side), 0).astype(int) for side in (None, 112)
    )
    assert decode_image(content, "a.jpg", 112).size == (160, 120)
    assert np.abs(whole - part).mean() < 1
    assert np.abs(whole - part).max() < 8


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "GIF"])
def test_other_formats_are_read_whole(form):
    content = picture(64, 48, form)
    assert decode_image(content, "a", 8).tobytes() == decode_image(content, "a").tobytes()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_are_scaled_too(mode):
    file = io.BytesIO()
    Image.new(mode, (64, 48), 100).save(file, "JPEG")
    image = decode_image(file.getvalue(), "a", 12)
    assert (image.mode, image.size) == ("RGB", (16, 12))


def test_damaged_files_are_refused_at_any_size():
    content = picture(640, 480)
    for side in (None, 60):
        with pytest.raises(DataError, match=r"a\.jpg"):
            decode_image(content[: len(content) // 2], "a.jpg", side)


@pytest.fixture
def root(tmp_path):
    for split in ("train", "test"):
        for number, name in enumerate(("a", "b")):
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            (folder / "ü 1.jpg").write_bytes(picture(64, 48, seed=number))
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "1.jpg").write_bytes(picture(80, 80))
    return tmp_path


def prepared(root, out, **settings):
    given = {"root": str(root / "set"), "ood": [f"far={root / 'far'}"], **settings}
    dataset = Dataset(Config(**{**given, "ood": tuple(given["ood"])}))
    prepare(dataset, "folder", given, root / out)
    return open_prepared(root / out)


def test_every_split_is_read_so_and_counts_as_other_images(root):
    whole, part = prepared(root, "whole"), prepared(root, "part", jpeg_side=12)
    for name, size in (("train", (16, 12)), ("test", (16, 12)), ("ood_far", (20, 20))):
        assert part.source(name).image(0).size == size
        assert part.source(name).take(np.array([0])).jpeg_side == 12
        with part.source(name).opened(0) as image:
            assert image.size == part.source(name).image(0).size
        contents = [each.manifest["splits"][name]["content"] for each in (whole, part)]
        assert contents[0] != contents[1]
        assert "jpeg_side" not in whole.manifest["splits"][name]
        assert whole.source(name).image(0).size != size


def test_arrays_are_made_of_what_was_decoded_so(root):
    part = prepared(root, "part", jpeg_side=12, size=8)
    content = (root / "set" / "train" / "a" / "ü 1.jpg").read_bytes()
    expected = Geometry((8, 8))(decode_image(content, "", 12), 0)
    np.testing.assert_array_equal(part.source("train").pixels[0], expected)
    found = open_outliers({"ood_far": str(root / "far")}, "ood_far", (8, 8, 3), jpeg_side=12)
    np.testing.assert_array_equal(part.source("ood_far").pixels, found.images)
