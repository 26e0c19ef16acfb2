"""Whether new inputs are still like the held-out rows: share of OOD, scores, evidence by the row.

Docs: docs/monitoring.md, which says what each test assumes and how often it is wrong.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltood.core.errors import ConfigError
from ltood.deployment.class_shift import ClassCounts, ClassShift
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.references import Reference
from ltood.deployment.rules import RateRule
from ltood.deployment.verdicts import ERROR, OOD, Verdict
from ltood.ops.drift import Cells, excess_p_value, share_interval
from ltood.ops.guarantees import check_share
from ltood.ops.martingales import Martingale

#: How often there is an alarm without drift, at most.
DEFAULT_LEVEL = 0.01
#: Confidence of the interval of the share of OOD.
_CONFIDENCE = 0.95
#: Scores that wait for one another; bounds memory, not results.
_BLOCK = 1024


@dataclass(frozen=True)
class Drift:
    """What a comparison with reference rows has found.

    Attributes:
        rows: New rows with a verdict.
        not_judged: Inputs without one.
        num_ood: Rows that are OOD.
        interval: Interval of Clopper and Pearson for the share of OOD, confidence 0.95.
        promised: Share of OOD among ID rows that the threshold promises; None where it is not one.
        p_share: P-value of the number of OOD rows; None where no single threshold decides.
        gap: Largest difference of the distribution functions; above 0 if new rows score higher.
        p_scores: P-value of the distance of the distributions (Smirnov).
        p_stream: P-value that holds after every row; None unless rows came as a stream.
        alarm_row: Row after which the evidence was largest, if that is an alarm of a stream.
        classes: Whether accepted rows have the class mix of held-out ones; no part of the alarm.
            None where that is not known, and of a stream.
        level: P-value at which there is an alarm.
        reference: What the rows were compared with.
        reference_rows: How many these are.
    """

    rows: int
    not_judged: int
    num_ood: int
    interval: tuple[float, float]
    promised: float | None
    p_share: float | None
    gap: float
    p_scores: float
    p_stream: float | None
    alarm_row: int | None
    classes: ClassShift | None
    level: float
    reference: str
    reference_rows: int

    @property
    def p_value(self) -> float:
        """P-value of "no drift": of the stream, else of both tests together (Bonferroni)."""
        if self.p_stream is not None:
            return self.p_stream
        found = [self.p_scores, *([] if self.p_share is None else [self.p_share])]
        return min(1.0, len(found) * min(found))

    @property
    def is_drift(self) -> bool:
        """Whether there is an alarm."""
        return self.p_value <= self.level

    @property
    def share(self) -> float | None:
        """Share of rows that are OOD; None without rows."""
        return self.num_ood / self.rows if self.rows else None

    def line(self) -> str:
        """The finding in one line."""
        if self.share is None:
            return f"drift: no row was judged, so nothing can be said beside {self.reference}."
        low, high = self.interval
        promised = "" if self.promised is None else f" where {self.promised:.3g} was promised"
        when = " at any time" if self.p_stream is not None else ""
        row = f" (clearest at row {self.alarm_row:,})" if self.alarm_row else ""
        mix = "" if self.classes is None else f", {self.classes.words(self.level)}"
        towards = f", scores {'higher' if self.gap > 0 else 'lower'}" if self.is_drift else ""
        return (
            f"{'drift' + row if self.is_drift else 'no drift seen'}: p = {self.p_value:.2g}{when} "
            f"(alarm at {self.level:g}), share OOD {self.share:.3g} [{low:.3g}, {high:.3g}]"
            f"{promised}{towards}{mix}; {self.rows:,} rows beside {self.reference}."
        )

    def record(self) -> dict[str, Any]:
        """The finding as plain values."""
        return {
            "kind": "ltood drift",
            "schema": 1,
            "drift": self.is_drift,
            "p_value": self.p_value,
            "level": self.level,
            "rows": self.rows,
            "not_judged": self.not_judged,
            "reference": {"source": self.reference, "rows": self.reference_rows},
            "ood": {
                "rows": self.num_ood,
                "share": self.share,
                "interval": list(self.interval),
                "confidence": _CONFIDENCE,
                "promised": self.promised,
                "p_value": self.p_share,
            },
            "scores": {"gap": self.gap, "p_value": self.p_scores},
            "classes": None if self.classes is None else self.classes.record(),
            "stream": None
            if self.p_stream is None
            else {"p_value": self.p_stream, "alarm_row": self.alarm_row},
        }


class Monitor:
    """Compares verdicts with reference rows as they pass by; memory does not grow with them."""

    def __init__(
        self,
        detector: DeployedDetector,
        reference: Reference,
        *,
        level: float = DEFAULT_LEVEL,
        is_stream: bool = False,
    ) -> None:
        """Begin without rows.

        Args:
            detector: What judges the rows.
            reference: Rows that they should be like.
            level: How often there may be an alarm without drift.
            is_stream: Whether somebody looks before the last row, so that the alarm must hold
                after each of them.

        Raises:
            ConfigError: If `level` is out of range.
        """
        check_share("drift level", level, "how often there may be an alarm without drift")
        self._reference, self._level = reference, level
        self._threshold, self._promised = _threshold_of(detector)
        self._cells = Cells(reference.scores)
        self._martingale = Martingale(reference.scores) if is_stream else None
        # A p-value of classes holds at one look, and a stream is looked at after every row.
        self._classes = None
        if reference.classes is not None and self._threshold is not None and not is_stream:
            self._classes = ClassCounts(reference, self._threshold)
        self._waiting: list[float] = []
        self._ood = self._not_judged = 0
        self._has_rung = False

    def watched(self, verdicts: Iterator[Verdict]) -> Iterator[Verdict]:
        """The same verdicts, each compared before it is handed on."""
        for verdict in verdicts:
            self.add(verdict.verdict, verdict.score, verdict.class_name)
            yield verdict

    def add(self, verdict: str, score: float | None, class_name: str | None = None) -> None:
        """Take one row.

        Args:
            verdict: "ID", "OOD" or "error".
            score: Its score; None after an error.
            class_name: Its most likely class; without it nothing is said about the class mix.
        """
        if verdict == ERROR or score is None:
            self._not_judged += 1
            return
        self._ood += verdict == OOD
        if class_name is None:
            self._classes = None
        elif self._classes is not None:
            self._classes.add(class_name, score)
        self._waiting.append(score)
        if len(self._waiting) >= _BLOCK:
            self._take()

    def add_all(self, rows: Iterable[tuple[str, float | None]]) -> None:
        """Take verdicts and scores of several rows, in their order."""
        for verdict, score in rows:
            self.add(verdict, score)

    def _take(self) -> None:
        scores = np.array(self._waiting, dtype=np.float64)
        self._waiting = []
        self._cells.add(scores)
        if self._martingale is not None:
            self._martingale.add(scores)

    def rings(self) -> bool:
        """Whether there is an alarm of the stream for the first time."""
        if self._martingale is None or self._has_rung:
            return False
        self._take()
        self._has_rung = self._martingale.p_value <= self._level
        return self._has_rung

    def found(self) -> Drift:
        """What is known now."""
        self._take()
        rows, stream = self._cells.rows, self._martingale
        known = self._reference.scores
        p_share = None
        if self._threshold is not None:
            beyond = int((known > self._threshold).sum())
            p_share = excess_p_value(self._ood, rows, beyond, len(known))
        p_stream = None if stream is None else stream.p_value
        is_alarm = p_stream is not None and p_stream <= self._level
        return Drift(
            rows=rows,
            not_judged=self._not_judged,
            num_ood=self._ood,
            interval=share_interval(self._ood, rows, _CONFIDENCE),
            promised=self._promised,
            p_share=p_share,
            gap=self._cells.largest_gap(),
            p_scores=self._cells.smirnov()[1],
            p_stream=p_stream,
            classes=None if self._classes is None else self._classes.found(),
            alarm_row=stream.largest_row if stream is not None and is_alarm else None,
            level=self._level,
            reference=self._reference.source,
            reference_rows=len(known),
        )


def _threshold_of(detector: DeployedDetector) -> tuple[float | None, float | None]:
    """The score above which rows are OOD, and the share of ID rows it promises to call so."""
    rule = detector.rule
    if isinstance(rule, RateRule) and rule.threshold is not None:
        return rule.threshold, float(rule.levels)
    if rule is not None:
        return None, None
    known = detector.description.get("threshold", {})
    is_own = known.get("value") == detector.threshold and "tpr" in known
    return detector.threshold, round(1 - known["tpr"], 6) if is_own else None


def refuse_joint(detector: DeployedDetector) -> None:
    """Refuse verdicts that depend on rows still to come.

    Raises:
        ConfigError: With what to use instead.
    """
    if isinstance(detector.rule, RateRule) and detector.rule.is_joint:
        raise ConfigError(
            "fdr decides when all rows are known, and a stream has no last one; use fpr."
        )
