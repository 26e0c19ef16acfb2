"""Verdicts of a deployed detector, and the policy for rows that cannot be scored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import DataError
from ltood.deployment.detector import (
    NUM_NEAREST,
    DeployedDetector,
    NotFiniteScoresError,
    listed,
)
from ltood.runtime.console import log

#: Columns of a table of verdicts.
COLUMNS = (
    *("path", "id", "verdict", "score", "threshold", "class"),
    *(f"{kind}_{rank}" for rank in range(1, NUM_NEAREST + 1) for kind in ("nearest", "cosine")),
)


@dataclass(frozen=True)
class Verdict:
    """One row of output.

    Attributes:
        path: File the row comes from, as it was given or found.
        id: The row's id in an archive (its `ids`, else its number); None for an image file.
        verdict: "ID" or "OOD".
        score: OOD score; higher means more OOD.
        threshold: Largest score that is ID.
        class_name: Most likely ID class.
        nearest: Up to three training classes with the cosine of their mean, best first.
    """

    path: str
    id: int | None
    verdict: str
    score: float
    threshold: float
    class_name: str
    nearest: tuple[tuple[str, float], ...]

    def record(self) -> dict[str, Any]:
        """Plain values by name, as a JSON line holds them."""
        return {
            "path": self.path,
            "id": self.id,
            "verdict": self.verdict,
            "score": self.score,
            "threshold": self.threshold,
            "class": self.class_name,
            "nearest": [{"class": name, "cosine": cosine} for name, cosine in self.nearest],
        }

    def cells(self) -> list[str]:
        """Texts in the order of `COLUMNS`; empty where a value is absent."""
        cells = [
            self.path,
            "" if self.id is None else str(self.id),
            self.verdict,
            repr(self.score),
            repr(self.threshold),
            self.class_name,
        ]
        for name, cosine in self.nearest:
            cells += [name, f"{cosine:.4f}"]
        return cells + [""] * (len(COLUMNS) - len(cells))


@dataclass
class BadInputs:
    """Policy for images and rows that cannot be scored.

    Attributes:
        skip: Report each and continue, instead of stopping at the first.
        count: Images and rows skipped so far.
    """

    skip: bool = False
    count: int = field(default=0, init=False)

    def meet(self, error: DataError, rows: int = 1) -> None:
        """Stop with `error`, or report it and count `rows`."""
        if not self.skip:
            raise DataError(f"{error} To skip such inputs, pass --on-error skip.") from error
        log(f"skipped: {error}")
        self.count += rows


def verdicts(
    detector: DeployedDetector,
    paths: Sequence[str],
    ids: Sequence[int | None] | NDArray[np.int64],
    features: Tensor | NDArray[Any],
    local: Tensor | NDArray[Any] | None,
    bad: BadInputs,
) -> Iterator[Verdict]:
    """Classify rows of features as ID or OOD.

    Args:
        detector: A loaded detector.
        paths: File of each row.
        ids: Id of each row in its file; None where the file is an image.
        features: [N, D].
        local: [N, P, D], or None.
        bad: What to do with rows whose score is not finite.

    Raises:
        DataError: If a score is not finite and `bad` does not skip it.
    """
    try:
        found = detector.predict(features, local=local)
    except NotFiniteScoresError as error:
        where = [
            f"{paths[row]}" + ("" if ids[row] is None else f" id {ids[row]}") for row in error.rows
        ]
        bad.meet(DataError(f"{listed(where)}: {error}"), len(where))
        unusable = set(error.rows)
        kept = [row for row in range(len(paths)) if row not in unusable]
        yield from verdicts(
            detector,
            [paths[row] for row in kept],
            [ids[row] for row in kept],
            features[kept],
            None if local is None else local[kept],
            bad,
        )
        return
    names = detector.class_names
    columns = (
        found.scores.tolist(),
        found.is_ood.tolist(),
        found.classes.tolist(),
        found.nearest.tolist(),
        found.similarities.tolist(),
    )
    for path, number, score, is_ood, predicted, nearest, cosines in zip(
        paths, ids, *columns, strict=True
    ):
        yield Verdict(
            path,
            None if number is None else int(number),
            "OOD" if is_ood else "ID",
            score,
            detector.threshold,
            names[predicted],
            tuple((names[near], cosine) for near, cosine in zip(nearest, cosines, strict=True)),
        )
