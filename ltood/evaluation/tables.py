"""Metrics as tables, in percent, with the columns of the papers."""

from collections.abc import Mapping, Sequence
from typing import Any

from ltood.metrics import columns_of
from ltood.runtime.widths import padded, width


def table_rows(metrics: Mapping[str, Any], columns: str = "pascl") -> list[list[str]]:
    """Table of all OOD sets and their mean: a heading, then cells in percent.

    Raises:
        UnknownNameError: If there are no such columns.
    """
    shown = columns_of(columns)
    lines = means_below(metrics)
    spread = means_below(metrics["stream"]["std"]) if "stream" in metrics else {}
    rows = [
        [name, *(with_spread(values[key], spread.get(name, {}).get(key)) for _, key in shown)]
        for name, values in lines.items()
    ]
    return [["OOD set", *(title for title, _ in shown)], *rows]


def means_below(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Metrics of each OOD set and below them the means: over all, by group, full spectrum.

    Empty without OOD sets.
    """
    if "ood" not in metrics:
        return {}
    lines = {**metrics["ood"], **_means(metrics, "mean")}
    if "full_spectrum" in metrics:
        lines |= _means(metrics["full_spectrum"], "full spectrum")
    return lines


def _means(section: Mapping[str, Any], title: str) -> dict[str, Mapping[str, Any]]:
    groups = section.get("groups", {})
    return {title: section["mean"], **{f"{title}, {name}": row for name, row in groups.items()}}


def markdown_table(metrics: Mapping[str, Any], columns: str = "pascl") -> str:
    """`table_rows` as a Markdown table.

    Raises:
        UnknownNameError: If there are no such columns.
    """
    return markdown(table_rows(metrics, columns))


def text_table(metrics: Mapping[str, Any], columns: str = "pascl") -> str:
    """`table_rows` aligned for a terminal, with the ID accuracy and what the titles mean.

    Without OOD sets the accuracy stands alone.

    Raises:
        UnknownNameError: If there are no such columns.
    """
    rows = table_rows(metrics, columns)
    id_values = ", ".join(f"{key} {percent(value)}" for key, value in metrics["id"].items())
    meaning = ", ".join(f"{title} is {key}" for title, key in columns_of(columns))
    shifted = (
        f"{name}: accuracy {percent(row['accuracy'])}, covariate shift"
        for name, row in metrics.get("csid", {}).items()
    )
    notes = [f"ID: {id_values}", *shifted]
    if len(rows) == 1:
        return "\n".join([*notes, "percent; there are no OOD sets"])
    notes.append(f"percent; {meaning}")
    if "stream" in metrics:
        notes.append(stream_note(metrics["stream"]))
    return "\n".join([*aligned(rows), *notes])


def stream_note(stream: Mapping[str, Any]) -> str:
    """What a reader must know about the metrics of a transductive method.

    Args:
        stream: That section of the metrics; see `over_orders`.
    """
    orders, changed = stream["orders"], stream["order_dependent"]["mean"]["id_pos"]
    mixed = "each OOD set alone" if stream["mix"] == "per_set" else "all OOD sets together"
    if orders == 1:
        return f"transductive: scores depend on the other test rows; one order, with {mixed}"
    return (
        "transductive: scores depend on the other test rows; mean ± standard deviation over "
        f"{orders} orders, with {mixed}; {percent(changed)} % of the ID rows change verdict with "
        "the order where 95 % are accepted"
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A heading and rows of cells as a Markdown table; all columns but the first are numbers."""
    heading, *others = rows
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *others))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines for a terminal; all columns but the first are numbers."""
    first, *others = (max(map(width, column)) for column in zip(*rows, strict=True))
    return [
        "  ".join([padded(name, first), *map(_to_the_right, cells, others)])
        for name, *cells in rows
    ]


def _to_the_right(text: str, columns: int) -> str:
    return " " * (columns - width(text)) + text


def with_spread(value: float | None, deviation: float | None) -> str:
    """A fraction in percent, with its deviation where there is one."""
    return percent(value) if deviation is None else f"{percent(value)} ± {percent(deviation)}"


def percent(value: float | None) -> str:
    """A fraction in percent with two decimals; "-" where there is none."""
    return "-" if value is None else f"{100 * value:.2f}"
