"""The feature store as the scoring stages see it."""

from typing import TYPE_CHECKING

from ltood.pipeline._shell import FEATURES, HEAD

if TYPE_CHECKING:
    from ltood.store.features import FeatureStore


def features() -> "FeatureStore":
    """The feature store, with the head of the adapt stage where it made one.

    Raises:
        StoreError: If head or store is missing, unreadable or they do not fit together.
    """
    from ltood.store.adapted import with_adapted_head
    from ltood.store.features import FeatureStore

    return with_adapted_head(FeatureStore.open(FEATURES), HEAD)
