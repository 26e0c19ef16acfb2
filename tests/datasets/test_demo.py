import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ltood.core.errors import ConfigError, DataError
from ltood.core.settings import parse
from ltood.datasets.demo import SPLITS, Config, Dataset

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"


@pytest.fixture(scope="module")
def whole():
    """Every split with the training images left whole."""
    dataset = Dataset(Config(root=str(DEMO), imbalance="none"))
    return {name: dataset.split(name) for name in dataset.splits()}


def small_folder(folder, **changes):
    """A folder with one small valid test split, whose arrays may be changed."""
    arrays = {
        "images": np.zeros((4, 32, 32, 1), np.uint8),
        "labels": np.arange(4),
        "ids": np.arange(4),
    } | changes
    arrays = {key: value for key, value in arrays.items() if value is not None}
    np.savez_compressed(folder / "test.npz", **arrays)
    record(folder)
    return Dataset(Config(root=str(folder)))


def record(folder):
    digest = hashlib.sha256((folder / "test.npz").read_bytes()).hexdigest()
    (folder / "checksums.json").write_text(json.dumps({"test.npz": digest}))


def test_the_splits_hold_what_the_readme_says(whole):
    rows = {name: len(split) for name, split in whole.items()}
    assert rows == {
        "train": 8000,
        "val": 800,
        "test": 3200,
        "aux": 1326,
        "ood_clothing": 800,
        "ood_mnist": 1000,
        "ood_photographs": 800,
        "ood_textures": 750,
        "val_ood_pictures": 480,
    }
    for name, per_class in (("train", 1000), ("val", 100), ("test", 400)):
        assert np.bincount(whole[name].labels).tolist() == [per_class] * 8
    for name in SPLITS[3:]:
        assert set(whole[name].labels.tolist()) == {-1}


def test_every_image_has_the_same_black_frame_and_some_content(whole):
    for split in whole.values():
        assert split.images.shape[1:] == (32, 32, 1)
        frame = split.images.copy()
        frame[:, 2:-2, 2:-2] = 0
        assert not frame.any()
        assert split.images.reshape(len(split), -1).std(axis=1).min() > 10


def test_no_image_occurs_twice_within_the_id_rows_or_across_them(whole):
    for names, rows in ((("train", "val"), 60_000), (("test", "ood_clothing"), 10_000)):
        ids = np.concatenate([whole[name].ids for name in names])
        assert len(set(ids.tolist())) == len(ids)
        assert 0 <= ids.min() < ids.max() < rows


def test_everything_stands_in_the_frame_as_the_garments_do(whole):
    """Longer side 28 pixels, in the middle, black corners: no set is told apart by these."""
    for name, split in whole.items():
        if name.startswith(("ood", "aux")):
            shown = split.images[:, 2:-2, 2:-2, 0] > 0
            height, width = (shown.any(axis=axis).sum(axis=1) for axis in (2, 1))
            assert np.mean(np.maximum(height, width) >= 27) > 0.95, name
            corners = split.images[:, 2:5:, 2:5, 0].max(axis=(1, 2))
            assert np.median(corners) == 0, name


def test_no_auxiliary_outlier_is_in_an_ood_test_set(whole):
    def rows(name):
        return {image.tobytes() for image in whole[name].images}

    for name in SPLITS[4:]:
        assert not rows("aux") & rows(name)


def test_the_training_split_is_long_tailed_in_file_order(whole):
    train = Dataset(Config(root=str(DEMO))).split("train")
    assert np.bincount(train.labels).tolist() == [1000, 651, 424, 276, 180, 117, 76, 50]
    for label, count in ((0, 1000), (7, 50)):
        expected = whole["train"].ids[whole["train"].labels == label][:count]
        np.testing.assert_array_equal(train.ids[train.labels == label], expected)
    test = Dataset(Config(root=str(DEMO))).split("test")
    np.testing.assert_array_equal(test.images, whole["test"].images)


def test_the_step_profile_is_a_setting():
    config = Config(root=str(DEMO), imbalance="step", imbalance_ratio=0.1)
    train = Dataset(config).split("train")
    assert np.bincount(train.labels).tolist() == [1000] * 4 + [100] * 4


def test_a_ratio_that_empties_a_class_is_refused():
    with pytest.raises(ConfigError, match=r"leaves class 7 \(.+\) without images"):
        Dataset(Config(root=str(DEMO), imbalance_ratio=0.0005)).split("train")


