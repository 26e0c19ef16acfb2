"""Warnings about the figures of a report."""

from collections.abc import Mapping
from typing import Any

from ltood.evaluation.tables import stream_note
from ltood.reporting.leaderboard import Leaderboard

#: A method this far above the report's own in mean AUROC is pointed out (a fraction).
FAR_BETTER = 0.05
#: With fewer rows on the positive side, FPR at 95 % recall rests on fewer than 10 of them.
FEW_ROWS = 200


def cautions(metrics: Mapping[str, Any], board: Leaderboard | None) -> list[str]:
    """Sentences on results worse than guessing, better methods and small sets; of OOD sets alone.

    Args:
        metrics: Content of metrics.json.
        board: The table of all methods, if there is one.
    """
    found = []
    if "stream" in metrics:
        note = stream_note(metrics["stream"])
        found.append(
            f"{note[0].upper()}{note[1:]}. Methods that see one row at a time are not comparable."
        )
    if "ood" not in metrics:
        return found
    worse = [name for name, values in metrics["ood"].items() if values["auroc"] < 0.5]
    mean = metrics["mean"]["auroc"]
    if worse:
        found.append(
            f"AUROC is below 50 % on {', '.join(worse)}: the method ranks these OOD images below "
            "ID images, which is worse than guessing. Choose another method or other settings."
        )
    if board is not None and board.best is not None and board.best[1] - mean > FAR_BETTER:
        name, best = board.best
        found.append(
            f"On the same features {name} reaches a mean AUROC of {100 * best:.2f} %, "
            f"{100 * (best - mean):.2f} points more than the method of this report (see All "
            "methods)."
        )
    for side, key in (("OOD", "num_ood"), ("ID", "num_id")):
        few = {name: row[key] for name, row in metrics["ood"].items() if row[key] < FEW_ROWS}
        if few:
            counted = ", ".join(f"{name} ({count:,})" for name, count in few.items())
            found.append(
                f"Fewer than {FEW_ROWS} {side} images: {counted}. FPR95 with {side} positive then "
                "depends on fewer than 10 of them, and the nearest and the first threshold can "
                "differ widely; compare AUROC and the intervals instead."
            )
    return found
