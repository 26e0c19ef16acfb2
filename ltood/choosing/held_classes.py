"""Draws of classes that are held out, so that their rows can play outliers.

Classes are taken at equal distances from a list sorted by how frequent they are (many, medium,
few) and at random within: every class has the same chance, and each draw holds every group in
proportion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.choosing.keyed import keyed
from ltood.core.errors import DataError
from ltood.core.prior import GROUPS

#: Classes that must remain: with one there is nothing to tell apart.
FEWEST_KEPT = 2
#: Classes with held-out rows that are needed: one to hold out, one to tell it from.
FEWEST_WITH_ROWS = 2
#: Held-out rows of a class that make it worth drawing, where enough classes have so many.
ENOUGH_ROWS = 10


@dataclass(frozen=True)
class Draw:
    """Classes held out in one draw.

    Attributes:
        number: Number of the draw, from 0.
        held_out: Classes held out, ascending.
        kept: All other classes, ascending.
        share: Share of the classes that was asked for.
    """

    number: int
    held_out: tuple[int, ...]
    kept: tuple[int, ...]
    share: float


def draws(
    groups: NDArray[np.str_],
    rows: NDArray[np.int64],
    shares: Sequence[float],
    number: int,
    seed: int,
) -> list[Draw]:
    """Draw classes to hold out.

    Args:
        groups: "many", "medium" or "few" of each class, [C].
        rows: Held-out ID rows of each class, [C]; classes without any are never drawn.
        shares: Shares of the classes to hold out, which the draws take in turn.
        number: Number of draws.
        seed: The same seed gives the same draws.

    Raises:
        DataError: If too few classes would remain or have rows.
    """
    num_classes = len(groups)
    if num_classes <= FEWEST_KEPT:
        raise DataError(
            f"there are {num_classes} classes; auto holds out one or more and needs "
            f"{FEWEST_KEPT} that remain. Name a method instead, such as method: knn."
        )
    with_rows = int((rows > 0).sum())
    if with_rows < FEWEST_WITH_ROWS:
        raise DataError(
            f"{with_rows} of {num_classes} classes have ID rows held out of training; auto holds "
            f"one of them out and needs {FEWEST_WITH_ROWS}. Give val rows of more ID classes."
        )
    return [
        _draw(groups, rows, shares[place % len(shares)], place, seed) for place in range(number)
    ]


def _draw(
    groups: NDArray[np.str_], rows: NDArray[np.int64], share: float, number: int, seed: int
) -> Draw:
    num_classes = len(groups)
    # Of the classes with held-out rows one is kept, too: its rows are the ID rows of the draw.
    most = min(num_classes - FEWEST_KEPT, int((rows > 0).sum()) - 1)
    wanted = min(max(1, round(share * num_classes)), most)
    eligible = np.flatnonzero(rows >= ENOUGH_ROWS)
    if len(eligible) < wanted:
        # Classes with the most rows, as many as are wanted.
        eligible = np.sort(np.argsort(-rows, kind="stable")[:wanted])
    numbers = keyed(torch.from_numpy(eligible), seed, number).numpy()
    frequency = np.array([GROUPS.index(groups[place]) for place in eligible])
    order = eligible[np.lexsort((numbers, frequency))]
    start = float(keyed(torch.tensor([num_classes]), seed, number)[0])
    places = ((np.arange(wanted) + start) * len(order) / wanted).astype(np.int64)
    held_out = np.sort(order[places])
    kept = np.setdiff1d(np.arange(num_classes), held_out)
    return Draw(number, tuple(held_out.tolist()), tuple(kept.tolist()), share)