@pytest.mark.parametrize("ratio", [0, -1, 1.01])
def test_a_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(ConfigError, match=r"datasets\.demo\.imbalance_ratio is "):
        parse({"imbalance_ratio": ratio}, Config, "datasets.demo")


def test_other_bad_settings_are_refused():
    with pytest.raises(ConfigError, match=r"imbalance is 'linear'"):
        Config(imbalance="linear")
    with pytest.raises(ConfigError, match=r"datasets\.demo\.root is empty"):
        Config(root="")


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="demo has no split 'ood_cifar'; it has train, val"):
        Dataset(Config()).split("ood_cifar")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"not at .*nowhere; run from the repository root"):
        Dataset(Config(root=str(tmp_path / "nowhere"))).split("test")


def test_a_missing_file_is_refused(tmp_path):
    dataset = small_folder(tmp_path)
    assert len(dataset.split("test")) == 4
    (tmp_path / "test.npz").unlink()
    with pytest.raises(DataError, match=r"cannot read .*test\.npz: No such file.* make_demo\.py"):
        dataset.split("test")


def test_a_changed_byte_is_refused_with_the_file_name(tmp_path):
    dataset = small_folder(tmp_path)
    content = bytearray((tmp_path / "test.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "test.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"test\.npz has SHA-256 .* is recorded: .*cut short"):
        dataset.split("test")


@pytest.mark.parametrize("content", ["{}", "[1]", "not json", "3"])
def test_checksums_without_the_file_are_refused(tmp_path, content):
    dataset = small_folder(tmp_path)
    (tmp_path / "checksums.json").write_text(content)
    with pytest.raises(DataError, match=r"checksums\.json holds no checksum of test\.npz"):
        dataset.split("test")


@pytest.mark.parametrize("length", [0, 10, 300, -30])
def test_a_truncated_archive_is_refused_even_if_recorded(tmp_path, length):
    dataset = small_folder(tmp_path)
    content = (tmp_path / "test.npz").read_bytes()
    (tmp_path / "test.npz").write_bytes(content[:length])
    record(tmp_path)
    with pytest.raises(DataError, match=r"test\.npz is not an archive of images, labels and ids"):
        dataset.split("test")


def test_an_archive_without_labels_is_refused(tmp_path):
    dataset = small_folder(tmp_path, labels=None)
    with pytest.raises(DataError, match=r"not an archive of images, labels and ids \(.*labels"):
        dataset.split("test")


def test_pickled_objects_are_refused(tmp_path):
    dataset = small_folder(tmp_path, labels=np.array([object()] * 4))
    with pytest.raises(DataError, match=r"not an archive of images.*allow_pickle=False"):
        dataset.split("test")


def test_wrong_types_are_refused(tmp_path):
    dataset = small_folder(tmp_path, images=np.zeros((4, 32, 32, 1)))
    with pytest.raises(DataError, match="images are float64; they must be uint8"):
        dataset.split("test")


def test_recorded_checksums_and_licences_cover_all_files():
    recorded = json.loads((DEMO / "checksums.json").read_text())
    files = {path.name: path.stat().st_size for path in DEMO.glob("*.npz")}
    assert recorded.keys() == files.keys() == {f"{name}.npz" for name in SPLITS}
    assert sum(files.values()) < 8e6
    assert max(files.values()) < 4e6
    readme = (DEMO / "README.md").read_text(encoding="utf-8")
    images = [line for line in (DEMO / "make_demo.py").read_text().split('"') if line[-4:-3] == "."]
    listed = [name for name in images if name[-4:] in (".png", ".jpg")]
    assert len(listed) == 12
    assert all(f"`{name}`" in readme for name in listed)


def test_without_a_root_the_images_are_those_that_come_with_ltood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = Dataset(parse({"root": None}, Config, "datasets.demo")).split("val").images
    np.testing.assert_array_equal(images, Dataset(Config(root=str(DEMO))).split("val").images)
    with pytest.raises(DataError, match=r"datasets\.demo\.root"):
        Dataset(Config()).split("val")


def test_the_demo_needs_no_torch():
    code = (
        "import sys, ltood.preparing.prepare\n"
        "from ltood.datasets.demo import Config, Dataset\n"
        f"Dataset(Config(root={str(DEMO)!r})).split('ood_textures')\n"
        "print([name for name in ('torch', 'zarr', 'PIL', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
