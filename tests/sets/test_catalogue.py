import re
import tomllib
from pathlib import Path

import pytest

from ltood.core.errors import UnknownNameError
from ltood.sets import catalogue
from ltood.sets.catalogue import KnownSet, Part, known_set, known_sets

EXPECTED = [
    "cifar10",
    "cifar100",
    "svhn",
    "svhn_10k",
    "textures",
    "places365",
    "lsun_c",
    "lsun_r",
    "isun",
    "tiny_imagenet",
    "tiny_imagenet_c",
    "tiny_imagenet_r",
    "tiny_images",
    "mnist",
    "fashion_mnist",
    "scood",
    "inaturalist",
    "sun",
    "places",
    "ninco",
    "openimage_o",
    "ssb_hard",
    "imagenet",
    "imagenet_lt",
    "imagenet_10k",
    "gaussian",
    "uniform",
    "openood_lists",
    "openood_cifar10",
    "openood_cifar100",
    "openood_tin",
    "openood_mnist",
    "openood_svhn",
    "openood_texture",
    "openood_places365",
    "openood_cifar10c",
    "openood_ssb_hard",
    "openood_ninco",
    "openood_inaturalist",
    "openood_openimage_o",
    "openood_imagenet_v2",
    "openood_imagenet_c",
    "openood_imagenet_r",
    "openood_cifar10_resnet18",
    "openood_cifar100_resnet18",
    "openood_imagenet200_resnet18",
]


def test_every_set_of_the_papers_is_known():
    assert list(known_sets()) == EXPECTED


def test_no_key_of_the_file_is_overlooked():
    keys = {field for field in KnownSet.__dataclass_fields__ if field != "name"}
    content = Path(catalogue.__file__).with_suffix(".toml").read_text()
    for name, entry in tomllib.loads(content).items():
        assert set(entry) <= keys, name
        for file in entry.get("files", []):
            assert set(file) <= {"file", "address", "checksum", "unpack"}, name


@pytest.mark.parametrize("name", EXPECTED)
def test_every_entry_is_complete(name):
    entry = known_set(name)
    assert entry.name == name
    for text in (entry.title, entry.content, entry.licence, *entry.papers, *entry.layout):
        assert text.strip() == text != ""
    assert re.match(r"https?://[^ ]+$", entry.page)
    assert entry.papers
    assert entry.parts
    assert not (entry.files and entry.made_by)
    # Two archives would be unpacked to one folder.
    assert len(entry.files) == 1 or not any(offer.unpack for offer in entry.files)
    for part in entry.parts:
        assert part.form in ("images", "records", "lines", "file")
        assert re.fullmatch(r"[0-9a-f]{64}|", part.sha256)
        assert part.rows is None or part.rows > 0


def test_checksums_are_those_of_torchvision():
    from torchvision.datasets import DTD, MNIST, SVHN, FashionMNIST, Places365

    def checksum(name):
        (offer,) = known_set(name).files
        return offer.source.file, offer.source.checksum.removeprefix("md5:")

    assert checksum("svhn") == tuple(SVHN.split_list["test"][1:])
    assert checksum("textures")[1] == DTD._MD5
    assert checksum("mnist") in MNIST.resources
    assert checksum("fashion_mnist") in FashionMNIST.resources
    assert checksum("places365") == Places365._IMAGES_META["val", True]


def test_checksums_of_cifar_are_those_of_the_datasets():
    from ltood.datasets import CIFAR10, CIFAR100

    for name, files in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        (offer,) = known_set(name).files
        assert offer.source.checksum == f"md5:{files.md5}"
        assert offer.source.address == files.address


@pytest.mark.parametrize(
    ("name", "origin"), [("svhn", "download"), ("gaussian", "made"), ("imagenet", "by hand")]
)
def test_the_origin_is_told(name, origin):
    assert known_set(name).origin == origin


def test_a_part_is_named_as_settings_take_it():
    assert Part("a/b").source(Path("sets/x")) == "sets/x/a/b"
    assert Part("a.txt", image_root="p").source(Path("sets/x")) == "sets/x/a.txt@sets/x/p"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"No known set 'svnh'\. Did you mean svhn.*cifar10,"
    ):
        known_set("svnh")
