"""Verdicts of a deployed detector, and the policy for rows that cannot be scored."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
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
)
from ltood.deployment.incoming import listed
from ltood.deployment.predictions import Predictions
from ltood.runtime.console import log

#: Columns of every table of verdicts; those of `Verdict.further` come behind them.
COLUMNS = (
    *("path", "id", "verdict", "score", "threshold", "class"),
    *(f"{kind}_{rank}" for rank in range(1, NUM_NEAREST + 1) for kind in ("nearest", "cosine")),
)

#: Between the classes of a set in a table.
SEPARATOR = "|"


@dataclass(frozen=True)
class Verdict:
    """One row of output.

    Attributes:
        path: File the row comes from, as it was given or found.
        id: The row's id in an archive (its `ids`, else its number); None for an image file.
        verdict: "ID" or "OOD".
        score: OOD score; higher means more OOD.
        threshold: Largest score that is ID; None where the score alone does not decide.
        class_name: Most likely ID class.
        nearest: Up to three training classes with the cosine of their mean, best first.
        p_value: Share of ID rows that are as rare as this one; None without a promise.
        classes: Classes that are not ruled out; None where no sets were asked for.
        explanation: What the score comes from, by the method's own columns.
    """

    path: str
    id: int | None
    verdict: str
    score: float
    threshold: float | None
    class_name: str
    nearest: tuple[tuple[str, float], ...]
    p_value: float | None = None
    classes: tuple[str, ...] | None = None
    explanation: Mapping[str, float] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that the row belongs to."""
        return (*COLUMNS, *self.further())

    def further(self) -> dict[str, Any]:
        """Values that not every detector and promise has, by name."""
        values: dict[str, Any] = {}
        if self.p_value is not None:
            values["p_value"] = self.p_value
        if self.classes is not None:
            values["set"] = list(self.classes)
        return {**values, **self.explanation}

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
            **self.further(),
        }

    def cells(self) -> list[str]:
        """Texts in the order of `columns`; empty where a value is absent."""
        cells = [
            self.path,
            "" if self.id is None else str(self.id),
            self.verdict,
            repr(self.score),
            "" if self.threshold is None else repr(self.threshold),
            self.class_name,
        ]
        for name, cosine in self.nearest:
            cells += [name, f"{cosine:.4f}"]
        cells += [""] * (len(COLUMNS) - len(cells))
        for value in self.further().values():
            cells.append(SEPARATOR.join(value) if isinstance(value, list) else repr(value))
        return cells


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
    yield from _rows(found, detector.class_names, paths, ids)


def _rows(
    found: Predictions,
    names: Sequence[str],
    paths: Sequence[str],
    ids: Sequence[int | None] | NDArray[np.int64],
) -> Iterator[Verdict]:
    """Predictions as one verdict per row."""
    absent = [None] * len(found)
    columns = (
        found.scores.tolist(),
        found.is_ood.tolist(),
        found.classes.tolist(),
        found.nearest.tolist(),
        found.similarities.tolist(),
        absent if found.thresholds is None else found.thresholds.tolist(),
        absent if found.p_values is None else found.p_values.tolist(),
        absent if found.sets is None else found.sets.tolist(),
    )
    explained = {name: column.tolist() for name, column in found.explanations.items()}
    for row, (path, number, values) in enumerate(
        zip(paths, ids, zip(*columns, strict=True), strict=True)
    ):
        score, is_ood, predicted, nearest, cosines, threshold, p_value, kept = values
        yield Verdict(
            path,
            None if number is None else int(number),
            "OOD" if is_ood else "ID",
            score,
            threshold if threshold is None or math.isfinite(threshold) else None,
            names[predicted],
            tuple((names[near], cosine) for near, cosine in zip(nearest, cosines, strict=True)),
            p_value,
            None if kept is None else tuple(itertools.compress(names, kept)),
            {name: column[row] for name, column in explained.items()},
        )
