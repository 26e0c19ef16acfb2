"""What is said at the end of a call: how many inputs got which verdict, by what, how fast."""

import time
from collections import Counter
from collections.abc import Iterator

from ltood.core.words import counted
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.verdicts import ERROR, ID, OOD, Verdict
from ltood.runtime.console import one_line

#: Classes that are named one by one, and inputs without a verdict whose reason is shown.
_CLASSES, _REASONS = 5, 1


class Summary:
    """Counts of verdicts as they pass by.

    Attributes:
        counts: Rows by verdict.
        classes: ID rows by class.
        skipped: Inputs without a verdict that were left out.
    """

    def __init__(self, *, has_pauses: bool = False) -> None:
        """Begin to count, and to take the time.

        Args:
            has_pauses: Whether inputs are waited for, so that their number in the time says
                nothing.
        """
        self._has_pauses = has_pauses
        self.counts: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.skipped = 0
        self._reasons: list[str] = []
        self._start = time.monotonic()

    def counted(self, verdicts: Iterator[Verdict]) -> Iterator[Verdict]:
        """The same verdicts, each counted before it is handed on."""
        for verdict in verdicts:
            self.add(verdict)
            yield verdict

    def add(self, verdict: Verdict) -> None:
        """Count one row."""
        self.counts[verdict.verdict] += 1
        if verdict.verdict == ID and verdict.class_name is not None:
            self.classes[verdict.class_name] += 1
        if verdict.reason is not None and len(self._reasons) < _REASONS:
            name = one_line(verdict.name)
            named = verdict.reason.startswith(name)
            self._reasons.append(verdict.reason if named else f"{name}: {verdict.reason}")

    @property
    def judged(self) -> int:
        """Rows with a verdict."""
        return self.counts[ID] + self.counts[OOD]

    @property
    def not_judged(self) -> int:
        """Inputs without a verdict."""
        return self.counts[ERROR] + self.skipped

    def lines(self, detector: DeployedDetector) -> list[str]:
        """The summary, a few lines.

        Args:
            detector: What judged the rows.
        """
        total = self.judged + self.not_judged
        parts = [f"{self.counts[ID]:,} ID", f"{self.counts[OOD]:,} OOD{self._share()}"]
        if self.not_judged:
            parts.append(f"{self.not_judged:,} not judged")
        lines = [f"{counted(total, 'input')}: {', '.join(parts)}"]
        lines += [f"not judged, for example: {reason}" for reason in self._reasons]
        if self.classes:
            lines.append(f"classes of ID rows: {self._classes()}")
        if detector.rule is None:
            lines.append(_threshold(detector))
        seconds = time.monotonic() - self._start
        is_told = seconds >= 1 and total and not self._has_pauses
        rate = f", {_rate(total / seconds)} inputs a second" if is_told else ""
        lines.append(f"{seconds:,.1f} s{rate}")
        return lines

    def _share(self) -> str:
        if not self.judged:
            return ""
        of = " of those judged" if self.not_judged else ""
        return f" ({self.counts[OOD] / self.judged:.1%}{of})"

    def _classes(self) -> str:
        shown = ", ".join(f"{name} {num:,}" for name, num in self.classes.most_common(_CLASSES))
        more = len(self.classes) - _CLASSES
        return f"{shown}, … {more} more" if more > 0 else shown


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _threshold(detector: DeployedDetector) -> str:
    """The threshold, and what it was set on."""
    known = detector.description.get("threshold", {})
    text = f"threshold {detector.threshold:.6g}"
    if known.get("value") != detector.threshold:
        return f"{text}, as given"
    return (
        f"{text} accepts {known['accepted']:.2%} of the {counted(known['rows'], 'ID row')} of "
        f"{known['split']} that set it"
    )
