"""Predictions of a pipeline for rows: verdict, score, class and nearest training classes."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ltood.core.arrays import Rows, like
from ltood.deployment.predictions import Predictions as Found
from ltood.library.markup import html_table
from ltood.runtime.extras import require

if TYPE_CHECKING:
    import pandas as pd

    from ltood.deployment.detector import DeployedDetector

#: Rows that a printed table shows.
SHOWN = 10


@dataclass(frozen=True, repr=False, eq=False)
class Predictions:
    """Verdicts on N rows; arrays are tensors if the rows were, else NumPy arrays.

    Attributes:
        is_ood: Whether the score is above the threshold, [N] bool.
        scores: OOD scores, [N] float32; higher means more OOD.
        classes: Most likely ID class, [N] int64; meant for rows that are ID.
        nearest: Classes whose mean training features are most similar, best first, [N, 3]
            int64; fewer columns where fewer classes have training rows.
        similarities: Their cosine similarities, [N, 3] float32.
        threshold: Largest score of a row that counts as ID; None where rows have different
            ones, or where scores alone do not decide.
        class_names: Names of all C classes.
        p_values: Conformal p-values, [N] float64; None unless a promise was asked for.
        sets: Classes that are not ruled out, [N, C] bool; None unless `sets` was asked for.
        explanations: Columns of the method that say what a score comes from, [N] each, by name.
    """

    is_ood: Any
    scores: Any
    classes: Any
    nearest: Any
    similarities: Any
    threshold: float | None
    class_names: Sequence[str]
    p_values: Any = None
    sets: Any = None
    explanations: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Found, rows: Rows, detector: "DeployedDetector") -> "Predictions":
        """Predictions of a detector, as the kind of array that `rows` are."""

        def given(column: Tensor) -> Any:  # noqa: ANN401 - a tensor or a NumPy array
            return like(rows, column)

        threshold = None if detector.rule else detector.threshold
        if threshold is None and found.thresholds is not None:
            different = set(found.thresholds.tolist())
            threshold = different.pop() if len(different) == 1 else None
        return cls(
            given(found.is_ood),
            given(found.scores),
            given(found.classes),
            given(found.nearest),
            given(found.similarities),
            threshold,
            detector.class_names,
            None if found.p_values is None else given(found.p_values),
            None if found.sets is None else given(found.sets),
            {name: given(column) for name, column in found.explanations.items()},
        )

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """Name of the most likely ID class of each row."""
        return [self.class_names[number] for number in self.classes.tolist()]

    @property
    def set_names(self) -> list[list[str]]:
        """Names of the classes in the set of each row; empty lists where no sets were asked for."""
        if self.sets is None:
            return [[] for _ in range(len(self))]
        return [list(compress(self.class_names, row)) for row in self.sets.tolist()]

    @property
    def nearest_names(self) -> list[list[str]]:
        """Names of the nearest training classes of each row, best first."""
        return [[self.class_names[number] for number in row] for row in self.nearest.tolist()]

    def records(self, rows: int | None = None) -> list[dict[str, Any]]:
        """The first `rows` rows, or all, as plain values by column."""
        part = slice(rows)
        columns = (self.is_ood, self.scores, self.classes, self.nearest, self.similarities)
        found = []
        for is_ood, score, label, nearest, cosines in zip(
            *(column[part].tolist() for column in columns), strict=True
        ):
            record = {
                "verdict": "OOD" if is_ood else "ID",
                "score": score,
                "class": self.class_names[label],
            }
            for rank, (near, cosine) in enumerate(zip(nearest, cosines, strict=True), start=1):
                record |= {f"nearest_{rank}": self.class_names[near], f"cosine_{rank}": cosine}
            found.append(record)
        for name, column in self._further().items():
            for record, value in zip(found, column[part].tolist(), strict=True):
                record[name] = value
        if self.sets is not None:
            for record, names in zip(found, self.set_names, strict=False):
                record["set"] = names
        return found

    def _further(self) -> dict[str, Any]:
        """Columns that not every detector and promise has, by name."""
        own = {} if self.p_values is None else {"p_value": self.p_values}
        return {**own, **self.explanations}

    def to_pandas(self) -> "pd.DataFrame":
        """A data frame with one row for each row.

        Raises:
            MissingPackageError: If pandas is not installed.
        """
        require("pandas", "predictions as a data frame")
        import pandas as pd

        return pd.DataFrame(self.records())

    def __repr__(self) -> str:
        """Counts, threshold and the first rows as a table."""
        heading, *rows = self._cells()
        widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in (heading, *rows)
        ]
        return "\n".join([self._summary(), *lines, *self._rest()])

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        rest = "".join(f"<p>{line}</p>" for line in self._rest())
        return f"<p>{html.escape(self._summary())}</p>{html_table(self._cells())}{rest}"

    def _summary(self) -> str:
        by = "p-values" if self.threshold is None else f"score above {self.threshold:.6g}"
        return f"{int(self.is_ood.sum())} of {len(self)} rows are OOD ({by})"

    def _rest(self) -> list[str]:
        return [f"… {len(self) - SHOWN} more rows"] if len(self) > SHOWN else []

    def _cells(self) -> list[list[str]]:
        """Heading and the first rows as texts."""
        records = self.records(SHOWN)
        names = list(records[0]) if records else ["verdict", "score", "class"]
        rows = [
            [f"{v:.4g}" if isinstance(v, float) else str(v) for v in record.values()]
            for record in records
        ]
        return [names, *rows]
