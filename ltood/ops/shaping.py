"""Changes of activations and head weights, with the percentiles that decide them."""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from ltood.core.batches import Features
from ltood.core.inputs import FitInputs
from ltood.core.limits import Limits
from ltood.ops.lengths import remeasured
from ltood.ops.statistics import activations, rows_sorted

#: A number, a percentile of the training activations, or no clip.
Clip = Annotated[float, Limits(above=0, finite=False)] | Literal["auto"] | None

#: What ASH does with the activations that stay: p leaves them, b sets each to the row's sum over
#: their number, s multiplies them by the exponential of the row's sum over theirs.
Variant = Literal["p", "b", "s"]

#: Default percentile of "auto". The customary 90th wrecks ReAct on networks whose useful
#: activations are rare: on the CIFAR-10 DenseNet it lies at 0.41, while the authors of
#: HIMPLoS clip at 1.6, its 98th percentile.
CLIP_PERCENTILE = 98.0

#: Largest exponent of a scale, so that scaled logits stay finite in float32. On features
#: after a ReLU no percentile below 98 gets there.
LARGEST_EXPONENT = 50.0

#: Norms below this count as this, so that a zero feature gets the cosine 0.
SMALLEST_NORM = 1e-8


def clip_above(features: Features, ceiling: Tensor | float) -> Features:
    """Features with every activation above `ceiling` set to it, [N, D]; a new tensor."""
    return torch.clamp(features, max=ceiling)


def clip_ceiling(clip: Clip, percentile: float, inputs: FitInputs) -> float:
    """Turn the setting into a number.

    Args:
        clip: A number, "auto" or None.
        percentile: Percentile of all training activations that "auto" stands for.
        inputs: Read for "auto" only.

    Returns:
        The largest activation to let through; infinity where there is no clip.
    """
    if clip is None:
        return math.inf
    if isinstance(clip, str):
        return activations(inputs).percentile(percentile)
    return clip


def number_kept(width: int, percentile: float) -> int:
    """How many of `width` activations stay when `percentile` of 100 are dropped, at least 1.

    As the authors of ASH count: the number to drop is rounded, a half to the even number.
    """
    return max(1, width - round(width * percentile / 100))


def keep_largest(features: Features, percentile: float) -> Features:
    """Features with the smallest activations of each row set to zero, [N, D]; a new tensor.

    Args:
        features: [N, D].
        percentile: Percent of each row's activations to drop, 0 to 100; see `number_kept`.
            All that equal the smallest one that stays stay, too.
    """
    ordered = rows_sorted(features.float())
    thresholds = ordered[:, -number_kept(ordered.shape[1], percentile)]
    return torch.where(features >= thresholds[:, None], features, 0.0)


def mass_ratio(features: Features, percentile: float) -> Tensor:
    """Sum of all activations of each row over the sum of its largest ones, [N].

    Activations below zero count as zero, as they would turn the ratio's sign. The result
    is 1 or more; a row without any positive activation has the ratio 1.

    Args:
        features: [N, D].
        percentile: Percent of each row's activations that the lower sum leaves out; see
            `number_kept`.
    """
    ordered = rows_sorted(features.clamp(min=0).float())
    # Divided by its maximum first, so that no row is too large or small for float32.
    unit = ordered / _nonzero(ordered[:, -1:])
    largest = unit[:, -number_kept(unit.shape[1], percentile) :].sum(dim=1)
    return torch.where(largest > 0, unit.sum(dim=1) / _nonzero(largest), 1.0)


def _nonzero(values: Tensor) -> Tensor:
    """Values with 1 in place of 0, to divide by."""
    return torch.where(values == 0, 1.0, values)


def sharpness_scale(features: Features, percentile: float, offset: float = 0.0) -> Tensor:
    """The exponential of the mass ratio less `offset`, [N]; see `mass_ratio`."""
    exponent = mass_ratio(features, percentile) - offset
    return exponent.clamp(max=LARGEST_EXPONENT).exp()


def binarise(features: Features, percentile: float) -> Features:
    """Rows whose largest activations all equal the row's sum over their number, [N, D].

    Args:
        features: [N, D].
        percentile: Percent of each row's activations to drop.
    """
    # With a threshold of zero, zeros would pass and become as large as all others.
    kept = keep_largest(features, percentile) != 0
    level = features.sum(dim=1) / kept.sum(dim=1).clamp(min=1)
    return torch.where(kept, level[:, None], 0.0)


def shape_largest(
    features: Features, variant: Variant, percentile: float, offset: float = 0.0
) -> Features:
    """Rows as ASH shapes them, [N, D].

    Args:
        features: [N, D].
        variant: What becomes of the activations that stay.
        percentile: Percent of each row's activations to drop.
        offset: Is taken off the exponent of s.
    """
    if variant == "b":
        return binarise(features, percentile)
    kept = keep_largest(features, percentile)
    if variant == "p":
        return kept
    return kept * sharpness_scale(features, percentile, offset)[:, None]


def overall_percentile(values: Tensor, percent: float) -> Tensor:
    """Percentile of all entries together by linear interpolation, 0-d, in their own type.

    Takes two ranks by selection: sorting millions of entries is many times slower.

    Args:
        values: Any shape, at least one entry.
        percent: 0 to 100.
    """
    flat = values.flatten()
    rank = percent / 100 * (len(flat) - 1)
    low = int(rank)
    fraction = rank - low
    below = flat.kthvalue(low + 1).values
    if fraction == 0 or int((flat <= below).sum()) > low + 1:
        return below
    above = flat[flat > below].min()
    gap = above - below
    # The nearer end is the start, as in NumPy: strict comparisons see the last bit.
    return below + gap * fraction if fraction < 0.5 else above - gap * (1 - fraction)


def contributing(weight: Tensor, mean: Tensor, percentile: float) -> Tensor:
    """Head weights whose mean contribution to a logit is among the largest, [C, D] bool.

    Args:
        weight: Head weights, [C, D].
        mean: Mean feature of the training rows, [D] float64.
        percentile: Percent of all C x D weights to drop, 0 to 100; the comparison is
            strict, so 0 drops the smallest and 100 all.
    """
    contributions = weight.double() * mean
    return contributions > overall_percentile(contributions, percentile)


def prototype_cosine(features: Features, prototypes: Tensor) -> Tensor:
    """Cosine of each feature row to its own prototype row, [N].

    Args:
        features: [N, D].
        prototypes: Prototype of the class predicted for each row, [N, D].
    """
    norms = remeasured(features.square().sum(dim=1).sqrt(), features).clamp(min=SMALLEST_NORM)
    prototype_norms = prototypes.square().sum(dim=1).sqrt().clamp(min=SMALLEST_NORM)
    cosine: Tensor = (features * prototypes).sum(dim=1) / (norms * prototype_norms)
    return cosine
