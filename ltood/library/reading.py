"""Adapter of `ltood.open_features` results for fitting and comparing."""

from pathlib import Path
from typing import Any, cast

from ltood.core.head import ClassifierHead
from ltood.core.prior import ClassPrior
from ltood.library.features import Features
from ltood.library.opening import open_features
from ltood.store.features import FeatureStore
from ltood.store.memory import Given, MemoryStore
from ltood.store.reading import StoreReader


def is_features(given: object) -> bool:
    """Whether something holds features of several splits rather than being an array."""
    return isinstance(given, Features | str | Path) or hasattr(given, "split_spec")


def reader_of(features: Features | StoreReader | str | Path) -> StoreReader:
    """Opened features, a feature store, or a folder of either, as one reads a store.

    Raises:
        StoreError: If the store is gone.
        DataError: If features in memory break a rule.
    """
    if isinstance(features, str | Path):
        features = open_features(features)
    if not isinstance(features, Features):
        return features
    if features.path is not None:
        return FeatureStore.open(features.path)
    # Without a head, logits are those that were given, if any.
    keys = ("features", "labels", "local", *(() if features.head_arrays else ("logits",)))
    splits = {
        name: Given(*(cast(Any, split.columns.get(key)) for key in keys))
        for name, split in features.items()
    }
    head = ClassifierHead.from_arrays(features.head_arrays) if features.head_arrays else None
    prior: ClassPrior = features.prior
    return MemoryStore(splits, head, prior, features.class_names)
