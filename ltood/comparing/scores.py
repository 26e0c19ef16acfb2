"""Scores of all rows of a leaderboard, in plain files, for tests of one row against another.

    rows.json                 titles of the R rows, with what they were made from
    <split>.scores.npy        [R, N] float32, higher means more OOD
    <split>.predictions.npy   [K, N] int64, of the K calibrators of rows.json
    <split>.labels.npy        [N] int64, -1 for OOD rows
    <split>.ids.npy           [N] int64, row numbers in the dataset

Any NumPy reads them. Their splits are test, csid_<name> and ood_<name>.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.comparing.plan import Combination
from ltood.core.errors import CorruptStoreError, DataError
from ltood.runtime.files import (
    building_folder,
    read_json,
    to_json_bytes,
    write_atomically,
    writing,
)
from ltood.runtime.numpy_files import UNREADABLE
from ltood.store.scores import ScoreSplit

_ROWS = "rows.json"
_ADVICE = "compare again"


class ScoreKeeper:
    """Takes scores split by split, and writes those of the rows that were left to the end."""

    def __init__(self, folder: Path) -> None:
        """Take the folder to write, which replaces an older one when everything is there."""
        self._folder = folder
        self._splits: dict[str, Mapping[Combination, ScoreSplit]] = {}

    def add(self, split: str, scores: Mapping[Combination, ScoreSplit]) -> None:
        """Keep scores of one split; memory grows with rows of the board times rows of the split."""
        self._splits[split] = scores

    def write(
        self, board: Mapping[str, Any], features: str, class_counts: Sequence[int] = ()
    ) -> None:
        """Write all splits.

        Args:
            board: The finished leaderboard, whose rows decide order and titles; transductive ones
                are left out.
            features: Fingerprint of the feature store.
            class_counts: Training rows of each class; none where they are not known.

        Raises:
            StoreError: If the folder cannot be written.
        """
        # Rows of streams have no scores apart from the order.
        done = [row for row in board["rows"] if row["status"] == "ok" and "stream" not in row]
        rows = [Combination(row["calibrator"], row["method"], row["normaliser"]) for row in done]
        calibrators = list(dict.fromkeys(row.calibrator for row in rows))
        content = {
            "features": features,
            "class_counts": list(class_counts),
            "calibrators": calibrators,
            "rows": [{"title": row.title, **row._asdict()} for row in rows],
            "splits": list(self._splits),
        }
        with building_folder(self._folder) as folder:
            for name, scores in self._splits.items():
                for key, values in _arrays(scores, rows, calibrators).items():
                    with writing(folder / f"{name}.{key}.npy", sweep=False) as file:
                        np.save(file, np.ascontiguousarray(values), allow_pickle=False)
            write_atomically(folder / _ROWS, to_json_bytes(content), sweep=False)


def _arrays(
    scores: Mapping[Combination, ScoreSplit],
    rows: Sequence[Combination],
    calibrators: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """Arrays of one split; rows behind one calibrator share their predictions."""
    first = {row.calibrator: scores[row] for row in reversed(rows)}
    labels = next(iter(scores.values())).labels if scores else np.empty(0, dtype=np.int64)
    ids = next(iter(scores.values())).ids if scores else np.empty(0, dtype=np.int64)
    return {
        "scores": np.stack([scores[row].scores for row in rows])
        if rows
        else np.empty((0, len(labels)), dtype=np.float32),
        "predictions": np.stack([first[name].predictions for name in calibrators])
        if rows
        else np.empty((0, len(labels)), dtype=np.int64),
        "labels": labels,
        "ids": ids,
    }


@dataclass(frozen=True)
class ComparedScores:
    """Scores of a leaderboard, read split by split.

    Attributes:
        folder: Where they lie.
        features: Fingerprint of the feature store they were made from.
        titles: Titles of the R rows.
        calibrators: Names of the K calibrators.
        row_calibrators: Calibrator of each row.
        splits: Names of the splits.
        class_counts: Training rows of each class; empty where they are not known.
    """

    folder: Path
    features: str
    titles: tuple[str, ...]
    calibrators: tuple[str, ...]
    row_calibrators: tuple[str, ...]
    splits: tuple[str, ...]
    class_counts: tuple[int, ...] = ()

    @classmethod
    def open(cls, folder: Path) -> "ComparedScores":
        """Open what `ScoreKeeper` wrote.

        Raises:
            DataError: If it is missing.
            CorruptStoreError: If it is damaged.
        """
        try:
            content = read_json(folder / _ROWS, _ADVICE)
            rows = content["rows"]
            return cls(
                folder,
                content["features"],
                tuple(row["title"] for row in rows),
                tuple(content["calibrators"]),
                tuple(row["calibrator"] for row in rows),
                tuple(content["splits"]),
                tuple(content.get("class_counts", ())),
            )
        except FileNotFoundError as error:
            raise DataError(f"{folder} holds no scores of a comparison; {_ADVICE}.") from error
        except (KeyError, TypeError) as error:
            raise CorruptStoreError(f"{folder / _ROWS} is damaged; {_ADVICE}.") from error

    def split(self, row: int, name: str) -> ScoreSplit:
        """Scores of one row of the board on one split.

        Raises:
            CorruptStoreError: If a file is missing or damaged.
        """
        scores, predictions, labels = (
            self._read(name, key) for key in ("scores", "predictions", "labels")
        )
        calibrator = self.calibrators.index(self.row_calibrators[row])
        # Those of earlier versions have none.
        has_ids = (self.folder / f"{name}.ids.npy").exists()
        ids = self._read(name, "ids") if has_ids else np.arange(len(labels))
        return ScoreSplit(np.asarray(scores[row]), np.asarray(predictions[calibrator]), labels, ids)

    def _read(self, split: str, key: str) -> NDArray[Any]:
        path = self.folder / f"{split}.{key}.npy"
        try:
            found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except UNREADABLE as error:
            raise CorruptStoreError(f"{path} cannot be read; {_ADVICE}.") from error
        return found
