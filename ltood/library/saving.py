"""Features of any origin to a feature store."""

import hashlib
from pathlib import Path

import numpy as np

from ltood.core.errors import StoreError
from ltood.library.columns import Column
from ltood.library.features import Features
from ltood.library.opening import open_features
from ltood.runtime.console import progress
from ltood.runtime.files import remove_folder, replace_folder
from ltood.store.features import FeatureWriter
from ltood.store.layout import ArraySpec, SplitSpec, StoreSpec

_KEPT = ("features", "logits", "labels", "ids", "local")


def save_features(features: Features, store: Path) -> Features:
    """Write a feature store, in one rename; see `Features.save`."""
    if store.exists():
        raise StoreError(f"{store} exists already; choose another path or remove it first.")
    bare = {name: features.bare(name).columns for name in features}
    columns = {name: {key: of[key] for key in _KEPT if key in of} for name, of in bare.items()}
    spec = StoreSpec(
        {
            name: SplitSpec(
                len(features[name]), {key: _spec_of(key, column) for key, column in of.items()}
            )
            for name, of in columns.items()
        }
    )
    provenance = {
        "source": "arrays",
        "sha256": {
            f"{name}/{key}": _digest(column)
            for name, of in columns.items()
            for key, column in of.items()
        },
    }
    place = store.with_name(f".{store.name}.saving")
    remove_folder(place)
    writer = FeatureWriter.create(
        place, spec, provenance, features.head_arrays, features.class_names, features.prior.counts
    )
    for name, of in columns.items():
        with progress(f"save {name}", len(features[name])) as advance:
            for start, stop in writer.missing(name):
                rows = {
                    key: column.read(start, stop).astype(spec.splits[name].arrays[key].dtype)
                    for key, column in of.items()
                }
                writer.write(name, start, rows)
                advance(stop - start)
    writer.finish()
    replace_folder(place, store, overwrite=False)
    return open_features(store)


def _spec_of(key: str, column: Column) -> ArraySpec:
    whole = key in ("labels", "ids")
    half = column.dtype == np.float16
    return ArraySpec("int64" if whole else "float16" if half else "float32", column.shape[1:])


def _digest(column: Column) -> str:
    running = hashlib.sha256()
    for block in column.blocks():
        running.update(np.ascontiguousarray(block).data)
    return running.hexdigest()
