"""A small feature store of random features, for tests that score one."""

from pathlib import Path

import numpy as np

from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore


def random_store(folder: Path, *, val: int = 0) -> FeatureStore:
    """Four classes of six features: 80 rows to train, `val` to validate, 20 to test, 15 without."""
    rng = np.random.default_rng(3)
    (folder / "in").mkdir()
    np.savez(folder / "in" / "head.npz", weight=rng.normal(size=(4, 6)), bias=rng.normal(size=4))
    for name, rows in (("train", 80), ("val", val), ("test", 20)):
        if rows:
            features = np.abs(rng.normal(size=(rows, 6)))
            labels = np.arange(rows) % 4
            np.savez(folder / "in" / f"{name}.npz", features=features, labels=labels)
    for name in ("aux", "ood_far"):
        np.savez(folder / "in" / f"{name}.npz", features=np.abs(rng.normal(size=(15, 6))))
    return import_folder(folder / "in", folder / "features.zarr")
