"""The feature store as the scoring stages see it."""

from pathlib import Path
from typing import TYPE_CHECKING

from ltood.pipeline._shell import FEATURES, HEAD, Params

if TYPE_CHECKING:
    from ltood.store.features import FeatureStore


def features(params: Params | None = None, head: Path = HEAD) -> "FeatureStore":
    """The feature store, with the head of the adapt stage where it made one.

    Args:
        params: Say which pooling of the last feature map to see; None for that of extraction.
        head: The head that is seen in the place of the store's own, where that folder holds one.

    Raises:
        ConfigError: If the section `pooling` is wrong.
        MissingNeedError: If the store lacks what another pooling is made of.
        StoreError: If head or store is missing, unreadable or they do not fit together.
    """
    from ltood.store.adapted import with_adapted_head
    from ltood.store.features import FeatureStore
    from ltood.store.pooled import PoolingConfig, with_pooling

    store = with_adapted_head(FeatureStore.open(FEATURES), head)
    return (
        store if params is None else with_pooling(store, params.section("pooling", PoolingConfig))
    )
