"""Images that come one by one have the features that extraction stored for them, to the bit."""

import numpy as np
import pytest
from image_samples import TinyImages, extract_tiny, make_plan, train_tiny

from ltood.core.building import EntrySpec
from ltood.deployment.exporting import fit_detector
from ltood.deployment.images import Embedder
from ltood.store.features import FeatureStore


def images():
    return TinyImages(channels=3, splits_held=("train", "val", "test"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    train_tiny(out, make_plan(epochs=1), images())
    return out


@pytest.mark.parametrize(
    "settings",
    [
        {"channels_last": True},
        {"channels_last": None},
        {"channels_last": True, "amp": "bf16"},
        {"channels_last": True, "fold_batch_norm": True},
    ],
    ids=str,
)
def test_layout_and_precision_are_those_of_extraction(checkpoint, settings, tmp_path):
    settings = {"batch_size": 6, **settings}
    extract_tiny(checkpoint, tmp_path / "features.zarr", settings, images())
    store = FeatureStore.open(tmp_path / "features.zarr")
    detector = fit_detector(store, EntrySpec("energy"), device="cpu")
    embedder = Embedder.open(checkpoint, detector)
    found, _ = embedder.features(np.array(images().split("test").images[:6]))
    (stored,) = store.split("test").load(["features"]).values()
    np.testing.assert_array_equal(found.numpy(), stored[:6])
