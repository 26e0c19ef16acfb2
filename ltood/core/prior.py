"""Class frequencies of the long-tailed training set, and the groups tables use.

Sources: the group rule is that of the long-tailed recognition literature as the
official PASCL, PATT and ImOOD evaluations apply it. NumPy only, so that metrics
and reports need no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError

Group = Literal["many", "medium", "few"]
GROUPS: tuple[Group, ...] = ("many", "medium", "few")
#: Classes that a message names.
_SHOWN = 10


@dataclass(frozen=True, eq=False)
class ClassPrior:
    """Training counts of each class, and the class prior that follows from them.

    Attributes:
        counts: Training samples of each class, [C] int64, none negative.
        names: Names of the classes, [C], for messages; empty where they are not known.
    """

    counts: NDArray[np.int64]
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the counts and freeze them."""
        counts = np.array(self.counts, dtype=np.int64)
        if counts.ndim != 1 or len(counts) < 1:
            raise DataError(f"class counts have shape {counts.shape}; they must be one list [C].")
        if (counts < 0).any():
            row = int(np.argmax(counts < 0))
            called = self._called([row])
            raise DataError(f"class {called} has the count {counts[row]}; counts are 0 or more.")
        if counts.sum() == 0:
            raise DataError("every class count is 0; a prior needs at least one training sample.")
        counts.flags.writeable = False
        object.__setattr__(self, "counts", counts)

    @classmethod
    def of(cls, counts: "Counts") -> "ClassPrior":
        """A prior as it is, or the prior of class counts, [C] whole numbers.

        Raises:
            DataError: If the counts are not whole numbers or break a rule of a prior.
        """
        if isinstance(counts, ClassPrior):
            return counts
        try:
            given = np.asarray(counts)
        except (ValueError, TypeError) as error:
            raise DataError("class counts are not one list of whole numbers, [C].") from error
        if given.dtype.kind not in "iu":
            raise DataError(f"class counts are {given.dtype}; they must be whole numbers, [C].")
        return cls(given)

    @classmethod
    def uniform(cls, num_classes: int) -> "ClassPrior":
        """Prior of `num_classes` equally frequent classes."""
        return cls(np.ones(num_classes, dtype=np.int64))

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.counts)

    def probabilities(self) -> NDArray[np.float64]:
        """Share of each class among the training samples, [C], sums to 1.

        Raises:
            DataError: If a class has no training sample; dividing by its share
                would give infinite scores.
        """
        if (self.counts == 0).any():
            empty = np.flatnonzero(self.counts == 0).tolist()
            more = f" and {len(empty) - _SHOWN:,} more" if len(empty) > _SHOWN else ""
            raise DataError(
                f"classes [{self._called(empty[:_SHOWN])}{more}] have no training images, so their "
                "prior is 0 and nothing can be divided by it; remove them from the class list or "
                "add images."
            )
        shares: NDArray[np.float64] = self.counts / self.counts.sum()
        return shares

    def _called(self, rows: Sequence[int]) -> str:
        """Classes as people know them: by name, by number where names are not known."""
        return ", ".join(self.names[row] if row < len(self.names) else str(row) for row in rows)

    def log(self) -> NDArray[np.float64]:
        """Natural logarithm of `probabilities()`, [C]."""
        return np.log(self.probabilities())

    def groups(self) -> NDArray[np.str_]:
        """Name each class "many", "medium" or "few", [C].

        Up to 100 classes the borders are the counts at ranks int(.34 C) and
        int(.67 C) of the sorted counts; above 100 classes more than 100 samples
        is many and fewer than 20 is few. Sorting first gives the official groups
        for sorted counts and stays right where class order is not frequency order.
        """
        counts, num = self.counts, self.num_classes
        if num <= 100:
            ranked = np.sort(counts)[::-1]
            above, below = ranked[int(0.34 * num)], ranked[int(0.67 * num)]
        else:
            above, below = 100, 20
        names = np.full(num, "medium", dtype="<U6")
        names[counts > above] = "many"
        names[counts < below] = "few"
        return names


#: What callers may pass for a prior: one, or its class counts.
Counts = ClassPrior | NDArray[Any] | Sequence[int]
