"""Whether accepted inputs have the class mix of the held-out rows: label shift told from OOD.

Rows on both sides count by the class that the detector gives them, and only those below its
threshold: they are alike without drift even where the threshold is one of the held-out scores.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltood.deployment.references import Reference
from ltood.ops.drift import mix_p_value


@dataclass(frozen=True)
class ClassShift:
    """What a comparison of two class mixes has found.

    Attributes:
        p_value: Exact p-value of "the same mix".
        rows: Accepted new rows.
        reference_rows: Accepted held-out rows.
        class_name: Class whose share differs most clearly.
        share: Its share among the new rows.
        reference_share: Its share among the held-out rows.
    """

    p_value: float
    rows: int
    reference_rows: int
    class_name: str
    share: float
    reference_share: float

    def words(self, level: float) -> str:
        """The finding in a few words; the mix differs at a p-value of at most `level`."""
        if self.p_value > level:
            return f"no other class mix seen (p = {self.p_value:.2g})"
        towards = "more" if self.share > self.reference_share else "less"
        return (
            f"class mix differs (p = {self.p_value:.2g}; {towards} {self.class_name}: "
            f"{self.share:.3g}, held out {self.reference_share:.3g})"
        )

    def record(self) -> dict[str, Any]:
        """The finding as plain values."""
        return {
            "p_value": self.p_value,
            "rows": self.rows,
            "reference_rows": self.reference_rows,
            "largest": {
                "class": self.class_name,
                "share": self.share,
                "reference_share": self.reference_share,
            },
        }


class ClassCounts:
    """Counts classes of accepted rows as they pass by; memory does not grow with them."""

    def __init__(self, reference: Reference, threshold: float) -> None:
        """Begin without rows.

        Args:
            reference: Held-out rows with classes.
            threshold: Score below which rows count.
        """
        self._threshold = threshold
        rows = zip(reference.classes or (), reference.scores.tolist(), strict=True)
        self._known = Counter(name for name, score in rows if score < threshold)
        self._new: Counter[str] = Counter()

    def add(self, class_name: str, score: float) -> None:
        """Take one row."""
        if score < self._threshold:
            self._new[class_name] += 1

    def found(self) -> ClassShift | None:
        """What is known now; None without rows on either side."""
        names = sorted(self._known | self._new)
        new, known = (np.array([of[name] for name in names]) for of in (self._new, self._known))
        rows, reference_rows = int(new.sum()), int(known.sum())
        if not rows or not reference_rows:
            return None
        shares, reference_shares = new / rows, known / reference_rows
        clear = (shares - reference_shares) ** 2 / (new + known)
        largest = int(clear.argmax())
        return ClassShift(
            mix_p_value(new, known),
            rows,
            reference_rows,
            names[largest],
            float(shares[largest]),
            float(reference_shares[largest]),
        )
