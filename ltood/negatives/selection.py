"""Which words are far from all classes: by their names, or by the mean image of each.

NegLabel and CSP rank a word by a high quantile, over the classes, of its cosine with the class
names, and keep the smallest. InterNeg keeps words that are farther from the mean image of every
class than the class's own name is, and ranks them by how much.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import DataError
from ltood.negatives.lists import KINDS, Kind
from ltood.negatives.settings import Rules


@dataclass(frozen=True)
class Closeness:
    """How close words are to the classes.

    Attributes:
        rank: What words are ranked by, smallest first, [W].
        allowed: Whether a word may be chosen, [W].
    """

    rank: NDArray[np.float64]
    allowed: NDArray[np.bool_]


def by_names(blocks: Iterable[Tensor], names: Tensor, rules: Rules) -> Closeness:
    """Closeness of words to the names of the classes.

    Args:
        blocks: Unit text features of the words, block by block, [w, D].
        names: Unit text features of the class names, [C, D].
        rules: Quantile, and the largest cosine that is allowed.
    """
    ranks, allowed = [], []
    for block in blocks:
        cosines = block @ names.T
        ranks.append(torch.quantile(cosines.double(), rules.quantile, dim=1))
        limit = rules.exclude_above
        largest = cosines.amax(dim=1)
        allowed.append(largest <= limit if limit is not None else torch.ones_like(largest) > 0)
    return Closeness(torch.cat(ranks).cpu().numpy(), torch.cat(allowed).cpu().numpy())


def by_images(blocks: Iterable[Tensor], names: Tensor, images: Tensor) -> Closeness:
    """Closeness of words to the mean image of each class, against the class's own name.

    Args:
        blocks: Unit text features of the words, block by block, [w, D].
        names: Unit text features of the class names, [C, D].
        images: Unit mean image features of the classes, [C, D].
    """
    own = (names * images).sum(dim=1)
    ranks, allowed = [], []
    for block in blocks:
        excess = block @ images.T - own
        ranks.append(excess.double().mean(dim=1))
        allowed.append((excess < 0).all(dim=1))
    return Closeness(torch.cat(ranks).cpu().numpy(), torch.cat(allowed).cpu().numpy())


def select(closeness: Closeness, kinds: Sequence[Kind], rules: Rules) -> NDArray[np.int64]:
    """Numbers of the chosen words, nouns first, the farthest of each kind first.

    A share counts words that are not allowed, too, as published; at least one word is kept of a
    kind that has one. A number is split between the kinds by their allowed words.

    Args:
        closeness: Of all words.
        kinds: Their kinds, [W].
        rules: Share or number.

    Raises:
        DataError: If no word is allowed.
    """
    given = np.array(kinds)
    orders = []
    for kind in KINDS:
        rows = np.flatnonzero((given == kind) & closeness.allowed)
        # Stable, so that words of equal rank keep the order of the list.
        orders.append(rows[np.argsort(closeness.rank[rows], kind="stable")])
    if rules.labels is None:
        sizes = [max(1, int(rules.share * int((given == kind).sum()))) for kind in KINDS]
    else:
        adjectives = int(rules.labels * len(orders[1]) / max(1, sum(map(len, orders))))
        sizes = [rules.labels - adjectives, adjectives]
    found = np.concatenate([order[:size] for order, size in zip(orders, sizes, strict=True)])
    if not len(found):
        raise DataError(
            f"none of the {len(given)} words may be a negative label: all are too close to a "
            "class; give more words, raise negatives.exclude_above, or take another recipe."
        )
    return found.astype(np.int64)
