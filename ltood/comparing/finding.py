"""What is found of one combination while its scores come in, split by split."""

from collections.abc import Mapping
from typing import Any

from ltood.core.prior import ClassPrior
from ltood.evaluation.comparison import Comparison, joined
from ltood.evaluation.config import SetGroups
from ltood.evaluation.groups import with_alarms
from ltood.evaluation.measures import sections
from ltood.store.layout import CSID_PREFIX
from ltood.store.scores import ScoreSplit


class Found:
    """Metrics of one combination; OOD sets are added one by one, and their scores let go."""

    def __init__(self, known: Mapping[str, ScoreSplit], prior: ClassPrior) -> None:
        """Take the ID side.

        Args:
            known: Scores of the splits test and csid_<name>.
            prior: Training counts of the classes.
        """
        self._test = known["test"]
        self._shifted = {
            name.removeprefix(CSID_PREFIX): rows for name, rows in known.items() if name != "test"
        }
        self._spectrum = joined([*known.values()]) if self._shifted else None
        self._prior = prior
        self._per_set: dict[str, dict[str, Any]] = {}
        self._full: dict[str, dict[str, Any]] = {}

    def add(self, split: str, rows: ScoreSplit) -> None:
        """Compare with one OOD set.

        Args:
            split: Its split, such as "ood_svhn".
            rows: Its scores.

        Raises:
            DataError: If labels or scores break a rule.
        """
        plain = Comparison.of(split, self._test, rows)
        self._per_set[plain.name] = with_alarms(plain, self._prior)
        if self._spectrum is not None:
            full = Comparison.of(split, self._spectrum, rows)
            self._full[full.name] = with_alarms(full, self._prior)

    def sections(self, groups: SetGroups) -> dict[str, Any]:
        """Sections as `Evaluation.metrics` has them, with false alarms by class group."""
        return sections(self._test, self._shifted, self._per_set, self._full, groups, self._prior)
