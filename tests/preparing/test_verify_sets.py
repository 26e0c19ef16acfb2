import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import DataError
from ltood.preparing.verify_sets import how_to_get, verify
from ltood.sets.catalogue import SETS, Offer, Part, known_set
from ltood.sets.downloads import Source


@pytest.fixture
def images(tmp_path):
    """Three images, two of them of equal bytes."""
    folder = tmp_path / "set" / "sub"
    folder.mkdir(parents=True)
    for name, value in (("a", 1), ("b", 2), ("c", 2)):
        Image.new("RGB", (5, 4), (value, 0, 0)).save(folder / f"{name}.png")
    return tmp_path / "set"


def entry(*parts, files=()):
    return replace(known_set("isun"), name="mine", parts=parts, files=files)


def one(*args):
    (finding,) = verify(*args)
    return finding


def test_images_are_counted_and_decoded(images):
    finding = one(entry(Part("sub", 3)), images)
    assert (finding.what, finding.check, finding.fault) == ("sub", "content", "")
    assert finding.result == "3 images, 1 repeat another one"


def test_a_wrong_count_is_a_fault(images):
    assert one(entry(Part("sub", 4)), images).fault == (
        "sub holds 3 images; the published set has 4."
    )
    assert one(entry(Part("sub")), images).fault == ""


def test_a_damaged_image_is_a_fault_named_by_its_path(images):
    (images / "sub" / "b.png").write_bytes(b"no image")
    fault = one(entry(Part("sub", 3)), images).fault
    assert "1 cannot be decoded" in fault
    assert "b.png" in fault


def test_checksums_of_files_are_compared(images):
    content = (images / "sub" / "a.png").read_bytes()
    (images / "a.png").write_bytes(content)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    offer = Offer(Source("a.png", "https://a/a.png", digest), unpack=False)
    findings = list(verify(entry(Part("sub", 3), files=(offer,)), images))
    assert [finding.check for finding in findings] == ["checksum", "content"]
    assert [finding.fault for finding in findings] == ["", ""]
    (images / "a.png").write_bytes(b"other")
    assert "not sha256:" in next(verify(entry(files=(offer,)), images)).fault
    (images / "a.png").unlink()
    assert "there is no" in next(verify(entry(files=(offer,)), images)).fault


def test_unpacked_archives_and_files_without_checksum_are_counted_only(images):
    digest = "md5:" + "0" * 32
    offers = (
        Offer(Source("a.tar", "https://a/a.tar", digest), unpack=True),
        Offer(Source("b.bin", "https://a/b.bin"), unpack=False),
    )
    assert one(entry(Part("sub", 3), files=offers), images).check == "content"


def test_arrays_are_counted(images):
    np.save(images / "x.npy", np.zeros((7, 4, 4, 3), np.uint8))
    assert one(entry(Part("x.npy", 7)), images).result == "7 images"


def test_rows_that_show_id_classes_are_told(images):
    lines = ["sub/a.png {'sc_label': -1}", "sub/b.png {'sc_label': 3}"]
    (images / "list.txt").write_text("\n".join(lines))
    finding = one(entry(Part("list.txt", 2)), images)
    assert finding.result == "2 images, 1 of them show an ID class"


def test_lines_of_a_list_are_counted(images):
    (images / "list.txt").write_text("a 0\nb 1\n\n")
    assert one(entry(Part("list.txt", 2, "lines")), images).result == "2 lines"
    finding = one(entry(Part("none.txt", 2, "lines")), images)
    assert finding.result == "unusable"
    assert "none.txt cannot be read" in finding.fault


@pytest.mark.parametrize(
    ("name", "files", "label_bytes", "num_classes"),
    [
        ("cifar10", [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"], 1, 10),
        ("cifar100", ["train.bin", "test.bin"], 2, 100),
    ],
)
def test_records_of_cifar_are_counted(tmp_path, name, files, label_bytes, num_classes):
    known = known_set(name)
    folder = tmp_path / known.parts[0].path
    folder.mkdir()
    for file in files:
        rows = 50_000 if file == "train.bin" else 10_000
        records = np.memmap(
            folder / file, np.uint8, "w+", shape=(rows, label_bytes + 3072)
        )  # holes take no disk
        records[:, label_bytes - 1] = np.arange(rows) % num_classes
        records.flush()
    assert one(known, tmp_path).result == "60,000 images"
    (folder / files[-1]).unlink()
    assert files[-1] in one(known, tmp_path).fault


def test_a_missing_part_is_a_fault_beside_the_others(images):
    first, second = verify(entry(Part("gone", 3), Part("sub", 3)), images)
    assert "gone" in first.fault
    assert second.fault == ""


def test_a_missing_folder_says_how_to_get_the_set(tmp_path):
    sentence = rf"no folder .*nowhere; run `ltood data download svhn --root {tmp_path}`\.$"
    with pytest.raises(DataError, match=sentence):
        list(verify(known_set("svhn"), tmp_path / "nowhere"))
    assert how_to_get(known_set("svhn"), SETS / "svhn") == "run `ltood data download svhn`."
    text = how_to_get(known_set("imagenet"), tmp_path)
    assert text.startswith("get imagenet by hand (https://image-net.org")
    assert f"in {tmp_path} as train/<wnid>/*.JPEG and val/<wnid>/*.JPEG." in text


def test_lists_are_compared_with_their_digest(tmp_path):
    (tmp_path / "a.txt").write_text("x.png 0\n")
    right = hashlib.sha256(b"x.png 0\n").hexdigest()
    for sha256, faults in ((right, 0), ("0" * 64, 1)):
        part = Part("a.txt", 1, "lines", sha256=sha256)
        known = replace(known_set("openood_lists"), parts=(part,))
        found = list(verify(known, tmp_path))
        assert [finding.check for finding in found] == ["checksum", "content"]
        assert sum(bool(finding.fault) for finding in found) == faults


def test_networks_are_looked_for(tmp_path):
    known = known_set("openood_cifar10_resnet18")
    (first, *others) = known.parts
    (tmp_path / first.path).parent.mkdir(parents=True)
    (tmp_path / first.path).touch()
    found = list(verify(known, tmp_path))
    assert [bool(finding.fault) for finding in found] == [False] + [True] * len(others)
