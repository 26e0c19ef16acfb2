"""Checks of the settings that several recipes share, and the classes they call the tail."""

import math

import numpy as np
import torch
from torch import Tensor

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior


def check_weight(value: float, where: str, harm: str, usual: str) -> None:
    """Refuse the weight of a loss term that is negative or no finite number.

    Args:
        value: The setting's value.
        where: The setting's path, such as "recipes.bin_disc.detector_weight".
        harm: What a negative weight would do, such as "turn the detector round".
        usual: Who uses what, such as "the paper uses 0.5".

    Raises:
        ConfigError: Unless the value is 0 or more.
    """
    if not 0 <= value < math.inf:
        raise ConfigError(
            f"{where} is {value}; a negative weight would {harm}, so set it to 0 or more ({usual})."
        )


def check_aux_per_image(value: float, where: str, usual: str) -> None:
    """Refuse a number of outliers per image that leaves a batch without outliers.

    Args:
        value: The setting's value.
        where: The setting's path, such as "recipes.bin_disc.aux_per_image".
        usual: Who uses what, such as "ImOOD uses 1".

    Raises:
        ConfigError: Unless the value is a finite number above 0.
    """
    if not 0 < value < math.inf:
        raise ConfigError(
            f"{where} is {value}; it is the number of outliers per image, so set it above 0 "
            f"({usual})."
        )


def check_contrast(temperature: float, tail_share: float, dim: int, where: str) -> None:
    """Refuse settings of the contrast among tail classes that mean nothing.

    Args:
        temperature: Divides the cosines; above 0.
        tail_share: Share of the classes that are the tail; above 0 to 1.
        dim: Width of the projection; 1 or more.
        where: Path of the section, such as "recipes.pascl".

    Raises:
        ConfigError: If one of them is out of range.
    """
    if not 0 < temperature < math.inf:
        raise ConfigError(
            f"{where}.temperature is {temperature}; it divides the cosines, so set it above 0 "
            "(PASCL uses 0.07)."
        )
    if not 0 < tail_share <= 1:
        raise ConfigError(
            f"{where}.tail_share is {tail_share}; it is a share of the classes, so set it above 0 "
            "and to at most 1 (PASCL uses 0.4)."
        )
    if dim < 1:
        raise ConfigError(
            f"{where}.dim is {dim}; it is the width of the projection, so set it to 1 or more "
            "(PASCL uses 128)."
        )


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
    # A stable sort gives the official tail wherever classes are sorted by count.
    ranked = np.arange(num) if index_order else np.argsort(-prior.counts, kind="stable")
    is_tail = torch.zeros(num, dtype=torch.bool)
    is_tail[torch.from_numpy(ranked[num_head:])] = True
    return is_tail
