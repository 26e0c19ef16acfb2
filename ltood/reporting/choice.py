"""How the method was chosen, where the method `auto` chose it: reason, table, ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltood.reporting import figures
from ltood.reporting.panels import Panel
from ltood.reporting.tables import Cell, Row, percent

#: Headings of the kinds of outliers that candidates were tried on.
_KINDS = {
    "held_out": "Held-out classes",
    "mixup": "Mixtures",
    "shuffle": "Shuffled",
    "noise": "Noise",
    "declared": "Declared outliers",
}


@dataclass(frozen=True)
class ChoicePanel:
    """Section of the report on a choice.

    Attributes:
        reason: Why the chosen candidate was chosen.
        lead: How the choice was made.
        headings: Columns of the table.
        rows: Candidates, best first.
        ranks: Figure of the mean ranks.
        without_rank: Candidates that were left out or not tried, and why.
    """

    reason: str
    lead: str
    headings: Sequence[str]
    rows: Sequence[Row]
    ranks: Panel
    without_rank: Sequence[tuple[str, str]]


def choice_panel(method: Mapping[str, Any]) -> ChoicePanel | None:
    """The section, or None where the method was named and not chosen.

    Args:
        method: What the scores record of their method.
    """
    found = method.get("findings", {}).get("choice")
    if found is None:
        return None
    candidates = found["candidates"]
    ranks = {row["title"]: (row["mean_rank"], row["standard_error"]) for row in candidates}
    figure = figures.mean_ranks(
        ranks, found["chosen"], "Mean rank of each candidate with its standard error"
    )
    untried = [(title, "not tried: the budget was too small") for title in found["untried"]]
    return ChoicePanel(
        found["reason"],
        _lead(found),
        ["Mean rank", "Standard error", *(_KINDS[kind] for kind in found["kinds"]), "It reads"],
        [_row(row, found["kinds"]) for row in candidates],
        Panel(figure, "Rank among the candidates, mean over draws and kinds of outliers."),
        [*((row["title"], row["reason"]) for row in found["left_out"]), *untried],
    )


def _lead(found: Mapping[str, Any]) -> str:
    shares = ", ".join(
        f"{100 * share:g} %" for share in dict.fromkeys(draw["share"] for draw in found["draws"])
    )
    return (
        f"By {found['rows']:,} held-out ID rows alone, before any OOD set was read: in "
        f"{len(found['draws'])} draws (seed {found['seed']}), {shares} of the classes were held "
        "out and every candidate was fitted without them. The columns are mean AUROC in percent "
        "against rows of the held-out classes and against outliers made of ID rows. Only ranks "
        "count: the network has seen the held-out classes, so that these figures are better than "
        "on real outliers."
    )


def _row(candidate: Mapping[str, Any], kinds: Sequence[str]) -> Row:
    title = candidate["title"]
    cells = [
        Cell(f"{candidate['mean_rank']:.2f}"),
        Cell(f"{candidate['standard_error']:.2f}"),
        *(Cell(percent(candidate["auroc"][kind], f"{kind} of {title}")) for kind in kinds),
        Cell(candidate["cost"], is_text=True),
    ]
    return Row(title, cells, is_marked=candidate["chosen"])
