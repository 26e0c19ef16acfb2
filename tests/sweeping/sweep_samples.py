"""A small store to sweep on."""

import numpy as np

from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore

GRID = {"percentile": [0, 50, 90], "clip": [1.0, None], "scorer": ["energy", "msp"]}


def save(folder, name, rng, rows, *, scale=1.0, **more):
    labels = np.arange(rows) % 3
    features = np.abs(4 * scale * np.eye(3, 8)[labels] + rng.normal(size=(rows, 8)))
    if name in ("train", "val", "test"):
        more["labels"] = labels
    np.savez(folder / f"{name}.npz", features=features.astype(np.float32), **more)


def make_store(folder, *, leave_out=(), **more) -> FeatureStore:
    """Three classes; outliers lie between them and grow weaker from set to set."""
    rng = np.random.default_rng(4)
    arrays = folder / "in"
    arrays.mkdir()
    weight = 4 * np.eye(3, 8) + 0.3 * rng.normal(size=(3, 8))
    np.savez(arrays / "head.npz", weight=weight, bias=np.zeros(3), class_counts=[60, 30, 10])
    for name, rows, scale in (
        ("train", 90, 1),
        ("val", 50, 1),
        ("test", 50, 1),
        ("aux", 40, 0.5),
        ("ood_far", 30, 0.1),
        ("ood_near", 30, 0.6),
    ):
        if name not in leave_out:
            save(arrays, name, rng, rows, scale=scale, **more.get(name, {}))
    return import_folder(arrays, folder / "features.zarr")
