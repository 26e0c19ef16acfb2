"""What stands in for data and weights that pages take as given."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ltood.store.exchange import import_folder

CLASSES = ("cat", "dog", "emu")


def draw(rng: np.random.Generator, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Features that are 8 wide and never negative, three classes well apart."""
    return np.maximum(4 * np.eye(3, 8)[labels] + rng.normal(size=(len(labels), 8)), 0)


@pytest.fixture
def features(tmp_path, monkeypatch, rng) -> Path:
    """`features.zarr` in the current folder, which is empty but for it."""
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    np.savez(arrays / "head.npz", weight=4 * np.eye(3, 8), bias=np.zeros(3))
    for name, rows in (("train", 90), ("val", 60), ("test", 60), ("aux", 30), ("ood_far", 60)):
        labels = np.arange(rows) % 3
        known = not name.startswith(("aux", "ood"))
        values = draw(rng, labels) if known else np.abs(rng.normal(size=(rows, 8)))
        np.savez(arrays / f"{name}.npz", features=values, labels=labels)
    monkeypatch.chdir(tmp_path)
    return import_folder(arrays, tmp_path / "features.zarr").path


@pytest.fixture
def photos(tmp_path, monkeypatch, rng) -> Path:
    """`photos/` in the current folder: three classes, three splits and an OOD set."""
    from PIL import Image

    sets = [(f"{split}/{name}", rows) for split, rows in (("train", 10), ("val", 6), ("test", 6))
            for name in CLASSES]  # fmt: skip
    for folder, rows in [*sets, ("ood/noise/any", 6)]:
        (tmp_path / "photos" / folder).mkdir(parents=True)
        name = folder.rpartition("/")[2]
        shade = 60 * CLASSES.index(name) if name in CLASSES else 0
        for row in range(rows):
            pixels = (rng.integers(0, 60, (32, 32, 3)) + shade).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{row}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"
