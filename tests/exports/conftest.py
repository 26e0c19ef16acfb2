"""Score stores and features of the toy data, and prepared images of the same rows."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from ltood.core.building import EntrySpec
from ltood.images import prepared
from ltood.scoring.run import score_store
from ltood.store.exchange import import_folder
from ltood.store.features import FeatureStore
from tests.deployment.detector_samples import write_folder


@pytest.fixture(scope="package")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    write_folder(folder)
    return import_folder(folder, tmp_path_factory.mktemp("store") / "features.zarr").path


@pytest.fixture(scope="package")
def scores(features, tmp_path_factory):
    """Score stores by name."""
    made = {}
    for name in ("energy", "msp"):
        path = tmp_path_factory.mktemp("scores") / f"{name}.zarr"
        score_store(FeatureStore.open(features), path, EntrySpec(name), device="cpu")
        made[name] = path
    return made


@pytest.fixture(scope="package")
def images(features, tmp_path_factory):
    """Prepared images of the rows: test in files, in another order, the others as arrays."""
    store, rng = FeatureStore.open(features), np.random.default_rng(0)
    path = tmp_path_factory.mktemp("prepared")
    root = tmp_path_factory.mktemp("photos")
    splits = {}
    for name in store.splits:
        loaded = store.split(name).load(["ids", "labels"])
        order = rng.permutation(len(loaded["ids"]))
        columns = {"labels": loaded["labels"][order], "ids": loaded["ids"][order]}
        if name == "test":
            files = [f"class{label}/{i}.png" for label, i in zip(*columns.values(), strict=True)]
            columns["digests"] = np.stack([_photo(root / file) for file in files])
            entry = {"rows": len(files), "root": str(root)}
        else:
            columns["images"] = rng.integers(0, 256, (len(order), 4, 4, 3), np.uint8)
            entry = {"rows": len(order), "shape": [4, 4, 3]}
        (path / name).mkdir()
        for key, values in columns.items():
            np.save(path / name / f"{key}.npy", values)
            entry[f"{key}_sha256"] = prepared.array_sha256(values)
        if name == "test":
            (path / name / "paths.txt").write_text("".join(f"{file}\n" for file in files))
            entry["paths_sha256"] = prepared.paths_sha256(files)
        splits[name] = {**entry, "content": prepared.content_digest(entry)}
    manifest = {
        "dataset": "toy",
        "settings": {},
        "class_names": store.class_names,
        "class_counts": store.prior().counts.tolist(),
        "splits": splits,
    }
    manifest["sha256"] = prepared.manifest_digest(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "training.json").write_text(json.dumps(prepared.training_inputs(manifest)))
    return path


def _photo(path):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)
    digest = hashlib.sha256(path.read_bytes()).digest()
    return np.frombuffer(digest, np.uint8)
