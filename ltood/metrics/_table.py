"""The one table of metrics: key, names, direction, and whose code computes it.

A new metric is its file, its test and one row here; evaluation, the report, sweeps and
comparisons read this table.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from ltood.metrics import aupr, auroc, average_precision, fpr_at_tpr
from ltood.metrics._ranking import Ranking


@dataclass(frozen=True)
class Metric:
    """One metric of an OOD set.

    Attributes:
        key: Key in metrics.json.
        name: Heading that stands alone.
        group: Heading over the columns that belong together.
        title: Short heading below `group`.
        meaning: One sentence for a reader who meets the metric for the first time.
        computed_by: Papers and libraries whose code computes it.
        function: The metric of a ranking, a fraction.
        higher_is_better: Which end is best.
        unit: Unit of the value, "fraction".
        is_main: Whether short tables show it and intervals are computed for it.
    """

    key: str
    name: str
    group: str
    title: str
    meaning: str
    computed_by: str
    function: Callable[[Ranking], float]
    higher_is_better: bool
    unit: str
    is_main: bool = False


_SEPARATION = "Separation"
_FPR = "FPR at 95 % recall"
_OUT = "Precision-recall, OOD positive"
_IN = "Precision-recall, ID positive"


def _metric(
    module: ModuleType,
    key: str,
    names: tuple[str, str, str],
    meaning: str,
    computed_by: str,
    *,
    is_main: bool = False,
    **options: Any,  # noqa: ANN401 - options of that module's `from_ranking`
) -> Metric:
    """A row whose function, direction and unit come from the metric's module."""
    function = partial(module.from_ranking, **options)
    direction, unit = module.HIGHER_IS_BETTER, module.UNIT
    return Metric(key, *names, meaning, computed_by, function, direction, unit, is_main)


_ROWS = (
    _metric(
        auroc,
        "auroc",
        ("AUROC", _SEPARATION, "AUROC"),
        "Chance that a random OOD image scores higher than a random ID image; 50 is guessing, "
        "100 is perfect. The same whichever side is called positive.",
        "everyone",
        is_main=True,
    ),
    _metric(
        fpr_at_tpr,
        "fpr95_ood_pos",
        ("FPR95, OOD positive", _FPR, "OOD positive"),
        "Share of ID images that raise a false alarm when the threshold catches 95 % of the OOD "
        "images.",
        "PASCL, PATT, ImOOD",
        is_main=True,
        positive="ood",
    ),
    _metric(
        fpr_at_tpr,
        "fpr95_id_pos",
        ("FPR95, ID positive", _FPR, "ID positive"),
        "Share of OOD images that slip through when the threshold accepts 95 % of the ID images.",
        "HIMPLoS, LoCoOp, MCM",
        is_main=True,
        positive="id",
    ),
    _metric(
        fpr_at_tpr,
        "fpr95_ood_pos_first",
        ("FPR95, OOD positive, first", _FPR, "OOD positive, first"),
        "As “OOD positive”, at the first threshold that reaches 95 % instead of the nearest one.",
        "OpenOOD, pytorch-ood",
        positive="ood",
        rule="first",
    ),
    _metric(
        fpr_at_tpr,
        "fpr95_id_pos_first",
        ("FPR95, ID positive, first", _FPR, "ID positive, first"),
        "As “ID positive”, at the first threshold that reaches 95 % instead of the nearest one.",
        "no table known to us",
        positive="id",
        rule="first",
    ),
    _metric(
        average_precision,
        "ap_out",
        ("AP, OOD positive", _OUT, "AP"),
        "Average precision in steps: of the images flagged as OOD, how many are, averaged over "
        "all recalls. Depends on the share of OOD images.",
        "PASCL, PATT, ImOOD, HIMPLoS",
        is_main=True,
        positive="ood",
    ),
    _metric(
        aupr,
        "aupr_out",
        ("AUPR, OOD positive", _OUT, "AUPR"),
        "The same area by the trapezoid rule.",
        "OpenOOD, pytorch-ood",
        positive="ood",
    ),
    _metric(
        average_precision,
        "ap_in",
        ("AP, ID positive", _IN, "AP"),
        "Average precision in steps: of the images accepted as ID, how many are, averaged over "
        "all recalls.",
        "PATT, HIMPLoS",
        is_main=True,
        positive="id",
    ),
    _metric(
        aupr,
        "aupr_in",
        ("AUPR, ID positive", _IN, "AUPR"),
        "The same area by the trapezoid rule.",
        "OpenOOD, pytorch-ood",
        positive="id",
    ),
)

#: Metrics by their key in metrics.json, in the order in which tables show them.
METRICS: dict[str, Metric] = {metric.key: metric for metric in _ROWS}


def measure(ranking: Ranking) -> dict[str, float]:
    """Every metric of one OOD set by its key."""
    return {key: metric.function(ranking) for key, metric in METRICS.items()}


def mean_over(sets: Collection[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean of each value over OOD sets, of which each has the same weight.

    A set without a value, None, counts for none; where no set has one there is no mean.
    """
    means: dict[str, Any] = {}
    for key in next(iter(sets)):
        found = [values[key] for values in sets if values[key] is not None]
        means[key] = float(np.mean(found)) if found else None
    return means
