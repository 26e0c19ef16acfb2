"""A feature store whose features are another pooling of the last feature map, for every method.

Source: "DAVIS: Out-of-distribution Detection via Dominant Activation and Variance for Increased
Separation", 2025; code https://github.com/epsilon-2007/DAVIS. The head is the one that was trained
on means; logits are those it gives for the new features. As in that code, the deviation is over
places, divided by their number less one. Whatever a method learns, it learns from the new
features; that code takes the mean features for DICE, whatever is tested.

Formula:
    f = max_p m_p for max; f = mean_p m_p + gamma std_p m_p for mean_std, m_p the map at place p
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import StoreError
from ltood.core.extras import missing_extra
from ltood.core.limits import NonNegative
from ltood.core.settings import Settings
from ltood.runtime.console import progress
from ltood.store.features import FeatureSplit, FeatureStore, FeatureWriter
from ltood.store.layout import StoreSpec, digest, part_name
from ltood.store.rows import StoredRows

#: Group of extra arrays that other poolings are made of.
GROUP = "pooling"
_KEPT = ("features", "labels", "ids")


@dataclass(frozen=True)
class PoolingConfig(Settings):
    """How the last feature map becomes features.

    Attributes:
        kind: "average" leaves the features as they were extracted; "max" takes the maximum,
            "mean_std" adds `gamma` standard deviations to the mean.
        gamma: Weight of the deviation.
    """

    section: ClassVar[str] = "pooling"

    kind: Literal["average", "max", "mean_std"] = "average"
    gamma: NonNegative = 0.5

    def describe(self) -> dict[str, Any]:
        """Settings that have an effect."""
        return {"kind": self.kind, **({"gamma": self.gamma} if self.kind == "mean_std" else {})}


class PooledRows(StoredRows):
    """Rows of one split with other features."""

    def __init__(self, rows: StoredRows, part: StoredRows, config: PoolingConfig) -> None:
        """Show rows.

        Args:
            rows: Rows of the split.
            part: Their maximum and deviation.
            config: Which pooling.
        """
        arrays = {key: rows.array_spec(key) for key in _KEPT}
        self.name, self.spec = rows.name, replace(rows.spec, arrays=arrays)
        self._own, self._part, self._config = rows, part, config

    def read(self, array: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) of one array, read-only.

        Raises:
            StoreError: If the split has no such array or no such rows.
            CorruptStoreError: If a chunk is missing, truncated or changed.
        """
        self.array_spec(array)
        if array != "features":
            return self._own.read(array, start, stop)
        if self._config.kind == "max":
            return self._part.read("max", start, stop)
        mean = self._own.read("features", start, stop).astype(np.float32)
        spread = self._part.read("std", start, stop).astype(np.float32)
        features = (mean + np.float32(self._config.gamma) * spread).astype(
            self.spec.arrays["features"].dtype
        )
        features.flags.writeable = False
        return features

    def array_spec(self, array: str) -> Any:  # noqa: ANN401 - as the base, without its files
        """Specification of one array.

        Raises:
            StoreError: If the split has no such array.
        """
        if array not in self.spec.arrays:
            raise StoreError(
                f"split {self.name} has no array {array!r} with another pooling; it has "
                f"{', '.join(sorted(self.spec.arrays))}."
            )
        return self.spec.arrays[array]


class PooledStore(FeatureStore):
    """A feature store seen through another pooling; without logits and local features of its own.

    Logits follow from the new features and the head.
    """

    def __init__(self, store: FeatureStore, config: PoolingConfig) -> None:
        """See `store` through a pooling other than the average.

        Raises:
            MissingNeedError: If a split lacks the extra arrays of the group pooling.
        """
        for name in store.image_splits:
            if GROUP not in store.groups(name):
                what = f"pooling.kind {config.kind} (split {name})"
                raise missing_extra(what, f"{GROUP}/max")
        splits = {}
        for name in store.image_splits:
            entry = store.attributes["splits"][name]
            splits[name] = {**entry, "arrays": {key: entry["arrays"][key] for key in _KEPT}}
        described = config.describe()
        attributes = {
            **store.attributes,
            "splits": splits,
            "fingerprint": digest({"store": store.fingerprint, "pooling": described}),
            "provenance": {**store.provenance, "pooling": {**described, "of": store.fingerprint}},
        }
        super().__init__(store.disk, attributes)
        self._store, self._config = store, config

    def rows(self, name: str) -> StoredRows:
        """Rows of one split, with the pooled features."""
        part = self._store.rows(part_name(name, GROUP))
        return PooledRows(self._store.rows(name), part, self._config)

    def split(self, name: str) -> FeatureSplit:
        """Open one split; its logits come from the head, if there is one.

        Raises:
            StoreError: If there is no such split.
            IncompleteStoreError: If it has unwritten rows.
        """
        if name not in self._splits:
            self.split_spec(name)
            layer = self._layer if self.attributes["head"] else None
            self._splits[name] = FeatureSplit(self.rows(name), layer)
        return self._splits[name]

    def head_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the head by name, an adapted one where the store has one."""
        return self._store.head_arrays()

    @property
    def _layer(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._store._layer


def with_pooling(store: FeatureStore, config: PoolingConfig) -> FeatureStore:
    """The store with the pooling that is set; itself for the average.

    Raises:
        MissingNeedError: If it lacks the extra arrays of the group pooling.
    """
    return store if config.kind == "average" else PooledStore(store, config)


def write_pooled(store: FeatureStore, config: PoolingConfig, out: Path) -> FeatureStore:
    """Write a store whose features are another pooling, for all that reads stores.

    A killed run is continued by the same call.

    Args:
        store: Store with the extra arrays of the group pooling.
        config: A pooling other than the average.
        out: Store to write.

    Raises:
        MissingNeedError: If it lacks these arrays.
        StoreError: If `out` was made from something else or cannot be written.
    """
    seen = PooledStore(store, config)
    spec = StoreSpec(
        {name: replace(seen.split_spec(name)[0], fingerprint=None) for name in seen.splits}
    )
    given: tuple[Any, ...] = (
        spec,
        seen.provenance,
        seen.head_arrays(),
        seen.class_names,
        seen.prior().counts,
    )
    writer = (FeatureWriter.resume if out.exists() else FeatureWriter.create)(out, *given)
    for name in seen.splits:
        rows, missing = seen.rows(name), writer.missing(name)
        with progress(f"pool {name}", sum(stop - start for start, stop in missing)) as advance:
            for start, stop in missing:
                writer.write(name, start, {key: rows.read(key, start, stop) for key in _KEPT})
                advance(stop - start)
    writer.finish()
    return FeatureStore.open(out)
