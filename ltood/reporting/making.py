"""How a report was made: when, how long, on what, from which commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltood.reporting.tables import ABSENT, Cell, Row

_COMMIT = 10


@dataclass(frozen=True)
class MakingPanel:
    """Table of the stages.

    Attributes:
        headline: Day of the scores and commit, for the top of the page.
        constant: What all stages share, such as the machine.
        headings: Columns of the table.
        rows: Stages in the order of work.
    """

    headline: str
    constant: list[str]
    headings: list[str]
    rows: list[Row]


def making_panel(records: Mapping[str, Mapping[str, Any] | None]) -> MakingPanel | None:
    """The table, or None where nothing is known of any stage.

    Args:
        records: What was recorded of each stage, in the order of work; None of results that came
            from a cache or another machine.
    """
    known = [record for record in records.values() if record is not None]
    if not known:
        return None
    texts = {stage: record and _texts(record) for stage, record in records.items()}
    shared, varying = [], ["Finished, UTC", "Took"]
    for heading in ("Machine", "Commit", "Python"):
        values = {found[heading] for found in texts.values() if found}
        if len(values) == 1:
            shared.append(f"{heading} {values.pop()}")
        else:
            varying.append(heading)
    rows = [
        Row(
            stage,
            [Cell(ABSENT if not found else found[key], is_text=key != "Took") for key in varying],
        )
        for stage, found in texts.items()
    ]
    last = max(known, key=lambda record: record["finished"])
    headline = f"Scored on {last['finished'][:10]}"
    if last["git"]:
        headline += f" from commit {_commit(last['git'])}"
    total = duration(sum(record["seconds"] for record in known))
    return MakingPanel(f"{headline}; {total} of work.", shared, varying, rows)


def _texts(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Finished, UTC": record["finished"].replace("T", " ").removesuffix("Z"),
        "Took": duration(record["seconds"]),
        "Machine": record["machine"],
        "Commit": _commit(record["git"]) if record["git"] else "none",
        "Python": record["python"],
    }


def _commit(git: Mapping[str, Any]) -> str:
    return f"{git['commit'][:_COMMIT]}{' with uncommitted changes' if git['changed'] else ''}"


def duration(seconds: float) -> str:
    """Seconds in words, such as "4 min 10 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    parts: Sequence[tuple[int, str]] = (
        (whole // 3600, "h"),
        (whole // 60 % 60, "min"),
        (whole % 60, "s"),
    )
    # Two units are enough for anyone.
    used = [part for place, part in enumerate(parts) if any(n for n, _ in parts[: place + 1])][:2]
    return " ".join(f"{number} {unit}" for number, unit in used)
