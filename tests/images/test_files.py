import hashlib
import io
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from ltood.core.errors import ConfigError, DataError
from ltood.images import checking
from ltood.images.arrays import ImageSplit
from ltood.images.checking import UndecodableError, check_files, load
from ltood.images.decoding import Geometry, as_image, decode, decode_image
from ltood.images.files import ImageFiles
from ltood.runtime.file_hashes import FileHashes


def noise(height, width, channels=3, seed=0, high=256):
    rng = np.random.default_rng(seed)
    return rng.integers(0, high, (height, width, channels), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def folder_of(root, num=5, **options):
    for row in range(num):
        path = root / "set" / f"{row}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(noise(20 + row, 30, seed=row)).save(path)
    paths = tuple(f"set/{row}.png" for row in range(num))
    return ImageFiles(root, paths, np.arange(num) % 2, np.arange(num) + 10, **options)


def test_rows_keep_their_order_whatever_the_number_of_threads(tmp_path):
    files = folder_of(tmp_path)
    one = decode(files, [3, 0, 4], Geometry((8, 9)), workers=1)
    many = decode(files, [3, 0, 4], Geometry((8, 9)), workers=4)
    assert one.shape == (3, 8, 9, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, many)
    single = Geometry((8, 9))(Image.open(tmp_path / "set" / "0.png"), 0)
    assert np.array_equal(one[1], single)


def test_arrays_in_memory_are_images_too():
    images = noise(6, 7, 1)[None]
    split = ImageSplit(images, np.zeros(1, np.int64), np.zeros(1, np.int64))
    pixels = decode(split, [0], Geometry((6, 7)))
    assert np.array_equal(pixels[0], np.repeat(images[0], 3, axis=2))


def test_a_transform_hears_the_row(tmp_path):
    seen = []

    def transform(image, row):
        seen.append((row, image.size))
        return np.zeros((1, 1, 3), np.uint8)

    decode(folder_of(tmp_path), [4, 2], transform, workers=1)
    assert seen == [(4, (30, 24)), (2, (30, 22))]


@settings(max_examples=25, deadline=None)
@given(
    high=st.integers(8, 60),
    wide=st.integers(8, 60),
    crop=st.integers(4, 16),
    more=st.integers(0, 8),
    kind=st.sampled_from(["bilinear", "bicubic"]),
)
def test_centre_crops_equal_torchvision(high, wide, crop, more, kind):
    image = Image.fromarray(noise(high, wide))
    mode = transforms.InterpolationMode(kind)
    theirs = transforms.Compose(
        [transforms.Resize(crop + more, mode), transforms.CenterCrop(crop)]
    )(image)
    ours = Geometry((crop, crop), "centre_crop", crop + more, kind)(image, 0)
    assert np.array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_squashing_equals_torchvision(kind):
    image = Image.fromarray(noise(41, 60))
    theirs = transforms.Resize((12, 17), transforms.InterpolationMode(kind))(image)
    assert np.array_equal(Geometry((12, 17), "squash", None, kind)(image, 0), np.asarray(theirs))


def as_torchvision(content):
    # The loader of torchvision's ImageFolder.
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened.convert("RGB"))


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(noise(9, 8, 1)[..., 0])),
        encoded(Image.fromarray(noise(9, 8, 4), "RGBA")),
        encoded(Image.fromarray(noise(9, 8, 4), "CMYK"), "JPEG"),
        encoded(Image.fromarray(noise(9, 8)).quantize(16)),
        encoded(Image.fromarray(noise(9, 8)).convert("1")),
        encoded(Image.fromarray(noise(9, 8, 2), "LA")),
        encoded(
            Image.fromarray(noise(9, 8)),
            "GIF",
            save_all=True,
            append_images=[Image.fromarray(noise(9, 8, seed=1))],
        ),
        encoded(Image.fromarray(noise(9, 8)), "JPEG"),
        encoded(Image.fromarray(noise(9, 8)), "WEBP", lossless=True),
    ],
    ids=["grey", "rgba", "cmyk", "palette", "bilevel", "grey+alpha", "animated", "jpeg", "webp"],
)
def test_every_kind_of_image_becomes_rgb_as_in_torchvision(content):
    pixels = np.asarray(decode_image(content, "it"))
    assert pixels.shape == (9, 8, 3)
    assert np.array_equal(pixels, as_torchvision(content))


def test_sixteen_bits_keep_their_high_byte():
    values = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    pixels = np.asarray(decode_image(encoded(Image.fromarray(values)), "it"))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (pixels == pixels[..., :1]).all()


def test_the_orientation_tag_is_not_applied():
    image = Image.fromarray(noise(4, 6))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    content = encoded(image, "PNG", exif=exif)
    assert np.array_equal(np.asarray(decode_image(content, "it")), np.asarray(image))


