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
    from ltood.deployment.examples import Examples

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
        p_values: Conformal p-values, [N] float64; None where the detector has no held-out rows.
        sets: Classes that are not ruled out, [N, C] bool; None unless `sets` was asked for.
        explanations: Columns of the method that say what a score comes from, [N] each, by name.
        probabilities: Softmax of the most likely class, [N] float32; None without a head.
        examples: The most similar training images among `images`, best first, [N, 3] int64 or
            fewer; None where the detector holds none.
        example_similarities: Their cosine similarities, like `examples`.
        images: Training images that the detector holds; None where it holds none.
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
    probabilities: Any = None
    examples: Any = None
    example_similarities: Any = None
    images: "Examples | None" = None

    @classmethod
    def of(cls, found: Found, rows: Rows, detector: "DeployedDetector") -> "Predictions":
        """Predictions of a detector, as the kind of array that `rows` are."""

        def given(column: Tensor | None) -> Any:  # noqa: ANN401 - a tensor or a NumPy array
            return None if column is None else like(rows, column)

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
            given(found.p_values),
            given(found.sets),
            {name: given(column) for name, column in found.explanations.items()},
            given(found.probabilities),
            given(found.examples),
            given(found.example_similarities),
            detector.examples,
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

    @property
    def nearest_images(self) -> list[list[str]]:
        """The most similar training images of each row, best first: files, or ids in train.

        Empty lists where the detector holds no training images.
        """
        if self.images is None:
            return [[] for _ in range(len(self))]
        return [[self.images.name(number) for number in row] for row in self.examples.tolist()]

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
        for number, record in enumerate(found):
            record |= self._images(number)
            if self.sets is not None:
                kept = self.sets[number].tolist()
                record["set"] = list(compress(self.class_names, kept))
            record |= {name: column[number].item() for name, column in self.explanations.items()}
        return found

    def _images(self, row: int) -> dict[str, Any]:
        """Columns of the most similar training images of a row."""
        if self.images is None:
            return {}
        found: dict[str, Any] = {}
        near = zip(
            self.examples[row].tolist(), self.example_similarities[row].tolist(), strict=True
        )
        for rank, (number, cosine) in enumerate(near, start=1):
            found[f"image_{rank}"] = self.images.name(number)
            found[f"image_class_{rank}"] = self.class_names[int(self.images.labels[number])]
            found[f"image_cosine_{rank}"] = cosine
        return found

    def _further(self) -> dict[str, Any]:
        """Columns that not every detector and promise has, by name."""
        own = {"probability": self.probabilities, "p_value": self.p_values}
        return {name: column for name, column in own.items() if column is not None}

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
