"""Scores in memory, as evaluation reads them."""

from dataclasses import dataclass, field

import numpy as np

from ltood.store.scores import ScoreSplit

COUNTS = [500, 90, 40, 3]
NAMES = ["bird", "cat", "dog", "eel"]
GROUP_OF = ["many", "medium", "medium", "few"]


@dataclass
class Scored:
    """A score store held in memory."""

    rows: dict[str, ScoreSplit]
    attributes: dict[str, object] = field(
        default_factory=lambda: {"class_counts": COUNTS, "class_names": NAMES}
    )
    num_reads: int = 0

    @property
    def splits(self):
        return list(self.rows)

    def split(self, name):
        self.num_reads += 1
        return self.rows[name]


def rows_of(scores, labels, predictions=None):
    labels = np.asarray(labels, dtype=np.int64)
    predictions = np.zeros(len(labels)) if predictions is None else predictions
    return ScoreSplit(
        np.asarray(scores, dtype=np.float32),
        np.asarray(predictions, dtype=np.int64),
        labels,
        np.arange(len(labels)),
    )


def make_scored(seed=0, num_test=400):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, num_test)
    predictions = np.where(rng.random(num_test) < 0.8, labels, rng.integers(0, 4, num_test))
    rows = {
        "train": rows_of(np.full(9, 99.0), np.zeros(9)),
        "test": rows_of(rng.normal(size=num_test) + 0.3 * labels, labels, predictions),
    }
    for name, mean, count, num_relabelled in (("far", 3.0, 150, 0), ("near", 1.0, 90, 30)):
        classes = np.where(np.arange(count) < num_relabelled, rng.integers(0, 4, count), -1)
        scores = rng.normal(mean, 1.2, count) - (classes >= 0)
        rows[f"ood_{name}"] = rows_of(scores, classes, rng.integers(0, 4, count))
    return Scored(rows)
