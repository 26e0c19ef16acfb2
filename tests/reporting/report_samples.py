"""Scores, a leaderboard and a reader of pages for the tests of the report."""

from html.parser import HTMLParser

import numpy as np

from ltood.evaluation.binding import bind
from ltood.metrics import METRICS
from ltood.store.scores import ScoreSplit

FEATURES = "9f2c" * 16
NASTY = "<script>alert('x')</script> & \"co\""


class MemoryStore:
    """Scores in memory with the interface of a score store."""

    def __init__(self, parts, attributes):
        self.parts, self.attributes = parts, attributes

    @property
    def splits(self):
        return list(self.parts)

    def split(self, name):
        return self.parts[name]


def scores_of(rng, mean, rows, labels, num_classes):
    guesses = rng.integers(0, num_classes, rows)
    predictions = np.where((rng.random(rows) < 0.7) & (labels >= 0), labels, guesses)
    scores = rng.normal(mean, 1.0, rows).astype(np.float32)
    return ScoreSplit(scores, predictions, labels, np.arange(rows))


def make_store(num_classes=10, names=None, sets=("near", "far", "odd", "even")):
    rng = np.random.default_rng(7)
    counts = (500 * 0.02 ** (np.arange(num_classes) / max(num_classes - 1, 1))).astype(int)
    labels = np.arange(400) % num_classes
    parts = {"test": scores_of(rng, 0.0, 400, labels, num_classes)}
    for number, name in enumerate(sets):
        labels = np.full(120, -1)
        if number == 1:
            labels[:20] = 2 % num_classes
        parts[f"ood_{name}"] = scores_of(rng, 1.0 + number, 120, labels, num_classes)
    attributes = {
        "method": {"name": "himplos", "settings": {"percentile": 60}, "in_use": {"clip": 1.625}},
        "calibrator": {"name": "patt", "settings": {"official_sum": False}, "in_use": {}},
        "normaliser": {"name": "none", "settings": {}, "in_use": {}},
        "class_counts": counts.tolist(),
        "class_names": list(names or (f"class {row}" for row in range(num_classes))),
        "features_fingerprint": FEATURES,
        "provenance": {
            "dataset": {"name": "demo", "settings": {"imbalance_ratio": 0.02}},
            "backbone": "cifar_resnet",
            "checkpoint": "3e" * 32,
            "versions": {"torch": "2.15"},
            "transform": ["resize 32", {"mean": [0.5, 0.25]}],
        },
    }
    return MemoryStore(parts, attributes)


def board_row(method, auroc, **changes):
    """A row of leaderboard.json; himplos behind patt is what `make_store` holds."""
    row = {
        "calibrator": "none",
        "method": method,
        "normaliser": "none",
        "status": "ok",
        "id": {"accuracy": 0.75, "many": 0.9, "medium": 0.8, "few": None},
        "mean": {**dict.fromkeys(METRICS, 0.25), "auroc": auroc},
        "settings": {"method": {}},
    }
    row |= changes
    names = (row["calibrator"], row["method"], row["normaliser"])
    return {"title": "+".join(name for name in names if name != "none"), **row}


OWN_SETTINGS = {"method": {"percentile": 60}, "calibrator": {"official_sum": False}}
OWN_ROW = board_row("himplos", 0.9, calibrator="patt", settings=OWN_SETTINGS)
ROWS = [OWN_ROW, board_row("msp", 0.5)]


def board_of(rows, left_out=(), features=FEATURES):
    """What `compare` gives."""
    return bind({"auroc": {}, "rows": rows, "left_out": list(left_out)}, features=features)


class Elements(HTMLParser):
    """All elements of a page, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts, self.data, self._within = [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._within = "json" if dict(attrs).get("type") == "application/json" else tag

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within == "json":
            self.data += data
        elif self._within not in {"script", "style"}:
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]
