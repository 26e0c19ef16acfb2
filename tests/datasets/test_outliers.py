import gzip
import struct
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import ConfigError, DataError
from ltood.datasets import _outliers
from ltood.datasets._outliers import fitted, open_outliers, outlier_sources
from ltood.images.arrays import ImageSplit
from ltood.images.decoding import Geometry, decode
from ltood.images.files import ImageFiles

#: The header of a file of MATLAB 7.3, which is HDF5 behind it.
MATLAB_7_3 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(384)


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def opened(where, shape=(32, 32, 3)):
    return open_outliers({"ood_x": str(where)}, "ood_x", shape)


def idx(images):
    return struct.pack(">4I", 0x803, *images.shape) + images.tobytes()


def images(root, num=3):
    for row in range(num):
        path = root / "deep" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(40, 50, 3, seed=row)).save(path)
    return root


@dataclass
class Sources:
    """Settings that say where images from elsewhere are."""

    ood: tuple = ()
    aux: str | None = None
    csid: tuple = ()
    val_ood: tuple = ()
    section: ClassVar = "datasets.two"


def test_sources_are_named_in_their_order():
    given = ["svhn=x/y=z.npz", "art=a.npz", "textures", "isun#500"]
    settings = Sources(given, "aux.npy#30000", csid=("c=c.txt",), val_ood=("tin",))
    assert outlier_sources(settings) == {
        "aux": "aux.npy#30000",
        "ood_svhn": "x/y=z.npz",
        "ood_art": "a.npz",
        "ood_textures": "textures",
        "ood_isun": "isun#500",
        "csid_c": "c.txt",
        "val_ood_tin": "tin",
    }
    assert outlier_sources(Sources()) == {}


@pytest.mark.parametrize(
    ("ood", "aux", "sentence"),
    [
        (["a.npz"], None, r"datasets\.two\.ood holds 'a\.npz'; each item is a name"),
        (["=a.npz"], None, r"ood holds '=a\.npz'"),
        (["a="], None, r"ood holds 'a='"),
        (["a=b", "a=c"], None, r"datasets\.two\.ood names 'a' twice"),
        (["a=b", "a"], None, r"datasets\.two\.ood names 'a' twice"),
        (["a b=c"], None, r"datasets\.two\.ood names a set 'a b'"),
        (["ä"], None, r"datasets\.two\.ood names a set 'ä'"),
        ([], "", r"datasets\.two\.aux is empty"),
    ],
)
def test_bad_lists_of_outliers_are_refused(ood, aux, sentence):
    with pytest.raises(ConfigError, match=sentence):
        outlier_sources(Sources(ood, aux))


@pytest.mark.parametrize("key", ["csid", "val_ood"])
def test_bad_lists_of_other_sets_name_their_setting(key):
    with pytest.raises(ConfigError, match=rf"datasets\.two\.{key} names 'a' twice"):
        outlier_sources(Sources(**{key: ("a=b", "a=c")}))


def shifted(where, shape=None):
    return open_outliers({"csid_x": str(where)}, "csid_x", shape, class_names=("cat", "dog"))


def test_sets_under_covariate_shift_have_classes(tmp_path):
    """A folder for each class by name or number, a list with classes, an archive with labels."""
    for folder, name in enumerate(("dog", "0", "1")):
        path = tmp_path / "drawn" / name / "x.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels(8, 8, 3, seed=folder)).save(path)
    assert shifted(tmp_path / "drawn").labels.tolist() == [0, 1, 1]
    (tmp_path / "list.txt").write_text("drawn/0/x.png 1\ndrawn/dog/x.png 0\n")
    assert shifted(tmp_path / "list.txt").labels.tolist() == [1, 0]
    np.savez(tmp_path / "c.npz", images=pixels(2, 8, 8, 3), labels=[1, 0])
    assert shifted(tmp_path / "c.npz").labels.tolist() == [1, 0]
    (tmp_path / "drawn" / "bird").mkdir()
    (tmp_path / "drawn" / "0" / "x.png").rename(tmp_path / "drawn" / "bird" / "x.png")
    with pytest.raises(DataError, match="1 of 3 images of csid_x have no class"):
        shifted(tmp_path / "drawn")


