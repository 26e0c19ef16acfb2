"""One service of images for all tests that do not change it."""

import pytest

from ltood.deployment.images import Embedder
from tests.deployment.detector_samples import make_image_samples
from tests.serving.clients import serving


@pytest.fixture(scope="package")
def samples(tmp_path_factory):
    return make_image_samples(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="package")
def embedder(samples):
    return Embedder.open(samples.checkpoint, samples.detector)


@pytest.fixture(scope="package")
def service(samples, embedder):
    with serving(samples.detector, embedder) as found:
        yield found


@pytest.fixture(scope="package")
def rows(samples, embedder):
    """Features of the images, as the network gives them."""
    return embedder.features(samples.images)[0].numpy()
