"""docs/sharing.md and docs/export.md: every block that a reader can type in, on a small store."""

import json

from ltood.store.features import FeatureStore
from tests.pages.running import run_page
from tests.store.store_samples import tree


def test_the_page_on_sharing(features, monkeypatch):
    run_page("sharing.md", monkeypatch)
    folder = features.parent
    assert tree(folder / "copy.zarr") == tree(features)
    fingerprint = FeatureStore.open(features).fingerprint
    assert fingerprint in (folder / "shared/cifar10-lt/README.md").read_text()


def test_the_page_on_exports(features, monkeypatch):
    names = run_page("export.md", monkeypatch)
    assert (names["missed"].split == "ood_far").all()
    assert {"score_energy", "verdict_knn", "features"} < set(names["rows"])
    folder = features.parent
    logged = json.loads((folder / "live/metrics.json").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert logged["far"]["auroc"] == metrics["ood"]["far"]["auroc"]
    assert logged["mean"].keys() <= metrics["mean"].keys()