def test_npy_arrays(tmp_path):
    images = pixels(6, 32, 32, 3)
    np.save(tmp_path / "random.npy", images)
    found = opened(tmp_path / "random.npy")
    assert np.array_equal(found.images, images)
    assert found.labels.tolist() == [-1] * 6


def test_the_first_rows_may_be_taken(tmp_path):
    np.save(tmp_path / "random.npy", pixels(6, 32, 32, 3))
    assert opened(f"{tmp_path / 'random.npy'}#4").ids.tolist() == [0, 1, 2, 3]
    assert len(opened(f"{tmp_path / 'random.npy'}#400")) == 6
    for count in ("0", "x"):
        with pytest.raises(DataError, match="such as #30000"):
            opened(f"{tmp_path / 'random.npy'}#{count}")


def test_folders_with_the_mark_in_their_name_are_read(tmp_path):
    (tmp_path / "set #1").mkdir()
    np.save(tmp_path / "set #1" / "random.npy", pixels(6, 32, 32, 3))
    assert len(opened(str(tmp_path / "set #1"))) == 6
    assert len(opened(f"{tmp_path / 'set #1' / 'random.npy'}#4")) == 4


def test_svhn(tmp_path):
    from scipy.io import savemat

    images = pixels(5, 32, 32, 3)
    content = {"X": images.transpose(1, 2, 3, 0), "y": np.array([[10], [1], [2], [3], [4]])}
    savemat(tmp_path / "test_32x32.mat", content)
    found = opened(tmp_path / "test_32x32.mat")
    assert np.array_equal(found.images, images)
    assert found.labels.tolist() == [-1] * 5  # digits are not ID classes


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path, packed):
    images = pixels(4, 28, 28)
    path = tmp_path / f"t10k-images-idx3-ubyte{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(idx(images)) if packed else idx(images))
    assert np.array_equal(opened(path, (28, 28, 1)).images[..., 0], images)
    colour = opened(path)
    assert colour.images.shape == (4, 32, 32, 3)
    assert (colour.images == colour.images[..., :1]).all()


def test_a_folder_of_images(tmp_path):
    files = opened(images(tmp_path), None)
    assert isinstance(files, ImageFiles)
    assert files.paths == ("deep/0.png", "deep/1.png", "deep/2.png")
    squashed = opened(tmp_path)
    assert np.array_equal(squashed.images, decode(files, range(3), Geometry((32, 32))))


def test_a_list(tmp_path, capsys):
    images(tmp_path / "images")
    text = "deep/2.png {'sc_label': 1}\ndeep/0.png {'sc_label': -1}\n"
    (tmp_path / "test_x.txt").write_text(text)
    found = opened(tmp_path / "test_x.txt")
    assert found.labels.tolist() == [1, -1]
    assert "ood_x: 1 of 2 images show an ID class" in capsys.readouterr().err


def test_a_folder_with_one_published_file(tmp_path):
    np.save(tmp_path / "300K_random_images.npy", pixels(3, 32, 32, 3))
    assert len(opened(tmp_path)) == 3


def test_of_training_and_test_files_the_test_file_is_taken(tmp_path):
    for name, num in (("train-images-idx3-ubyte", 7), ("t10k-images-idx3-ubyte", 4)):
        (tmp_path / name).write_bytes(idx(pixels(num, 28, 28)))
    assert len(opened(tmp_path)) == 4


def test_known_names_are_looked_up(tmp_path, monkeypatch):
    monkeypatch.setattr(_outliers, "SETS", tmp_path)
    images(tmp_path / "textures", 2)
    assert len(opened("textures")) == 2
    with pytest.raises(DataError, match=r"not at isun or .*isun; put them there"):
        opened("isun")


def test_of_a_known_set_its_part_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_outliers, "SETS", tmp_path)
    images(tmp_path / "tiny_imagenet" / "tiny-imagenet-200" / "val", 2)
    images(tmp_path / "tiny_imagenet" / "tiny-imagenet-200" / "train", 3)
    assert len(opened("tiny_imagenet")) == 2
    assert len(opened("tiny_imagenet#1")) == 1


