"""Scores of reference rows, which new ones are compared with: held-out rows, or those of a file."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.batches import BATCH_ROWS
from ltood.core.errors import DataError, MissingNeedError
from ltood.deployment.detector import DeployedDetector
from ltood.runtime.extras import require
from ltood.store.archives import Archive

_REMEDY = (
    "give verdicts of an earlier `ltood predict` (.csv, .jsonl or .parquet), or an .npz archive of "
    "features or scores"
)


@dataclass(frozen=True, eq=False)
class Reference:
    """Scores of rows that new ones should be like.

    Attributes:
        scores: OOD scores, [m] float64; finite, at least one.
        source: What they are, in words.
        classes: Class that the detector gives each, [m]; None where that is not known.
    """

    scores: NDArray[np.float64]
    source: str
    classes: tuple[str, ...] | None = None


def held_out(detector: DeployedDetector) -> Reference:
    """The held-out rows that a detector brings along.

    Raises:
        MissingNeedError: If it has none.
    """
    rows = detector.calibration
    if rows is None or not len(rows):
        raise MissingNeedError(
            "the detector has no held-out rows to compare with; export it again with held-out ID "
            f"rows (split val), or name others with --reference-from: {_REMEDY}."
        )
    split = (detector.description.get("calibration") or {}).get("split", "val")
    names = detector.class_names
    return Reference(
        rows.scores.double().cpu().numpy(),
        f"{len(rows):,} held-out rows of {split}",
        tuple(names[number] for number in rows.classes.tolist()),
    )


def read_reference(path: Path, detector: DeployedDetector) -> Reference:
    """Scores of a file: of earlier verdicts, or of an archive with scores or features.

    Args:
        path: The file.
        detector: Scores the features.

    Raises:
        DataError: If the file is missing or holds no usable scores.
        MissingPackageError: If it is a Parquet file and pyarrow is not installed.
    """
    readers = {".csv": _of_csv, ".jsonl": _of_lines, ".ndjson": _of_lines, ".parquet": _of_parquet}
    suffix = path.suffix.lower()
    if suffix != ".npz" and suffix not in readers:
        raise DataError(f"{path} is not a file of scores; {_REMEDY}.")
    try:
        if suffix == ".npz":
            found = _of_archive(path, detector)
        else:
            found = np.array(list(readers[suffix](path)), dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} holds no scores that can be read ({error}); {_REMEDY}.") from error
    if not len(found) or not np.isfinite(found).all():
        raise DataError(
            f"{path} holds {len(found)} scores, {int((~np.isfinite(found)).sum())} of them not "
            f"finite; {_REMEDY}."
        )
    return Reference(found, f"{len(found):,} rows of {path}")


def _of_csv(path: Path) -> Iterator[float]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["score"]:  # Inputs that could not be judged have none.
                yield float(row["score"])


def _of_lines(path: Path) -> Iterator[float]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            score = json.loads(line)["score"]
            if score is not None:
                yield float(score)


def _of_parquet(path: Path) -> Iterator[float]:
    require("pyarrow", str(path))
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(columns=["score"]):
        yield from batch.column("score").drop_null().to_pylist()


def _of_archive(path: Path, detector: DeployedDetector) -> NDArray[np.float64]:
    with Archive(path) as archive:
        if "scores" in archive.names:
            scores: Any = archive.load("scores")
            if scores.ndim != 1 or scores.dtype.kind not in "fiu":
                raise DataError(
                    f"{path}: scores are {scores.dtype} of shape {list(scores.shape)}; they must "
                    "be numbers of shape [N]."
                )
            return np.asarray(scores, dtype=np.float64)
        if "features" not in archive.names or detector.needs_local:
            raise DataError(f"{path} holds {', '.join(archive.names) or 'nothing'}; {_REMEDY}.")
        rows = archive.shape("features")[0]
        sizes = [min(BATCH_ROWS, rows - start) for start in range(0, rows, BATCH_ROWS)]
        parts = [
            detector.score(block).double().cpu().numpy()
            for block in archive.blocks("features", sizes)
        ]
        return np.concatenate(parts) if parts else np.empty(0)
