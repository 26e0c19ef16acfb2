"""Reading, fitting and embedding images that come one by one."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltood.core.errors import (
    DataError,
)
from ltood.deployment.images import Embedder, fit_image, fit_pixels, read_image
from ltood.deployment.judging import BadInputs
from ltood.deployment.predicting import predict_files
from ltood.images.decoding import decode_image
from ltood.networks.backbone import ImageSpec
from tests.deployment.detector_samples import (
    SPEC,
)


def test_features_are_rounded_as_stored(samples):
    half = samples.recorded(extraction={"dtype": "float16"})
    features, local = Embedder.open(samples.checkpoint, half).features(samples.images)
    exact, _ = Embedder.open(samples.checkpoint, samples.detector).features(samples.images)
    assert local is None
    assert torch.equal(features, exact.half().float())
    assert not torch.equal(features, exact)


def test_another_backbone_is_refused(samples, detector):
    other = samples.recorded(checkpoint={"weights_sha256": "0" * 64})
    with pytest.raises(DataError, match="was fitted on features of 000000000000…"):
        Embedder.open(samples.checkpoint, other)
    with pytest.raises(DataError, match=r"is not the detector's \(weight differs\)"):
        Embedder.open(samples.checkpoint, detector)
    description = {**samples.detector.description, "preprocessing": {"scale": "none"}}
    with pytest.raises(DataError, match=r"preprocesses images as .*'uint8 / 255'"):
        Embedder.open(
            samples.checkpoint, dataclasses.replace(samples.detector, description=description)
        )


def test_bad_images(samples, tmp_path, capsys):
    Image.fromarray(samples.images[0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "c.jpg").write_text("no image")
    (tmp_path / "notes.txt").write_text("not looked at")
    for name in ("b.png", "c.jpg"):
        with pytest.raises(DataError, match=rf"{name} cannot be decoded as an image"):
            read_image(tmp_path / name, SPEC)
    given = samples.detector, [tmp_path]
    with pytest.raises(DataError, match=r"b.png cannot be decoded"):
        list(predict_files(*given, checkpoint=samples.checkpoint, bad=BadInputs("raise")))
    rows = list(predict_files(*given, checkpoint=samples.checkpoint))
    assert [Path(row.path).name for row in rows] == ["a.png", "b.png", "c.jpg"]
    assert [row.verdict == "error" for row in rows] == [False, True, True]
    assert "c.jpg cannot be decoded" in rows[2].reason
    assert (rows[2].score, rows[2].class_name, rows[2].p_value) == (None, None, None)
    assert "b.png" not in capsys.readouterr().err
    bad = BadInputs("skip")
    found = predict_files(*given, checkpoint=samples.checkpoint, bad=bad)
    assert [Path(row.path).name for row in found] == ["a.png"]
    assert bad.count == 2
    assert "c.jpg cannot be decoded" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "is_taken"), [(40, True), (20, False)])
def test_huge_images_have_one_limit_for_preparing_and_judging(
    samples, monkeypatch, limit, is_taken
):
    # Pillow warns of more pixels than this and refuses twice as many.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = samples.folder / "0.png"
    for read in (
        lambda: decode_image(path.read_bytes(), str(path)),
        lambda: read_image(path, SPEC),
    ):
        if is_taken:
            read()
        else:
            with pytest.raises(DataError, match=r"0.png cannot be decoded .*exceeds limit"):
                read()


def test_messages_hold_no_address(tmp_path):
    for name, content in (("empty.png", b""), ("cut.jpg", b"\xff\xd8\xff\xe0"), ("text.gif", b"x")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name) as caught:
            read_image(tmp_path / name, SPEC)
        assert " at 0x" not in str(caught.value)


def test_images_are_fitted(tmp_path):
    grey = ImageSpec(1, 4, 4, (0.5,), (0.2,), num_classes=3)
    wide = np.zeros((4, 8, 3), dtype=np.uint8)
    wide[:, 2:6] = 200
    # The centre is what remains: the dark sides are cropped, not squeezed in.
    assert (fit_pixels(wide, grey) == 200).all()
    assert fit_pixels(wide, grey).shape == (4, 4, 1)
    same = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    square = dataclasses.replace(SPEC, height=4, width=4)
    assert fit_pixels(same, square) is same
    np.testing.assert_array_equal(fit_image(Image.fromarray(same), square), same)
    assert fit_pixels(same[..., :1], square).shape == (4, 4, 3)


def test_images_are_turned_upright(tmp_path):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # Turned by half a turn.
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    square = dataclasses.replace(SPEC, height=4, width=4)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", square), pixels[::-1])


def test_unusual_modes(tmp_path):
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep.png: the image has mode I;16; only 8 bits"):
        read_image(tmp_path / "deep.png", SPEC)
    palette = Image.new("P", (8, 8))
    palette.save(tmp_path / "clear.png", transparency=bytes([0, 9]))
    assert read_image(tmp_path / "clear.png", SPEC).shape == (8, 8, 3)


def test_a_batch_is_decoded_while_the_one_before_is_judged(samples, monkeypatch):
    second, read, features = threading.Event(), Embedder.read, Embedder.features

    def seen(own, path):
        if path.name == "1.png":
            second.set()
        return read(own, path)

    def judged(own, images):
        assert second.wait(20)
        return features(own, images)

    monkeypatch.setattr(Embedder, "read", seen)
    monkeypatch.setattr(Embedder, "features", judged)
    given = samples.detector, [samples.folder]
    rows = list(predict_files(*given, checkpoint=samples.checkpoint, batch_size=1))
    assert [Path(row.path).name for row in rows] == ["0.png", "1.png", "2.png"]