def test_of_a_known_set_with_several_parts_one_must_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(_outliers, "SETS", tmp_path)
    for part in ("extra_1k", "ood_test_1k"):
        images(tmp_path / "imagenet_10k" / part, 2)
    with pytest.raises(
        DataError, match=r"ood_x names imagenet_10k, which has 2 parts; .* as .*/extra_1k\."
    ):
        opened("imagenet_10k")


@pytest.mark.parametrize(
    ("name", "file", "label_bytes", "num_classes"),
    [
        ("cifar10", "cifar-10-batches-bin/test_batch.bin", 1, 10),
        ("cifar100", "cifar-100-binary/test.bin", 2, 100),
    ],
)
def test_one_cifar_set_is_an_ood_set_of_the_other(
    tmp_path, monkeypatch, name, file, label_bytes, num_classes
):
    monkeypatch.setattr(_outliers, "SETS", tmp_path)
    path = tmp_path / name / file
    path.parent.mkdir(parents=True)
    records = np.zeros((10_000, label_bytes + 3072), np.uint8)
    records[:, label_bytes - 1] = np.arange(10_000) % num_classes
    records[7, label_bytes] = 99
    records.tofile(path)
    for where in (name, path):
        found = opened(where)
        assert (len(found), found.labels.max()) == (10_000, -1)
        assert found.images[7, 0, 0].tolist() == [99, 0, 0]
    path.unlink()
    with pytest.raises(DataError, match="holds no images"):
        opened(name)


def test_colour_becomes_grey_as_in_pillow():
    images = pixels(3, 8, 8, 3)
    rows = np.arange(3)
    grey = fitted(ImageSplit(images, np.full(3, -1), rows), (8, 8, 1), "x").images
    theirs = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    assert np.abs(grey[..., 0].astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.npy", b"nothing", r"x\.npy cannot be read as an .npy array"),
        ("x.mat", b"nothing", "is not an SVHN file of cropped digits"),
        ("x.mat", MATLAB_7_3, r"is not an SVHN file of cropped digits .*matlab v7\.3"),
        ("t10k-images-idx3-ubyte", b"short", "is not an idx3-ubyte file of images"),
        ("t10k-images-idx3-ubyte", struct.pack(">4I", 0x803, 2, 28, 28), "it was cut short"),
        ("t10k-images-idx3-ubyte.gz", b"short", "cannot be read"),
        ("x.zip", b"", "known format"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        opened(tmp_path / name)


def test_svhn_of_another_form_is_refused(tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "x.mat", {"X": np.zeros((3, 3), np.uint8)})
    with pytest.raises(DataError, match=r"holds X of shape \[3, 3\]"):
        opened(tmp_path / "x.mat")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"images of ood_x are not at .*none\.npz; put them"):
        opened(tmp_path / "none.npz")


@pytest.mark.parametrize("shape", [(20, 24, 3), (20, 24, 4)])
def test_one_colour_image_is_refused_by_file(tmp_path, shape):
    np.save(tmp_path / "one.npy", pixels(*shape))
    np.savez(tmp_path / "one.npz", images=pixels(*shape))
    for name in ("one.npy", "one.npz"):
        with pytest.raises(DataError, match=rf"{name}: .*one colour image"):
            opened(tmp_path / name)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 4, 4, 3)), np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4), np.uint8)]
)
def test_arrays_that_are_not_images_are_named(tmp_path, images):
    np.save(tmp_path / "some.npy", images)
    with pytest.raises(DataError, match=r"some\.npy: images"):
        opened(tmp_path / "some.npy")


def test_what_a_folder_holds_besides_images_is_reported(tmp_path, capsys):
    root = images(tmp_path / "set")
    (root / "more.heic").write_bytes(b"x")
    (root / "lost.png").symlink_to(tmp_path / "nowhere.png")
    opened(root)
    told = capsys.readouterr().err
    assert "ood_x: 1 file with endings" in told
    assert "ood_x: 1 link leading nowhere" in told