@pytest.mark.parametrize(
    "content", [b"", b"no image", encoded(Image.fromarray(noise(40, 40)))[:900]]
)
def test_what_is_not_an_image_is_named(content):
    with pytest.raises(DataError, match=r"there/x\.png cannot be decoded"):
        decode_image(content, "there/x.png")


def test_one_limit_of_pixels_can_be_lifted(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    content = encoded(Image.fromarray(noise(20, 10)))
    decode_image(content, "it")  # Twice what Pillow warns of.
    larger = encoded(Image.fromarray(noise(21, 10)))
    with pytest.raises(DataError, match=r"210 pixels.*LTOOD_MAX_PIXELS"):
        decode_image(larger, "it")
    monkeypatch.setenv("LTOOD_MAX_PIXELS", "210")
    assert decode_image(larger, "it").size == (10, 21)
    monkeypatch.setenv("LTOOD_MAX_PIXELS", "many")
    with pytest.raises(ConfigError, match="LTOOD_MAX_PIXELS is 'many'"):
        decode_image(larger, "it")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"  <!DOCTYPE html><p>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"anything", "no format that Pillow reads here"),
    ],
)
def test_what_lies_in_the_place_of_an_image_is_said_alike_each_time(content, reason):
    texts = set()
    for _ in range(2):
        with pytest.raises(DataError, match=reason) as caught:
            decode_image(content, "it")
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_a_missing_file_is_named(tmp_path):
    files = folder_of(tmp_path)
    files.path(2).unlink()
    with pytest.raises(DataError, match=r"2\.png cannot be read \(No such file"):
        decode(files, [0, 2], Geometry((4, 4)))


def test_a_changed_file_is_named(tmp_path):
    files = check_files(folder_of(tmp_path)).files
    assert files.digests[1].tobytes() == hashlib.sha256(files.path(1).read_bytes()).digest()
    Image.fromarray(noise(5, 5)).save(files.path(1))
    with pytest.raises(DataError, match=r"1\.png was changed after it was prepared"):
        decode(files, [1], Geometry((4, 4)))


def test_damaged_files_are_refused_or_skipped(tmp_path):
    files = folder_of(tmp_path)
    for row in (1, 3):
        files.path(row).write_bytes(files.path(row).read_bytes()[:300])
    with pytest.raises(UndecodableError, match=r"1\.png cannot be decoded.*1 more are like it"):
        check_files(files)
    checked = check_files(folder_of_kept(files))
    assert checked.files.paths == ("set/0.png", "set/2.png", "set/4.png")
    assert checked.files.labels.tolist() == [0, 0, 0]
    assert checked.files.ids.tolist() == [10, 12, 14]
    assert [text.partition(" ")[0] for text in checked.files.skipped] == ["set/1.png", "set/3.png"]


def folder_of_kept(files):
    return ImageFiles(files.root, files.paths, files.labels, files.ids, on_error="skip")


def test_a_set_of_damaged_files_only_is_refused(tmp_path):
    files = folder_of_kept(folder_of(tmp_path))
    for row in range(5):
        files.path(row).write_bytes(b"x")
    with pytest.raises(DataError, match=r"none of the 5 files under .* can be decoded"):
        check_files(files)


def test_files_of_equal_bytes_are_counted(tmp_path):
    files = folder_of(tmp_path)
    files.path(4).write_bytes(files.path(0).read_bytes())
    assert check_files(files).num_repeats == 1


@pytest.mark.parametrize(("row", "is_torn"), [(4, False), (3, True)])
def test_files_of_equal_bytes_are_named_and_so_is_another_class(tmp_path, capsys, row, is_torn):
    files = folder_of(tmp_path)
    files.path(row).write_bytes(files.path(0).read_bytes())
    check_files(files).report("train")
    said = capsys.readouterr().err
    assert f"set/{row}.png = set/0.png" in said
    assert ("class" in said) is is_torn


def test_animated_files_are_counted_and_told_once(tmp_path, capsys):
    files = folder_of(tmp_path)
    moving = [Image.fromarray(noise(9, 8, seed=seed)) for seed in range(2)]
    moving[0].save(files.path(2), "GIF", save_all=True, append_images=moving[1:])
    load(files, Geometry((8, 8)), "train")
    told = capsys.readouterr().err
    assert told.count("the first frame is taken of 1 animated file") == 1


def test_many_damaged_files_are_told_with_their_number(tmp_path, capsys):
    files = folder_of_kept(folder_of(tmp_path, 8))
    for row in range(6):
        files.path(row).write_bytes(b"x")
    check_files(files).report("train")
    told = capsys.readouterr().err
    assert told.count("train: skipped:") == 5
    assert "train: skipped in all: 6 files" in told


