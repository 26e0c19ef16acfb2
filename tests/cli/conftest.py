"""The command line in this process: as quick as a call, and an exception of ours is a failure."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ltood.cli import main
from ltood.store.exchange import import_folder


@dataclass(frozen=True)
class Ended:
    """What a command printed."""

    stdout: str
    stderr: str


Ltood = Callable[..., Ended]


@pytest.fixture
def ltood(capsys, monkeypatch) -> Ltood:
    """Run a command; what is not 0, 1, 2 or 130 by intent is an exception or a failure."""

    def run(*arguments: object, code: int = 0) -> Ended:
        monkeypatch.setattr(sys, "argv", ["ltood", *map(str, arguments)])
        capsys.readouterr()
        found: object = 0
        try:
            main()
        except SystemExit as ended:
            found = ended.code or 0
        done = Ended(*capsys.readouterr())
        assert found == code, done
        return done

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Archives of three well separated classes and outliers far from all of them."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("arrays")
    means = 4 * np.eye(3, 8, dtype=np.float32)
    weight, bias = means.copy(), np.zeros(3, dtype=np.float32)
    np.savez(path / "head.npz", weight=weight, bias=bias, class_counts=np.array([60, 30, 10]))
    for name, rows in (("train", 100), ("val", 30), ("test", 60)):
        labels = np.arange(rows) % 3
        features = np.abs(means[labels] + rng.normal(size=(rows, 8))).astype(np.float32)
        np.savez(path / f"{name}.npz", features=features, labels=labels)
    for name, rows in (("aux", 40), ("ood_far", 50), ("ood_near", 50)):
        features = np.abs(rng.normal(size=(rows, 8)) * (1 if "near" in name else 0.5))
        np.savez(path / f"{name}.npz", features=features.astype(np.float32))
    return path


@pytest.fixture(scope="session")
def store(folder, tmp_path_factory) -> Path:
    """A feature store of these."""
    return import_folder(folder, tmp_path_factory.mktemp("store") / "features.zarr").path


@pytest.fixture(scope="session")
def scores(store, tmp_path_factory) -> Path:
    """Energy scores of that store."""
    from ltood.core.building import EntrySpec
    from ltood.scoring.run import score_store
    from ltood.store.features import FeatureStore

    path = tmp_path_factory.mktemp("scores") / "scores.zarr"
    score_store(FeatureStore.open(store), path, EntrySpec("energy"), device="cpu")
    return path
