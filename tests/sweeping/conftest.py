import pytest

from ltood.store.features import FeatureStore
from tests.sweeping.sweep_samples import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("sweep"))
