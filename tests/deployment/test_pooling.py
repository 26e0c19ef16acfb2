"""A detector that was fitted on another pooling sees pictures through that pooling too."""

import numpy as np
import pytest
import torch
from image_samples import TinyImages, extract_tiny, make_plan, train_tiny

from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError
from ltood.deployment.exporting import fit_detector
from ltood.deployment.images import Embedder
from ltood.deployment.onnx_graph import Judge
from ltood.deployment.pooling import recorded_pooling
from ltood.images.arrays import ImageSplit
from ltood.store.features import FeatureStore
from ltood.store.pooled import PoolingConfig, with_pooling


class LargerImages(TinyImages):
    """Twice as wide and high, so that the last map has several places."""

    def __post_init__(self):
        super().__post_init__()
        for name, split in self._splits.items():
            images = split.images.repeat(2, axis=1).repeat(2, axis=2)
            self._splits[name] = ImageSplit(images, split.labels, split.ids)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    train_tiny(out, make_plan(epochs=1), LargerImages())
    return out


@pytest.fixture(scope="module", params=["float32", "float16"])
def extracted(request, checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("extracted") / "features.zarr"
    extract_tiny(checkpoint, out, {"extras": ["pooling"], "dtype": request.param}, LargerImages())
    return FeatureStore.open(out)


@pytest.mark.parametrize(
    "pooling",
    [PoolingConfig(), PoolingConfig("max"), PoolingConfig("mean_std", 0.7)],
    ids=lambda pooling: pooling.kind,
)
def test_pictures_get_the_features_that_were_stored(checkpoint, extracted, pooling):
    store = with_pooling(extracted, pooling)
    detector = fit_detector(store, EntrySpec("energy"), device="cpu")
    embedder = Embedder.open(checkpoint, detector)
    images = LargerImages().split("test").images
    stored = store.split("test").load(["features"])["features"].astype(np.float32)
    found, _ = embedder.features(images)
    np.testing.assert_allclose(found.numpy(), stored, rtol=1e-5, atol=1e-6)
    if pooling.kind != "average":
        means = extracted.split("test").load(["features"])["features"]
        assert np.abs(stored - means).max() > 0.01
    judge = Judge(embedder.backbone, embedder.dtype, detector).eval()
    with torch.inference_mode():
        graph = judge(torch.from_numpy(images.copy()))[0]
    np.testing.assert_allclose(graph.numpy(), stored, rtol=1e-5, atol=1e-6)


def test_an_unknown_pooling_is_refused():
    assert recorded_pooling({}) == PoolingConfig()
    with pytest.raises(ConfigError, match="kind"):
        recorded_pooling({"pooling": {"kind": "median", "of": "0"}})
