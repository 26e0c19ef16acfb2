"""A small store to compare methods on, and a method that fails."""

import numpy as np

from ltood.methods import energy
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureSplit, FeatureStore

SETTINGS = {"methods": {"knn": {"k": 3}}, "normalisers": {"imood": {"scale": 0.5}}}


def make_store(
    path, *, splits=("train", "test", "aux", "ood_far", "ood_near"), local=False
) -> FeatureStore:
    rng = np.random.default_rng(3)
    folder = path / "in"
    folder.mkdir()
    weight, bias = rng.normal(size=(4, 6)), rng.normal(size=4)
    counts = np.array([40, 20, 12, 8])
    np.savez(folder / "head.npz", weight=weight, bias=bias, class_counts=counts)
    labels = {
        "train": np.repeat(np.arange(4), counts),
        "val": np.arange(20) % 4,
        "test": np.arange(30) % 4,
        "aux": np.full(15, -1),
        "ood_far": np.full(25, -1),
        # Two rows show ID classes, as in semantically coherent sets.
        "ood_near": np.array([-1] * 20 + [0, 3]),
    }
    for name in splits:
        centre = 1.5 * np.eye(5, 6)[labels[name]]
        features = np.abs(centre + rng.normal(size=(len(labels[name]), 6)))
        key = "sc_label" if name.startswith("ood") else "labels"
        given = {} if name == "aux" else {key: labels[name]}
        if local:
            given["local"] = features[:, None] * rng.uniform(size=(1, 3, 6))
        np.savez(folder / f"{name}.npz", features=features, **given)
    return import_folder(folder, path / "features.zarr")


def by_title(board):
    return {row["title"]: row for row in board["rows"]}


def count_reads(monkeypatch):
    read = []
    batches = FeatureSplit.batches

    def counted(self, *arguments, **options):
        read.append(self.name)
        return batches(self, *arguments, **options)

    monkeypatch.setattr(FeatureSplit, "batches", counted)
    return read


def fails_to_fit(monkeypatch):
    def fit(self, inputs):
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(energy.Entry, "_fit", fit)
    return "RuntimeError: no luck"
