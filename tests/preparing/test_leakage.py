import hashlib

import numpy as np

from ltood.images.arrays import ImageSplit
from ltood.images.files import ImageFiles
from ltood.preparing.leakage import KnownImages


def arrays(images):
    return ImageSplit(images, np.zeros(len(images), dtype=np.int64), np.arange(len(images)))


def files(root, contents):
    root.mkdir()
    for row, content in enumerate(contents):
        (root / f"{row}.png").write_bytes(content)
    digests = [list(hashlib.sha256(content).digest()) for content in contents]
    rows = np.arange(len(contents))
    paths = tuple(f"{row}.png" for row in rows)
    return ImageFiles(root, paths, np.zeros_like(rows), rows, np.array(digests, np.uint8))


def test_arrays_against_a_loop():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 2, (50, 2, 2, 1), dtype=np.uint8)
    other = rng.integers(0, 2, (40, 2, 2, 1), dtype=np.uint8)
    wanted = sum(any((row == known).all() for known in train) for row in other)
    assert 0 < wanted < 40
    assert KnownImages(arrays(train)).repeated_by(KnownImages(arrays(other))) == wanted


def test_files_are_equal_where_their_bytes_are(tmp_path):
    # Two texts with one CRC-32.
    same = [b"plumless", b"buckeroo"]
    known = KnownImages(files(tmp_path / "a", [same[0], b"other"]))
    assert known.repeated_by(KnownImages(files(tmp_path / "b", [same[1]]))) == 0
    assert known.repeated_by(KnownImages(files(tmp_path / "c", [b"new", same[0]]))) == 1


def test_arrays_are_no_files(tmp_path):
    train = KnownImages(arrays(np.zeros((2, 2, 2, 1), dtype=np.uint8)))
    assert train.repeated_by(KnownImages(files(tmp_path / "a", [b"x"]))) == 0
