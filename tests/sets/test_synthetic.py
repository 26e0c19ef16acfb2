import hashlib

import numpy as np
import pytest
from scipy.io import savemat

from ltood.core.errors import DataError, StoreError
from ltood.images.archives import read_archive
from ltood.sets import synthetic
from ltood.sets.catalogue import known_sets
from ltood.sets.synthetic import first_of_each, make


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(synthetic, "_NUM_NOISE", 500)
    monkeypatch.setattr(synthetic, "_PER_DIGIT", 2)


def test_every_rule_of_the_catalogue_is_here():
    rules = {entry.made_by for entry in known_sets().values()} - {""}
    assert rules == set(synthetic._RULES)


def test_gaussian_noise_has_the_clipped_distribution(tmp_path, few):
    images = read_archive(make("gaussian", tmp_path / "gaussian"), outliers=True).images
    assert images.shape == (500, 32, 32, 3)
    # A Gaussian of mean 0.5 and deviation 1 lies below 0 with probability 0.3085, as above 1.
    assert (images == 0).mean() == pytest.approx(0.3085 + 0.0008, abs=0.002)
    assert (images == 255).mean() == pytest.approx(0.3085 + 0.0008, abs=0.002)
    assert images.mean() == pytest.approx(127.5, abs=0.5)


def test_uniform_noise_has_every_value_alike(tmp_path, few):
    images = read_archive(make("uniform", tmp_path), outliers=True).images
    shares = np.bincount(images.reshape(-1), minlength=256) / images.size
    assert shares.min() > 0.0035
    assert shares.max() < 0.0043


@pytest.mark.parametrize("rule", ["gaussian", "uniform"])
def test_two_runs_give_equal_bytes(tmp_path, few, rule):
    first, second = (make(rule, tmp_path / name).read_bytes() for name in "ab")
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [f"{rule}.npz"]


def test_an_archive_that_is_there_is_kept(tmp_path):
    (tmp_path / "uniform.npz").write_bytes(b"mine")
    assert make("uniform", tmp_path).read_bytes() == b"mine"


def test_the_first_rows_of_each_label_are_kept_in_file_order():
    labels = np.array([2, 1, 2, 2, 1, 1, 2])
    assert first_of_each(labels, 2).tolist() == [0, 1, 2, 4]
    with pytest.raises(DataError, match=r"label 1 has 3 images, 4 are needed"):
        first_of_each(labels, 4)


def test_svhn_is_cut_from_the_set_beside_it(tmp_path, few):
    (tmp_path / "svhn").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 40), np.uint8)
    digits = np.arange(40).reshape(-1, 1) % 10 + 1
    savemat(tmp_path / "svhn" / "test_32x32.mat", {"X": images, "y": digits})
    found = read_archive(make("svhn_10k", tmp_path / "svhn_10k"), outliers=True).images
    np.testing.assert_array_equal(found, images.transpose(3, 0, 1, 2)[:20])


def test_svhn_must_be_there_and_whole(tmp_path):
    with pytest.raises(DataError, match=r"there is no .*test_32x32\.mat; run `ltood data download"):
        make("svhn_10k", tmp_path / "svhn_10k")
    (tmp_path / "svhn").mkdir()
    (tmp_path / "svhn" / "test_32x32.mat").write_bytes(b"something else" * 20)
    with pytest.raises(
        DataError, match=r"is not an SVHN file of cropped digits .* data verify svhn"
    ):
        make("svhn_10k", tmp_path / "svhn_10k")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, few):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*uniform\.npz: Not a directory"):
        make("uniform", tmp_path / "file" / "folder")
