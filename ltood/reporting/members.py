"""What an ensemble made of its members on held-out ID rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltood.reporting.tables import Cell, Row, percent


@dataclass(frozen=True)
class MembersPanel:
    """Section of the report on the members of an ensemble.

    Attributes:
        lead: What the table shows.
        headings: Columns of the table.
        rows: Members in their order; those in use are marked.
    """

    lead: str
    headings: Sequence[str]
    rows: Sequence[Row]


def members_panel(method: Mapping[str, Any]) -> MembersPanel | None:
    """The section, or None where the method holds no members.

    Args:
        method: What the scores record of their method.
    """
    members = method.get("findings", {}).get("members")
    if members is None:
        return None
    in_use = sum(member["kept"] for member in members)
    lead = (
        f"{in_use} of {len(members)} members are in use. The figure is the AUROC, in percent, with "
        "which a member ranks held-out ID rows that the head misclassifies above those that it "
        "gets right: no OOD row is needed for it. Members below the setting screen "
        f"({100 * method['settings']['screen']:g} %) are left out, unless all are."
    )
    return MembersPanel(lead, ["AUROC of errors", "In use"], [_row(member) for member in members])


def _row(member: Mapping[str, Any]) -> Row:
    title, kept = member["member"], member["kept"]
    cells = [
        Cell(percent(member["error_auroc"], f"error_auroc of {title}")),
        Cell("yes" if kept else "no", is_text=True),
    ]
    return Row(title, cells, is_marked=kept)
