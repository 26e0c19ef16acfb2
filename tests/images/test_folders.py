import os

import pytest

from ltood.core.errors import DataError
from ltood.images.folders import folders_of, images_below, list_images


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


@pytest.fixture
def root(tmp_path):
    for name in ("b/2.JPG", "a/1.png", "c.jpeg"):
        touch(tmp_path / "root" / name)
    return tmp_path / "root"


def test_images_are_found_sorted(root):
    found = images_below(root)
    assert found.paths == ["a/1.png", "b/2.JPG", "c.jpeg"]
    assert found.notes() == ()


def test_links_to_folders_and_files_are_followed(root, tmp_path):
    for name in ("x/5.png", "x/deep/6.png", "7.png"):
        touch(tmp_path / "elsewhere" / name)
    (root / "a" / "linked").symlink_to(tmp_path / "elsewhere" / "x")
    (root / "linked.png").symlink_to(tmp_path / "elsewhere" / "7.png")
    assert images_below(root).paths == [
        "a/1.png",
        "a/linked/5.png",
        "a/linked/deep/6.png",
        "b/2.JPG",
        "c.jpeg",
        "linked.png",
    ]


def test_links_back_end_the_walk_and_are_reported(root):
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b")
    found = images_below(root)
    assert found.paths == ["a/1.png", "b/2.JPG", "c.jpeg"]
    assert found.loops == ["a/up", "b/self"]
    (note,) = found.notes()
    assert "2 links" in note
    assert "a/up" in note


def test_two_links_to_each_other_end(tmp_path):
    for name, other in (("one", "two"), ("two", "one")):
        touch(tmp_path / name / "1.png")
        (tmp_path / name / "to").symlink_to(tmp_path / other)
    assert images_below(tmp_path / "one").paths == ["1.png", "to/1.png"]


def test_dangling_links_and_other_endings_are_reported(root):
    (root / "lost.jpg").symlink_to(root / "nowhere.jpg")
    for name in ("1.heic", "2.HEIC", "a/notes.txt", "README"):
        touch(root / name)
    found = images_below(root)
    assert found.paths == ["a/1.png", "b/2.JPG", "c.jpeg"]
    others, lost = found.notes()
    assert "4 files" in others
    assert ".heic 2" in others
    assert "none 1" in others
    assert "1 link" in lost
    assert "lost.jpg" in lost


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".jp2", ".avif", ".JFIF"])
def test_other_endings_that_pillow_reads_are_images(root, ending):
    touch(root / f"d{ending}")
    assert f"d{ending}" in images_below(root).paths


@pytest.mark.parametrize(
    "name", ["@eaDir/1.png", ".cache/1.png", "a/.hidden.png", "__MACOSX/1.png"]
)
def test_hidden_and_added_folders_are_passed_over(root, name):
    touch(root / name)
    found = images_below(root)
    assert found.paths == ["a/1.png", "b/2.JPG", "c.jpeg"]
    assert found.notes() == ()


def test_folders_of_a_folder_are_sorted_without_hidden_and_added_ones(root):
    for name in ("@eaDir/1.png", ".git/config"):
        touch(root / name)
    (root / "d").symlink_to(root / "a")
    assert folders_of(root) == ("a", "b", "d")


def test_pipes_are_never_read(root):
    os.mkfifo(root / "pipe.png")
    assert images_below(root).paths == ["a/1.png", "b/2.JPG", "c.jpeg"]


def test_no_image_and_no_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        list_images(tmp_path / "none")
    (tmp_path / "full").mkdir()
    touch(tmp_path / "full" / "a.heic")
    with pytest.raises(DataError, match=r"holds no images .*\.heic 1"):
        images_below(tmp_path / "full")
    assert list_images(tmp_path / "full").paths == []
