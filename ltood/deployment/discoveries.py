"""Verdicts that depend on all rows of a call, without holding them in memory.

The rows wait in a temporary file until all p-values are known; of these only the counts are
kept, of which there are at most as many as calibration rows.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from tempfile import TemporaryFile

from ltood.deployment.rules import RateRule
from ltood.deployment.verdicts import Verdict


def settled(verdicts: Iterator[Verdict], rule: RateRule) -> Iterator[Verdict]:
    """Verdicts of a call, decided by the p-values of all of them.

    Args:
        verdicts: Rows with p-values.
        rule: Rule whose `cutoff` decides.

    Yields:
        The same rows in the same order, after the last of them has been read.
    """
    counts: Counter[float] = Counter()
    with TemporaryFile() as file:
        for verdict in verdicts:
            assert verdict.p_value is not None
            counts[verdict.p_value] += 1
            file.write(json.dumps(dataclasses.asdict(verdict)).encode() + b"\n")
        cutoff = rule.cutoff(counts)
        file.seek(0)
        for line in file:
            row = _read(line)
            assert row.p_value is not None
            is_ood = row.p_value <= cutoff
            yield dataclasses.replace(row, verdict="OOD" if is_ood else "ID")


def _read(line: bytes) -> Verdict:
    """A verdict as it was written; JSON has lists where it has tuples, and the same numbers."""
    values = json.loads(line)
    values["nearest"] = tuple((name, cosine) for name, cosine in values["nearest"])
    if values["classes"] is not None:
        values["classes"] = tuple(values["classes"])
    return Verdict(**values)
