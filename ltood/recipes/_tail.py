"""The classes that recipes call the tail."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior


def tail_classes(prior: ClassPrior, share: float, where: str, *, index_order: bool) -> Tensor:
    """Which classes are the tail, [C] bool.

    Args:
        prior: Training counts.
        share: Share of the classes that are the tail, above 0 to 1; rounded as PASCL does.
        where: Path of the section, such as "recipes.pascl".
        index_order: Take the classes with the highest index instead of those with the fewest
            images, as the official code does.

    Raises:
        ConfigError: If the tail would have no class.
    """
    num = prior.num_classes
    num_head = round((1 - share) * num)
    if num_head == num:
        raise ConfigError(
            f"{where}.tail_share is {share}, which leaves none of {num} classes for the tail; set "
            f"it to {1 / num:.2g} or more."
        )
    ranked = ranked_classes(prior, index_order=index_order)
    is_tail = torch.zeros(num, dtype=torch.bool)
    is_tail[torch.from_numpy(ranked[num_head:])] = True
    return is_tail


def ranked_classes(prior: ClassPrior, *, index_order: bool) -> NDArray[np.intp]:
    """Classes from the most frequent to the rarest, [C].

    Args:
        prior: Training counts.
        index_order: In the order of their index instead, as official code takes them.
    """
    # A stable sort gives the official order wherever classes are sorted by count.
    return np.arange(prior.num_classes) if index_order else np.argsort(-prior.counts, kind="stable")
