"""Detectors of the toy data and of a few images; nobody changes what is shared."""

import dataclasses

import numpy as np
import pytest

from ltood.core.building import EntrySpec
from ltood.deployment.exporting import fit_detector
from ltood.deployment.files import save_detector
from ltood.store.exchange import import_folder
from tests.deployment.detector_samples import ImageSamples, make_image_samples, write_folder


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays")
    write_folder(path)
    return path


@pytest.fixture(scope="package")
def store(folder, tmp_path_factory):
    return import_folder(folder, tmp_path_factory.mktemp("store") / "features.zarr")


@pytest.fixture(scope="package")
def detector(store):
    return fit_detector(store, EntrySpec("energy"), tpr=0.9, device="cpu")


@pytest.fixture
def saved(detector, tmp_path):
    save_detector(tmp_path / "d.safetensors", detector)
    return tmp_path / "d.safetensors"


@pytest.fixture
def rows(folder):
    with np.load(folder / "test.npz") as archive:
        return archive["features"]


@pytest.fixture
def local_detector(detector, monkeypatch):
    """A detector whose method reads local features."""

    class Reader(type(detector.method)):
        arrays = ("local",)

        def _score(self, batch):
            return batch.local.mean(dim=(1, 2))

    return dataclasses.replace(detector, method=Reader())


@pytest.fixture(scope="package")
def samples(tmp_path_factory) -> ImageSamples:
    return make_image_samples(tmp_path_factory.mktemp("images"))
