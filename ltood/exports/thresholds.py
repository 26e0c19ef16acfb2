"""Thresholds of score stores: given, or found on ID rows that the network has not learned."""

import math

from ltood.core.errors import ConfigError, StoreError
from ltood.deployment.exporting import threshold_at
from ltood.exports.rows import RowTable
from ltood.runtime.console import log
from ltood.store.layout import ID_SPLITS

#: Split whose rows set a threshold where none is named.
_DEFAULT = "val"


def set_thresholds(
    table: RowTable, *, threshold: float | None, tpr: float, split: str | None
) -> None:
    """Give every score store of a table a threshold.

    Its scores of that split are held in memory at once.

    Args:
        table: The table.
        threshold: Largest score that counts as ID; only where there is one score store.
        tpr: Share of ID rows to accept where no threshold is given, above 0 up to 1.
        split: ID split whose rows set it; val by default, and without val there is no verdict.

    Raises:
        ConfigError: If a threshold is given for several score stores or is not finite, or `tpr` is
            out of range.
        StoreError: If the named split is not an ID split of the stores.
    """
    if threshold is not None:
        if len(table.scores) != 1:
            raise ConfigError(
                f"--threshold is one score, and there are {len(table.scores)} score stores; leave "
                "it out, or export one store at a time."
            )
        if not math.isfinite(threshold):
            raise ConfigError(
                f"--threshold is {threshold}; it is the largest score that counts as ID, so give a "
                "finite number."
            )
        table.thresholds.update(dict.fromkeys(table.scores, threshold))
        return
    for name, store in table.scores.items():
        named = split or _DEFAULT
        if named not in store.splits or named not in ID_SPLITS:
            if split is not None:
                present = [known for known in store.splits if known in ID_SPLITS]
                raise StoreError(
                    f"{store.path} cannot set its threshold on {split!r}; its ID splits are "
                    f"{', '.join(present) or 'none'}."
                )
            log(
                f"{store.path} has no split {_DEFAULT} to set a threshold on, so there is no "
                "verdict; name one with --threshold-split, or give --threshold."
            )
            continue
        rows = store.rows(named)
        table.thresholds[name] = threshold_at(rows.read("scores", 0, len(rows)), tpr)
