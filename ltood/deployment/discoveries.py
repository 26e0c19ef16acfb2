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
from ltood.deployment.verdicts import ID, OOD, Verdict


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
            if verdict.p_value is not None:  # All but inputs that could not be judged.
                counts[verdict.p_value] += 1
            file.write(json.dumps(verdict.plain()).encode() + b"\n")
        cutoff = rule.cutoff(counts)
        file.seek(0)
        for line in file:
            row = Verdict.of_plain(json.loads(line))
            if row.p_value is not None:
                row = dataclasses.replace(row, verdict=OOD if row.p_value <= cutoff else ID)
            yield row
