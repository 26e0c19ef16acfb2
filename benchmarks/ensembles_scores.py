"""Scores of the whole cross product on one feature store, kept in one archive.

Fitting and scoring are those of `ltood compare`, with the split val scored beside test and the
OOD sets. The archive is made anew where the features are not those it was made from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltood.comparing.fitting import fit_view
from ltood.comparing.plan import Combination, Config
from ltood.comparing.running import _score_split
from ltood.comparing.timing import Timer
from ltood.scoring.session import ScoringSession
from ltood.store.features import FeatureStore
from ltood.store.scores import ScoreSplit

#: Methods that are not single: they hold or choose others.
HOLDERS = ("ensemble", "auto")
CONFIG = Config("all", "all", "all")


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of every combination on every split of one feature set.

    Attributes:
        name: The feature set.
        rows: Titles of the combinations, [K].
        val: Scores of held-out ID rows, [K, n].
        test: Scores of ID test rows, [K, N].
        ood: Scores of each OOD set, [K, M].
        labels: Classes of val and test rows.
        predictions: Classes that the head predicts without a calibrator, by split.
        ids: Row numbers of val and test rows.
        counts: Training rows of each class, [C].
    """

    name: str
    rows: tuple[str, ...]
    val: NDArray[np.float64]
    test: NDArray[np.float64]
    ood: Mapping[str, NDArray[np.float64]]
    labels: Mapping[str, NDArray[np.int64]]
    predictions: Mapping[str, NDArray[np.int64]]
    ids: Mapping[str, NDArray[np.int64]]
    counts: NDArray[np.int64]

    def row(self, title: str) -> int:
        """Place of a combination."""
        return self.rows.index(title)


def scores_of(store: Path, cache: Path) -> Scores:
    """Scores of one store, from the archive where it has them."""
    opened = FeatureStore.open(store)
    path = cache / f"{store.stem}.npz"
    if path.is_file():
        with np.load(path) as archive:
            if str(archive["fingerprint"]) == opened.fingerprint:
                return _read(store.stem, archive)
    cache.mkdir(parents=True, exist_ok=True)
    arrays = _computed(opened)
    np.savez(path, fingerprint=opened.fingerprint, **arrays)
    with np.load(path) as archive:
        return _read(store.stem, archive)


def _computed(store: FeatureStore) -> dict[str, NDArray[np.generic]]:
    session = ScoringSession.open(store, "cpu")
    timer = Timer(session.device)
    combinations = [row for row in CONFIG.combinations() if row.method not in HOLDERS]
    views, failed = [], {}
    for calibrator in dict.fromkeys(row.calibrator for row in combinations):
        rows = [row for row in combinations if row.calibrator == calibrator]
        view, failures = fit_view(session, rows, {}, timer)
        views += [view] if view else []
        failed |= failures
    found: dict[str, dict[Combination, ScoreSplit]] = {}
    splits = ("val", "test", *store.ood_splits)
    for split in splits:
        found[split], failures = _score_split(session, views, split, timer)
        failed |= failures
    whole = [row for row in combinations if all(row in found[split] for split in splits)]
    print(f"{store.path.stem}: {len(whole)} of {len(combinations)} combinations", flush=True)
    arrays: dict[str, NDArray[np.generic]] = {
        "rows": np.array([row.title for row in whole]),
        "counts": np.asarray(store.prior().counts),
    }
    plain = next(row for row in whole if row.calibrator == "none")
    for split in splits:
        arrays[f"scores_{split}"] = np.stack([found[split][row].scores for row in whole])
        one = found[split][plain]
        arrays[f"labels_{split}"], arrays[f"ids_{split}"] = one.labels, one.ids
        arrays[f"predictions_{split}"] = one.predictions
    return arrays


def _read(name: str, archive: Mapping[str, NDArray[np.generic]]) -> Scores:
    splits = [key.removeprefix("scores_") for key in archive if key.startswith("scores_")]
    scores = {split: archive[f"scores_{split}"].astype(np.float64) for split in splits}
    columns = {
        column: {split: archive[f"{column}_{split}"] for split in ("val", "test")}
        for column in ("labels", "ids", "predictions")
    }
    ood = {split.removeprefix("ood_"): scores[split] for split in splits if split[:4] == "ood_"}
    rows = tuple(str(title) for title in archive["rows"])
    counts = archive["counts"]
    return Scores(name, rows, scores["val"], scores["test"], ood, counts=counts, **columns)
