from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import DataError
from ltood.images import lists
from ltood.images.folders import images_below
from ltood.images.lists import check_paths, read_list, read_text


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)


@pytest.fixture
def data(tmp_path):
    for name in ("a/1.png", "a/2.PNG", "b/c/3.jpg"):
        image(tmp_path / "images" / name)
    return tmp_path


def listed(data, text, name="imglist/benchmark_x/test_y.txt"):
    path = data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_openood_lists_have_class_numbers(data):
    files = read_list(listed(data, "a/1.png 7\n\nb/c/3.jpg -1\n", "test.txt"))
    assert files.root == data / "images"
    assert files.paths == ("a/1.png", "b/c/3.jpg")
    assert files.labels.tolist() == [7, -1]
    assert files.ids.tolist() == [0, 1]
    assert files.labels.dtype == files.ids.dtype == np.int64


def test_scood_lists_have_a_dictionary(data):
    text = "a/1.png {'label': 3, 'sc_label': -1}\na/2.PNG {\"sc_label\": 4}\n"
    assert read_list(listed(data, text)).labels.tolist() == [-1, 4]


def test_bare_paths_have_no_classes(data):
    assert read_list(listed(data, "a/1.png\na/2.PNG\n")).labels.tolist() == [-1, -1]


def test_marks_and_tabs_of_editors_are_read(data):
    files = read_list(listed(data, "\ufeffa/1.png\t7\nb/c/3.jpg  -1\n"))
    assert files.paths == ("a/1.png", "b/c/3.jpg")
    assert files.labels.tolist() == [7, -1]


def test_the_folder_may_be_named(data, tmp_path):
    where = listed(data, "1.png 0\n", "elsewhere/list.txt")
    assert read_list(where, data / "images/a").paths == ("1.png",)


def test_nothing_in_a_list_is_run(data):
    text = "a/1.png {'sc_label': __import__('os').getpid()}\n"
    with pytest.raises(DataError, match=r"line 1 of .*test_y\.txt .*sc_label"):
        read_list(listed(data, text))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n\n", "is empty"),
        ("a/1.png dog\n", r"line 1 of .*dog"),
        ("a/1.png {'sc_label': 'x'}\n", "sc_label"),
        ("a/1.png {'label': 1}\n", "sc_label"),
        ("a/1.png,3\n", "comma"),
        ("a/1.png, 3\n", "nowhere|not below"),
        ("# a list\na/1.png 0\n", "comments"),
        ("a/1.png 0\na/1.png 0\n", r"names 'a/1\.png' twice"),
        ("a/1.png 0\na/9.png 0\n", r"names 'a/9\.png', but there is no"),
        ("nowhere.png 0\n", r"begins with 'nowhere\.png', which is not below"),
        ("a/1.png 0\n../images/a/1.png 0\n", "leads out of"),
    ],
)
def test_bad_lists_are_refused(data, text, sentence):
    with pytest.raises(DataError, match=sentence):
        read_list(listed(data, text))


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"the list .*none\.txt cannot be read"):
        read_list(tmp_path / "none.txt")


def test_absolute_paths_are_refused(data):
    with pytest.raises(DataError, match="leads out of"):
        check_paths(data, [str(data / "images/a/1.png")], "it")


def test_images_are_found_sorted_and_others_left(data):
    (data / "images" / "notes.md").write_text("x")
    image(data / "images" / ".hidden.png")
    assert images_below(data / "images").paths == ["a/1.png", "a/2.PNG", "b/c/3.jpg"]


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        images_below(tmp_path / "none")
    with pytest.raises(DataError, match="holds no images"):
        images_below(tmp_path)


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("with two blanks.png -1", -1),
        ("with two blanks.png", -1),
        ("with two blanks.png {'sc_label': 3}", 3),
        ("12 34.png 5", 5),
        ("\u00fcn\u00efcode name.png 2", 2),
    ],
)
def test_paths_may_hold_blanks(data, line, label):
    for name in ("with two blanks.png", "12 34.png", "\u00fcn\u00efcode name.png"):
        image(data / "images" / name)
    files = read_list(listed(data, f"{line}\n"))
    assert files.labels.tolist() == [label]
    assert files.path(0).is_file()


def test_only_regular_files_of_moderate_size_are_read(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="regular file"):
        read_text(Path("/dev/zero"), "it", "name another")
    (tmp_path / "long.txt").write_text("0123456789")
    monkeypatch.setattr(lists, "_MOST_BYTES", 9)
    with pytest.raises(DataError, match="more than 9 bytes"):
        read_text(tmp_path / "long.txt", "it", "name another")
