"""Stores and a detector of the toy data, and a store of features in many parts."""

import pytest

from ltood.core.building import EntrySpec
from ltood.deployment.exporting import fit_detector
from ltood.deployment.files import save_detector
from ltood.deployment.packing import network_of
from ltood.scoring.run import score_store
from ltood.sharing.card import Remarks
from ltood.sharing.places import Folder
from ltood.sharing.pushing import push
from ltood.sharing.subjects import open_subject
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from tests.deployment.detector_samples import make_image_samples, write_folder

#: So small that a store of toy data takes several.
PART = 100_000


@pytest.fixture(scope="package")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    write_folder(folder)
    return import_folder(folder, tmp_path_factory.mktemp("store") / "f.zarr").path


@pytest.fixture(scope="package")
def scores(features, tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "energy.zarr"
    score_store(FeatureStore.open(features), path, EntrySpec("energy"), device="cpu")
    return path


@pytest.fixture(scope="package")
def other_scores(features, tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "msp.zarr"
    score_store(FeatureStore.open(features), path, EntrySpec("msp"), device="cpu")
    return path


@pytest.fixture(scope="package")
def detector(features, tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "mine.safetensors"
    found = fit_detector(FeatureStore.open(features), EntrySpec("energy"), tpr=0.9, device="cpu")
    save_detector(path, found)
    return path


@pytest.fixture(scope="package")
def detector_with_network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("with network")
    samples = make_image_samples(folder / "samples")
    network = network_of(samples.detector, samples.checkpoint)
    save_detector(folder / "mine.safetensors", samples.detector, network=network)
    return folder / "mine.safetensors"


@pytest.fixture(scope="package")
def subject(features):
    return open_subject(features)


@pytest.fixture
def there(subject, tmp_path):
    push(subject, Folder(tmp_path / "there"), Remarks(), part_bytes=PART)
    return tmp_path / "there"
