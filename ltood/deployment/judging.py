"""From features of inputs to their verdicts, and the policy for inputs that cannot be judged."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import DataError
from ltood.deployment.detector import DeployedDetector, NotFiniteScoresError
from ltood.deployment.incoming import listed
from ltood.deployment.predictions import Predictions
from ltood.deployment.verdicts import ERROR, ID, OOD, NearImage, Verdict, named
from ltood.runtime.console import log, one_line

#: Give such an input a row with the reason, report it and leave it out, or stop at it.
OnError = Literal["row", "skip", "raise"]

_FAR = (
    "such features lie far outside what the detector was fitted on; check that they come from the "
    "same backbone"
)


@dataclass(frozen=True)
class Item:
    """One input: an image file, or a row of an archive.

    Attributes:
        path: Its file.
        id: Its id in an archive; None where the file is an image.
        reason: Why it has no features; None where it has.
    """

    path: str
    id: int | None = None
    reason: str | None = None

    @property
    def name(self) -> str:
        """How messages call it."""
        return named(self.path, self.id)


@dataclass
class BadInputs:
    """Policy for inputs that cannot be judged.

    Attributes:
        on_error: "row", "skip" or "raise".
        count: Inputs met so far.
    """

    on_error: OnError = "row"
    count: int = field(default=0, init=False)

    @property
    def has_rows(self) -> bool:
        """Whether such inputs get a row."""
        return self.on_error == "row"

    def meet(self, error: DataError, rows: int = 1) -> None:
        """Stop with `error`, or count `rows` and report it unless they get rows."""
        if self.on_error == "raise":
            remedy = "To give such inputs a row with the reason instead, pass --on-error row."
            raise DataError(f"{error} {remedy}") from error
        if self.on_error == "skip":
            log(f"skipped: {one_line(str(error))}")
        self.count += rows


def judge(
    detector: DeployedDetector,
    items: Sequence[Item],
    features: Tensor | NDArray[Any],
    local: Tensor | NDArray[Any] | None,
    bad: BadInputs,
) -> Iterator[Verdict]:
    """Classify inputs as ID or OOD.

    Args:
        detector: A loaded detector.
        items: Inputs; those with a reason have no row in the arrays.
        features: Features of the others, [N, D].
        local: Their local features, [N, P, D], or None.
        bad: What to do with rows whose score is not finite.

    Yields:
        Verdicts in the order of the inputs, one for each unless `bad` leaves some out.

    Raises:
        DataError: If a score is not finite and `bad` stops there.
    """
    known = [number for number, item in enumerate(items) if item.reason is None]
    try:
        found = detector.predict(features, local=local) if known else None
    except NotFiniteScoresError as error:
        lost = {known[row] for row in error.rows}
        bad.meet(DataError(f"{listed([items[n].name for n in sorted(lost)])}: {error}"), len(lost))
        reason = f"its score is not finite: {_FAR}."
        marked = [
            dataclasses.replace(item, reason=reason) if number in lost else item
            for number, item in enumerate(items)
        ]
        kept = [row for row, number in enumerate(known) if number not in lost]
        rest = None if local is None else local[kept]
        yield from judge(detector, marked, features[kept], rest, bad)
        return
    judged = iter(()) if found is None else _rows(found, detector, [items[n] for n in known])
    for item in items:
        if item.reason is None:
            yield next(judged)
        elif bad.has_rows:
            yield Verdict(item.path, item.id, ERROR, reason=one_line(item.reason))


def _rows(
    found: Predictions, detector: DeployedDetector, items: Sequence[Item]
) -> Iterator[Verdict]:
    """Predictions as one verdict per row."""
    names = detector.class_names
    columns = (
        found.scores,
        found.is_ood,
        found.classes,
        found.nearest,
        found.similarities,
        found.thresholds,
        found.probabilities,
        found.p_values,
        found.sets,
        found.examples,
        found.example_similarities,
    )
    rows = zip(*(_listed(column, len(items)) for column in columns), strict=True)
    explained = {name: column.tolist() for name, column in found.explanations.items()}
    for row, (item, values) in enumerate(zip(items, rows, strict=True)):
        score, is_ood, label, nearest, cosines, threshold, share, p_value, kept, near, close = (
            values
        )
        yield Verdict(
            item.path,
            item.id,
            OOD if is_ood else ID,
            score,
            threshold if threshold is None or math.isfinite(threshold) else None,
            names[label],
            tuple((names[one], cosine) for one, cosine in zip(nearest, cosines, strict=True)),
            share,
            p_value,
            None,
            _images(detector, near, close),
            None if kept is None else tuple(itertools.compress(names, kept)),
            {name: column[row] for name, column in explained.items()},
        )


def _listed(column: Tensor | None, rows: int) -> list[Any]:
    return [None] * rows if column is None else column.tolist()


def _images(
    detector: DeployedDetector, rows: list[int] | None, cosines: list[float] | None
) -> tuple[NearImage, ...]:
    """Training images by their rows among the examples."""
    held = detector.examples
    if held is None or rows is None or cosines is None:
        return ()
    names = detector.class_names
    return tuple(
        NearImage(
            held.name(row),
            held.paths[row],
            int(held.ids[row]),
            names[int(held.labels[row])],
            cosine,
        )
        for row, cosine in zip(rows, cosines, strict=True)
    )
