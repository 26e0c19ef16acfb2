"""A choice in a few lines for the console."""

from collections.abc import Iterator, Mapping
from typing import Any


def lines(found: Mapping[str, Any], most: int = 5) -> Iterator[str]:
    """Why a candidate was chosen, and the best ones with their ranks.

    Args:
        found: Findings of a choice, as scores and detectors record them.
        most: Candidates to list.
    """
    yield f"{found['reason']} By {found['rows']:,} held-out ID rows."
    candidates = found["candidates"]
    width = max(len(row["title"]) for row in candidates[:most])
    for row in candidates[:most]:
        mark = "*" if row["chosen"] else " "
        rank = f"{row['mean_rank']:6.2f} ± {row['standard_error']:.2f}"
        yield f"{mark} {row['title']:{width}}  mean rank {rank}"
    more = len(candidates) - most
    if more > 0:
        yield f"  and {more} more, of {len(found['draws'])} draws, seed {found['seed']}"
    for row in found["left_out"]:
        yield f"  left out: {row['title']} ({row['reason']})"
    if found["untried"]:
        yield f"  not tried, the budget was too small: {', '.join(found['untried'])}"
