import numpy as np
import pytest
from PIL import Image

from ltood.core.errors import ConfigError, DataError
from ltood.core.settings import parse
from ltood.datasets import _own_folders
from ltood.datasets._image_folders import class_folders
from ltood.datasets.folder import Config, Dataset
from ltood.images.fewshot import split_table
from ltood.images.files import ImageFiles
from ltood.images.prepared import open_prepared
from ltood.preparing.prepare import prepare

NUMBERS = {"train": {"cat": 8, "dog": 4, "eel": 3}, "test": {"cat": 2, "dog": 2, "eel": 2}}


def image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """What remembers a division is written below the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def root(tmp_path):
    for split, classes in NUMBERS.items():
        for name, num in classes.items():
            for row in range(num):
                image(tmp_path / "set" / split / name / f"{row}.png", seed=row)
    image(tmp_path / "noise" / "a.png")
    return tmp_path / "set"


def dataset(root, **settings):
    return Dataset(parse({"root": str(root), **settings}, Config, "datasets.folder"))


def test_class_folders_become_classes_in_sorted_order(root):
    data = dataset(root)
    assert data.class_names == ("cat", "dog", "eel")
    assert data.splits() == ("train", "test")
    train = data.split("train")
    assert isinstance(train, ImageFiles)
    assert np.bincount(train.labels).tolist() == [8, 4, 3]
    assert train.paths[8] == "dog/0.png"


def test_the_folder_of_each_split_is_walked_once(root, monkeypatch):
    walked = []

    def counted(folder, *rest):
        walked.append(folder.name)
        return class_folders(folder, *rest)

    monkeypatch.setattr(_own_folders, "class_folders", counted)
    data = dataset(root)
    assert data.class_names == ("cat", "dog", "eel")
    data.watched()
    assert len(data.split("train")) == 15
    assert walked == ["train", "test"]


def test_a_size_brings_images_into_memory(root):
    train = dataset(root, size=6).split("train")
    assert train.images.shape == (15, 6, 6, 3)
    cropped = dataset(root, size=6, mode="centre_crop").split("train")
    assert not np.array_equal(train.images, cropped.images)


def test_it_prepares_with_outliers(root, tmp_path):
    noise = str(tmp_path / "noise")
    data = dataset(root, ood=[f"noise={noise}"], aux=noise, size=8)
    prepare(data, "folder", {}, tmp_path / "prepared")
    prepared = open_prepared(tmp_path / "prepared")
    assert prepared.splits() == ("train", "test", "aux", "ood_noise")
    assert prepared.split("ood_noise").labels.tolist() == [-1]
    prepare(dataset(root, ood=[f"noise={noise}"]), "folder", {}, tmp_path / "files")
    assert isinstance(open_prepared(tmp_path / "files").source("ood_noise"), ImageFiles)


def test_the_long_tail_is_a_policy(root):
    train = dataset(root, imbalance="exponential", imbalance_ratio=0.25).split("train")
    assert np.bincount(train.labels).tolist() == [8, 4, 2]


def test_few_shots_are_a_policy(root):
    train = dataset(root, shots=2).split("train")
    assert np.bincount(train.labels).tolist() == [2, 2, 2]
    other = dataset(root, shots=2, shots_seed=3).split("train")
    assert train.paths != other.paths


def test_a_list_of_shots_is_taken(root, tmp_path):
    whole = dataset(root).split("train")
    text = split_table(
        whole.labels, whole.paths, ("cat", "dog", "eel"), whole.ids, shots=(1, 2), seeds=(5,)
    )
    path = tmp_path / "shots.csv"
    path.write_text(text)
    listed = dataset(root, shots_list=str(path), shots=2, shots_seed=5).split("train")
    assert listed.paths == dataset(root, shots=2, shots_seed=5).split("train").paths
    marked = path.with_name("marked.csv")
    # A spreadsheet's mark at the start would else hide the first column, here the seed.
    marked.write_text("seed,path\n4,cat/0.png\n5,dog/0.png\n", encoding="utf-8-sig")
    assert dataset(root, shots_list=str(marked), shots_seed=5).split("train").paths == (
        "dog/0.png",
    )
    both = dataset(root, shots_list=str(path), shots_seed=None).split("train")
    assert set(both.paths) == set(listed.paths)
    assert len(both) == 6
    with pytest.raises(ConfigError, match=r"shots_seed is null, .*shots_list is null too"):
        dataset(root, shots=2, shots_seed=None)
    path.write_text("path\ncat/99.png\n")
    with pytest.raises(DataError, match=r"lists 'cat/99\.png', which is not a training image"):
        dataset(root, shots_list=str(path)).split("train")
    with pytest.raises(DataError, match="cannot be read"):
        dataset(root, shots_list=str(tmp_path / "none.csv")).split("train")


def manifest(root, text):
    (root / "list.csv").write_text(text)
    return dataset(root, manifest="list.csv")


HEAD = "path,label,split\n"
GOOD = HEAD + "train/cat/0.png,tom,train\ntrain/dog/0.png,rex,train\ntest/cat/0.png,tom,test\n"


def test_a_list_names_classes_and_splits(root):
    data = manifest(root, GOOD + "test/cat/1.png,tom,val\n")
    assert data.class_names == ("rex", "tom")
    assert data.splits() == ("train", "val", "test")
    assert data.split("train").labels.tolist() == [1, 0]
    assert data.split("test").paths == ("test/cat/0.png",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEAD, "is empty"),
        (HEAD + "train/cat/0.png,tom,trian\n", "line 2 of .* needs a path, a label and a split"),
        (HEAD + ",tom,train\n", "line 2 of"),
        (GOOD + "test/cat/1.png,sam,test\n", r"the class 'sam', which no training image has"),
        (GOOD + "test/cat/9.png,tom,test\n", r"names 'test/cat/9\.png', but there is no"),
        (GOOD + "test/cat/0.png,tom,test\n", "twice"),
        (GOOD + "./test/cat/0.png,tom,test\n", "twice"),
        (GOOD.replace(",", ":"), "first line of .* lacks the column path; .* 'path:label:split'"),
        (GOOD.replace("label", "kind"), "lacks the column label"),
        ("path,file_name,label\na.png,a.png,x\n", "2 columns for path"),
        (GOOD.replace("train\n", "test\n"), "none, for no image is for training"),
    ],
)
def test_bad_lists_are_refused(root, text, sentence):
    with pytest.raises(DataError, match=sentence):
        manifest(root, text).split("test")


def test_a_list_of_a_spreadsheet_is_read(root):
    data = manifest(root, "\ufeff" + GOOD)
    assert data.split("test").paths == ("test/cat/0.png",)


def test_a_missing_list_is_named(root):
    with pytest.raises(DataError, match=r"none\.csv cannot be read"):
        _ = dataset(root, manifest="none.csv").class_names


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*none"):
        _ = dataset(tmp_path / "none").class_names


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="holds no folders"):
        _ = dataset(tmp_path).class_names


def test_a_class_without_images_is_named(root):
    (root / "train" / "cat" / "x").mkdir()
    for path in (root / "train" / "cat").glob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"train/cat holds no images"):
        dataset(root).split("train")


def test_other_classes_in_the_test_split_are_named(root):
    image(root / "test" / "fox" / "0.png")
    with pytest.raises(DataError, match="'fox'"):
        dataset(root).split("test")
    for name in ("fox", "eel"):
        for path in (root / "test" / name).iterdir():
            path.unlink()
        (root / "test" / name).rmdir()
    found = dataset(root).split("test")
    assert np.unique(found.labels).tolist() == [0, 1]
    assert any("eel" in note for note in found.notes)


def test_folders_that_are_no_splits_are_reported(root):
    image(root / "spare" / "cat" / "0.png")
    assert any("spare" in note for note in dataset(root).split("train").notes)


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev"])
def test_splits_have_several_names(root, name):
    image(root / name / "cat" / "0.png")
    (root / "train").rename(root / "Training")
    (root / "test").rename(root / "testing")
    data = dataset(root)
    assert data.splits() == ("train", "val", "test")
    assert data.class_names == ("cat", "dog", "eel")
    image(root / "vAl" / "cat" / "0.png")
    if name != "vAl":
        with pytest.raises(DataError, match="both mean val"):
            dataset(root).splits()


def test_an_unknown_split_is_refused(root):
    with pytest.raises(DataError, match="has no split 'val'; it has train, test"):
        dataset(root).split("val")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"root": ""}, "root is empty"),
        ({"size": 0}, "size is 0"),
        ({"shots": 0}, "shots is 0"),
        ({"shots": 1, "imbalance": "step"}, "imbalance is 'step' and shots are set too"),
        ({"ood": ["x="]}, "ood holds 'x='"),
    ],
)
def test_bad_settings_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=rf"datasets\.folder\.{sentence}"):
        parse(settings, Config, "datasets.folder")
