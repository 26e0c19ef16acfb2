"""The table of metrics that judge classifier and detector together, of one OOD set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from ltood.metrics import accepted_accuracy, augrc, aurc, auroc
from ltood.metrics._judged import Judged
from ltood.metrics._ranking import Ranking


@dataclass(frozen=True)
class JudgedMetric:
    """One metric of an OOD set that also reads which ID rows are classified rightly.

    Attributes:
        key: Key in metrics.json.
        name: Heading that stands alone.
        meaning: One sentence for a reader who meets the metric for the first time.
        computed_by: Papers and libraries whose code computes it.
        function: The metric, a fraction; None where it has no rows.
        higher_is_better: Which end is best.
    """

    key: str
    name: str
    meaning: str
    computed_by: str
    function: Callable[[Judged], float | None]
    higher_is_better: bool


def _right(judged: Judged) -> float | None:
    return _auroc(judged.against_ood(judged.right))


def _wrong(judged: Judged) -> float | None:
    return _auroc(judged.against_ood(judged.wrong))


def _auroc(ranking: Ranking | None) -> float | None:
    return None if ranking is None else auroc.from_ranking(ranking)


#: Rate, how keys and headings write its level, and the level.
_LEVELS: tuple[tuple[accepted_accuracy.Rate, str, float], ...] = (
    ("fpr", "1e-4", 1e-4),
    ("fpr", "1e-3", 1e-3),
    ("fpr", "1e-2", 1e-2),
    ("fpr", "1e-1", 1e-1),
    ("tpr", "98", 0.98),
    ("tpr", "95", 0.95),
    ("tpr", "90", 0.90),
    ("tpr", "80", 0.80),
)

_ROWS = (
    JudgedMetric(
        "auroc_right",
        "AUROC, right ID rows",
        "AUROC of OOD images against the ID images that are classified rightly.",
        "One Model, Many Behaviors (WACV 2026)",
        _right,
        auroc.HIGHER_IS_BETTER,
    ),
    JudgedMetric(
        "auroc_wrong",
        "AUROC, wrong ID rows",
        "AUROC of OOD images against the ID images that are classified wrongly; a detector of "
        "doubt rather than of novelty is low here.",
        "One Model, Many Behaviors (WACV 2026)",
        _wrong,
        auroc.HIGHER_IS_BETTER,
    ),
    JudgedMetric(
        "aurc",
        "AURC",
        "Share of failures among accepted images, averaged over all shares of accepted images; "
        "wrongly classified and OOD images are failures.",
        "selective classification",
        aurc.from_judged,
        aurc.HIGHER_IS_BETTER,
    ),
    JudgedMetric(
        "augrc",
        "AUGRC",
        "Chance that an image is accepted and fails, averaged over all shares of accepted images.",
        "selective classification",
        augrc.from_judged,
        augrc.HIGHER_IS_BETTER,
    ),
    *(
        JudgedMetric(
            f"acc_at_{rate}_{label}",
            f"ACC@{rate.upper()} {label}",
            f"Accuracy of the accepted ID images where the {rate.upper()} is nearest to {level:g}, "
            "OOD positive.",
            "PASCL, EAT",
            partial(accepted_accuracy.from_judged, level=level, rate=rate),
            accepted_accuracy.HIGHER_IS_BETTER,
        )
        for rate, label, level in _LEVELS
    ),
)

#: Metrics of classifier and detector together, by their key in metrics.json.
JUDGED: Mapping[str, JudgedMetric] = {metric.key: metric for metric in _ROWS}


def measure_judged(judged: Judged) -> dict[str, float | None]:
    """Every such metric of one OOD set by its key; None where it has no rows."""
    return {key: metric.function(judged) for key, metric in JUDGED.items()}