def test_threads_leave_the_warnings_of_others_alone(tmp_path):
    # A palette with transparent entries makes Pillow warn, although the image is valid.
    files = folder_of(tmp_path)
    palette = Image.fromarray(noise(9, 8)).quantize(16)
    palette.save(files.path(0), "PNG", transparency=bytes(range(16)))
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("error")
        decode(files, [0, 1, 2, 3, 4] * 100, Geometry((4, 4)), workers=8)
        decode(files, [0], Geometry((4, 4)))
        added = [row for row in warnings.filters if row[0] == "ignore"]
        assert [row[3].pattern for row in added] == [r"PIL\."]
        with pytest.raises(UserWarning, match="heard"):
            warnings.warn("heard", stacklevel=1)


def test_small_sets_are_loaded_whole(tmp_path, capsys):
    files = folder_of_kept(folder_of(tmp_path))
    files.path(1).write_bytes(b"x")
    split = load(files, Geometry((8, 8)), "train")
    assert split.images.shape == (4, 8, 8, 3)
    assert split.ids.tolist() == [10, 12, 13, 14]
    assert np.array_equal(split.images[1], decode(files, [2], Geometry((8, 8)))[0])
    assert split.skipped[0].startswith("set/1.png ")
    assert "train: skipped: set/1.png" in capsys.readouterr().err


def test_no_images_are_refused(tmp_path):
    none = np.zeros(0, np.int64)
    with pytest.raises(DataError, match="gives no images"):
        ImageFiles(tmp_path, (), none, none)


def test_columns_of_another_length_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"labels have shape \[2\] but there are 1 image files"):
        ImageFiles(tmp_path, ("a.png",), np.zeros(2, np.int64), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (((0, 4),), r"the image size is \[0, 4\]"),
        (((8, 8), "centre_crop", 7), r"scaled to 7, less than the crop of \[8, 8\]"),
    ],
)
def test_impossible_sizes_are_refused(arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Geometry(*arguments)


def test_pixels_of_an_array_survive_as_an_image():
    pixels = noise(5, 4)
    assert torch.equal(torch.tensor(np.asarray(as_image(pixels))), torch.tensor(pixels))


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded, long after they were written."""
    later = time.time_ns() + 60_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    names, read = [], checking.decoded_image
    monkeypatch.setattr(
        checking,
        "decoded_image",
        lambda content, name, side: (names.append(name), read(content, name, side))[1],
    )
    return names


def test_contents_that_could_be_decoded_are_not_read_again(tmp_path, decoded):
    files, known = folder_of_kept(folder_of(tmp_path)), FileHashes(tmp_path / "known.sqlite")
    moving = [Image.fromarray(noise(9, 8, seed=seed)) for seed in range(2)]
    moving[0].save(files.path(2), "GIF", save_all=True, append_images=moving[1:])
    files.path(4).write_bytes(files.path(0).read_bytes())
    first = check_files(files, known=known)
    assert len(decoded) == 5
    assert first.num_animated == first.num_repeats == 1
    again, plain = check_files(files, known=known), check_files(files)
    assert len(decoded) == 10  # by the plain one
    for other in (again, plain):
        assert np.array_equal(other.files.digests, first.files.digests)
        assert other[1:] == first[1:]


def test_what_could_not_be_decoded_is_tried_again(tmp_path, decoded):
    files, known = folder_of_kept(folder_of(tmp_path)), FileHashes(tmp_path / "known.sqlite")
    whole = files.path(1).read_bytes()
    files.path(1).write_bytes(b"x")
    for _ in range(2):
        checked = check_files(files, known=known)
        assert checked.files.ids.tolist() == [10, 12, 13, 14]
        assert checked.files.skipped[0].startswith("set/1.png ")
    assert len(decoded) == 6
    files.path(1).write_bytes(whole)
    checked = check_files(files, known=known)
    assert checked.files.ids.tolist() == [10, 11, 12, 13, 14]
    assert checked.files.digests[1].tobytes() == hashlib.sha256(whole).digest()


def test_all_are_read_again_by_other_code(tmp_path, decoded, monkeypatch):
    files, known = folder_of(tmp_path), FileHashes(tmp_path / "known.sqlite")
    check_files(files, known=known)
    monkeypatch.setattr(checking, "code_digest", lambda _: "other")
    check_files(files, known=known)
    assert len(decoded) == 10


def test_all_are_read_again_with_another_limit_of_pixels(tmp_path, decoded, monkeypatch):
    files, known = folder_of_kept(folder_of(tmp_path)), FileHashes(tmp_path / "known.sqlite")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    assert not check_files(files, known=known).files.skipped
    monkeypatch.setenv("LTOOD_MAX_PIXELS", "2")
    with pytest.raises(DataError, match="LTOOD_MAX_PIXELS"):
        check_files(files, known=known)
