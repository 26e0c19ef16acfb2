"""What a threshold or a rule promises, in sentences: levels, rows behind them, assumption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltood.core.words import counted
from ltood.deployment.promises import Promise
from ltood.ops.guarantees import confident_level, rows_for_level

#: Confidence of the second level where the user named none.
SHOWN_CONFIDENCE = 0.9
#: Parts that are described one by one.
_SHOWN_PARTS = 5
#: With fewer rows above a threshold, what it flags of new rows is known only roughly.
_FEW_ROWS = 10


@dataclass(frozen=True)
class Found:
    """Where a promise comes from.

    Attributes:
        rows: Calibration rows.
        split: Split they belong to.
        promise: What was asked for.
    """

    rows: int
    split: str
    promise: Promise

    @property
    def source(self) -> str:
        """The rows in words."""
        return f"{counted(self.rows, 'calibration row')} of {self.split}"


def threshold_words(threshold: Mapping[str, Any]) -> str:
    """What a threshold accepts, from the description of a detector."""
    return (
        f"threshold {threshold['value']:.6g} accepts {threshold['accepted']:.2%} of the "
        f"{counted(threshold['rows'], 'row')} of {threshold['split']} (score <= threshold is ID)"
    )


def rows_note(threshold: Mapping[str, Any]) -> str | None:
    """What follows from the few rows that a threshold rests on; None where there are enough.

    A new ID row is like one more of the n rows: it scores above the k-th lowest of them with a
    probability of (n + 1 - k) / (n + 1) on average, never below 1 / (n + 1).

    Args:
        threshold: From the description of a detector.
    """
    rows, split = int(threshold["rows"]), threshold["split"]
    rank = rows + 1 - round(threshold["accepted"] * rows)
    wanted = round(1 - threshold["tpr"], 6)
    if rank >= _FEW_ROWS:
        return None
    if 0 < wanted < 1 / (rows + 1):
        return (
            f"{counted(rows, 'row')} cannot flag only {100 * wanted:.4g}% of new ID rows: 1 in "
            f"{rows + 1:,} ({1 / (rows + 1):.1%}) is the least on average; "
            f"{counted(rows_for_level(wanted), 'row')} of {split} would be enough"
        )
    return (
        f"the threshold rests on the highest {rank:,} of {counted(rows, 'row')}: on average "
        f"{rank / (rows + 1):.1%} of new ID rows lie above it, and up to "
        f"{confident_level(rank, rows, SHOWN_CONFIDENCE):.1%} with confidence {SHOWN_CONFIDENCE:g}"
    )


def group_notes(
    found: Found,
    counts: Sequence[int],
    levels: Sequence[float],
    merged: Sequence[Sequence[str]],
    needed: int,
) -> list[str]:
    """Lines for a rate of false alarms or discoveries, plain or in groups.

    Args:
        found: Where the promise comes from.
        counts: Calibration rows of each part.
        levels: Largest p-value of each part that is OOD.
        merged: Names of the groups in each part.
        needed: Fewest rows of a part.
    """
    promise = found.promise
    if promise.fdr is not None:
        lines = [
            f"of the rows called OOD in this call, at most {promise.fdr:.4g} are ID on average "
            f"(from {found.source})."
        ]
    else:
        lines = [f"false alarms among new ID rows, from {found.source}:"]
        confidence = promise.confidence or SHOWN_CONFIDENCE
        parts = list(zip(counts, levels, merged, strict=True))
        for num, level, groups in parts[:_SHOWN_PARTS]:
            # The level in steps of 1 / (n + 1), which is what is reached.
            rank = int(level * (num + 1) * (1 + 1e-12))
            where = f"{' + '.join(groups)} ({counted(num, 'row')}): " if promise.per_group else ""
            lines.append(
                f"  {where}at most {rank / (num + 1):.4g} on average over calibration sets, and "
                f"at most {confident_level(rank, num, confidence):.4g} with confidence "
                f"{confidence:g}."
            )
        if len(parts) > _SHOWN_PARTS:
            lines.append(f"  … {len(parts) - _SHOWN_PARTS} more groups.")
    joint = [" + ".join(groups) for groups in merged if len(groups) > 1]
    if joint:
        lines.append(
            f"merged, as a group needs {needed} rows: {'; '.join(joint[:_SHOWN_PARTS])}"
            + (f"; … {len(joint) - _SHOWN_PARTS} more" if len(joint) > _SHOWN_PARTS else "")
            + "."
        )
    mix = "of each group" if promise.per_group else "in the same class mix"
    return [*lines, f"assumes: the calibration rows are like new ID rows {mix}."]


def rate_notes(found: Found, smallest: float) -> list[str]:
    """Lines for a rate under another class mix.

    Args:
        found: Where the promise comes from.
        smallest: Smallest p-value there can be.
    """
    return [
        f"false alarms among new ID rows of the given class mix: at most {found.promise.fpr:.4g} "
        f"on average, from {found.source}, weighted by class (p-values go down to {smallest:.3g}).",
        "assumes: within each class, the calibration rows are like new ID rows.",
    ]


def set_notes(found: Found, counts: Sequence[int]) -> list[str]:
    """Lines for sets of classes.

    Args:
        found: Where the promise comes from.
        counts: Calibration rows of each class.
    """
    return [
        f"of the rows of every class, at most {found.promise.sets:.4g} miss it in their set or are "
        f"called OOD (no class left), on average, from {found.source}, {min(counts):,} to "
        f"{max(counts):,} per class.",
        "assumes: within each class, the calibration rows are like new ID rows.",
    ]
