"""Division of pictures into train, val and test, by a rule that never moves a picture again.

Pictures of the same bytes go together. New ones are taken in an order that their bytes and the
seed decide, so neither names nor the machine matter. Each class gets its shares, rounded up or
down: ten pictures and shares of 0.7, 0.1 and 0.2 give seven, one and two. Within that a picture
goes to the split that is furthest below its share of all, so that many classes of three pictures
still give a val. The first picture of a class is for training, and so is what shows up in several
classes. NumPy only.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")
#: Where a row of unknown split goes.
UNKNOWN = -1
_TRAIN = 0


@dataclass(frozen=True)
class Rule:
    """Rule by which pictures are divided.

    Attributes:
        shares: Shares of train, val and test, which sum to 1.
        seed: Chooses among divisions.
    """

    shares: tuple[float, float, float]
    seed: int = 0

    def describe(self) -> str:
        """The rule as part of a file name, such as "70-10-20_0"."""
        return f"{'-'.join(f'{100 * share:.6g}' for share in self.shares)}_{self.seed}"

    def weights(self) -> tuple[list[int], int]:
        """The shares as whole numbers, and their common denominator, so that ties are exact."""
        exact = [Fraction(repr(float(share))) for share in self.shares]
        whole = math.lcm(*(share.denominator for share in exact))
        return [int(share * whole) for share in exact], whole


def divide(
    labels: NDArray[np.int64],
    digests: Sequence[bytes],
    rule: Rule,
    known: NDArray[np.int8],
    remembered: Mapping[bytes, int] | None = None,
) -> NDArray[np.int8]:
    """Give every row a split.

    Args:
        labels: Classes, [N], 0 or more.
        digests: Digest of each picture's bytes, N of them.
        rule: The rule.
        known: Numbers of splits given before, into `SPLITS`, [N]; `UNKNOWN` for new rows.
        remembered: Split numbers of further pictures by digest, such as those that are gone.

    Returns:
        Number of each row's split, [N]; where it was known it is the same.

    Example:
        >>> digests = [bytes([row]) for row in range(10)]
        >>> new = np.full(10, UNKNOWN, np.int8)
        >>> found = divide(np.zeros(10, np.int64), digests, Rule((0.7, 0.1, 0.2)), new)
        >>> np.bincount(found).tolist()
        [7, 1, 2]
    """
    found = known.copy()
    by_digest = dict(remembered or {})
    for row in np.flatnonzero(found != UNKNOWN).tolist():
        by_digest.setdefault(digests[row], int(found[row]))
    units: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(found == UNKNOWN).tolist():
        if digests[row] in by_digest:
            found[row] = by_digest[digests[row]]
        else:
            units.setdefault(digests[row], []).append(row)
    filling = _Filling(rule)
    for label, split in zip(labels.tolist(), found.tolist(), strict=True):
        if split != UNKNOWN:
            filling.add([label], split)
    for rows in _ordered(units, labels, rule.seed):
        classes = [int(labels[row]) for row in rows]
        found[rows] = split = filling.next_split(classes)
        filling.add(classes, split)
    return found


class _Filling:
    """Pictures that each split has, by class and in all, and where the next ones go."""

    def __init__(self, rule: Rule) -> None:
        self._weights, self._whole = rule.weights()
        self._counts: dict[int, list[int]] = {}
        self._all = [0, 0, 0]

    def add(self, classes: Sequence[int], split: int) -> None:
        """Count pictures of the given classes."""
        for label in classes:
            self._counts.setdefault(label, [0, 0, 0])[split] += 1
        self._all[split] += len(classes)

    def next_split(self, classes: Sequence[int]) -> int:
        """Split of pictures of the same bytes with the given classes."""
        have = self._counts.get(classes[0], [0, 0, 0])
        if len(set(classes)) > 1 or not have[_TRAIN]:
            return _TRAIN
        more, splits = len(classes), range(len(SPLITS))
        exact = [weight * (sum(have) + more) for weight in self._weights]
        # Rounded down the shares must be there, and rounded up they must not be passed.
        lacking = [split for split in splits if have[split] < exact[split] // self._whole]
        room = [s for s in splits if self._whole * (have[s] + more - 1) < exact[s]]
        total = sum(self._all) + more
        below = [
            (weight * total - self._whole * num, share - self._whole * own)
            for weight, num, share, own in zip(self._weights, self._all, exact, have, strict=True)
        ]
        return max(lacking or room or splits, key=below.__getitem__)


def _ordered(
    units: Mapping[bytes, list[int]], labels: NDArray[np.int64], seed: int
) -> list[list[int]]:
    """Rows of the same bytes together, in the order of the seed; those of several classes first."""
    key = f"ltood split {seed}".encode()

    def rank(digest: bytes) -> tuple[bool, bytes]:
        is_mixed = len({int(labels[row]) for row in units[digest]}) > 1
        return not is_mixed, hashlib.blake2b(digest, digest_size=16, key=key).digest()

    return [units[digest] for digest in sorted(units, key=rank)]
