"""What a choice found, as plain values for reports, files and the console."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.choosing.candidates import COSTS
from ltood.choosing.choice import Choice, weights


def findings(choice: Choice, seed: int) -> dict[str, Any]:
    """Everything that decided a choice, as JSON holds it.

    Returns:
        The candidates, best first, with mean rank, standard error, mean AUROC by kind of
        outliers and cost; which is chosen and why; draws, kinds and their weights, seed;
        candidates that were left out or not tried, and what repeats the choice.
    """
    return {
        "chosen": choice.chosen.title,
        "best": choice.tried[choice.standing.best].title,
        "reason": reason(choice),
        "candidates": _candidates(choice),
        "left_out": [{"title": each.title, "reason": why} for each, why in choice.left_out],
        "untried": [each.title for each in choice.untried],
        "repeat": None if choice.repeat is None else {"budget": choice.repeat},
        "seed": seed,
        "rows": choice.rows,
        "head": "slice" if choice.plan.decay is None else "refit",
        "kinds": dict(zip(choice.kinds, weights(choice.kinds), strict=True)),
        "draws": [{"share": draw.share, "held_out": list(draw.held_out)} for draw in choice.draws],
    }


def reason(choice: Choice) -> str:
    """Why the chosen candidate was chosen, as one sentence."""
    rank, error = choice.standing.mean_rank, choice.standing.error
    best, chosen = choice.standing.best, choice.standing.chosen
    title = choice.tried[chosen].title
    lead = f"{title} has the lowest mean rank, {rank[best]:.2f} ± {error[best]:.2f}"
    if best == chosen:
        return f"{lead}, and no cheaper candidate is within one standard error of it."
    return (
        f"{title} is the cheapest candidate within one standard error of the best, "
        f"{choice.tried[best].title}: mean rank {rank[chosen]:.2f} against {rank[best]:.2f} ± "
        f"{error[best]:.2f}."
    )


def _candidates(choice: Choice) -> list[dict[str, Any]]:
    means = _means(choice.aurocs)
    order = sorted(range(len(choice.tried)), key=lambda it: choice.standing.mean_rank[it])
    return [
        {
            "title": choice.tried[place].title,
            "entries": choice.tried[place].in_full(),
            "mean_rank": float(choice.standing.mean_rank[place]),
            "standard_error": float(choice.standing.error[place]),
            "auroc": {kind: _value(means[row, place]) for row, kind in enumerate(choice.kinds)},
            "cost": COSTS[choice.tried[place].cost],
            "chosen": place == choice.standing.chosen,
        }
        for place in order
    ]


def _means(aurocs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean AUROC over the draws that have rows of a kind, [K, M]; NaN where none has."""
    counts = (~np.isnan(aurocs)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = np.nansum(aurocs, axis=0) / counts
    return means


def _value(auroc: float) -> float | None:
    """A number as JSON holds it."""
    return None if np.isnan(auroc) else float(auroc)
