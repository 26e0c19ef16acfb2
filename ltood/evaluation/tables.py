"""Metrics as tables, in percent, with the columns of the papers."""

from collections.abc import Mapping
from typing import Any

from ltood.metrics import columns_of


def table_rows(metrics: Mapping[str, Any], columns: str = "pascl") -> list[list[str]]:
    """Table of all OOD sets and their mean: a heading, then cells in percent.

    Raises:
        UnknownNameError: If there are no such columns.
    """
    shown = columns_of(columns)
    lines = {**metrics["ood"], "mean": metrics["mean"]}
    rows = [[name, *(_percent(values[key]) for _, key in shown)] for name, values in lines.items()]
    return [["OOD set", *(title for title, _ in shown)], *rows]


def markdown_table(metrics: Mapping[str, Any], columns: str = "pascl") -> str:
    """`table_rows` as a Markdown table.

    Raises:
        UnknownNameError: If there are no such columns.
    """
    heading, *rows = table_rows(metrics, columns)
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows))


def text_table(metrics: Mapping[str, Any], columns: str = "pascl") -> str:
    """`table_rows` aligned for a terminal, with the ID accuracy and what the titles mean.

    Raises:
        UnknownNameError: If there are no such columns.
    """
    rows = table_rows(metrics, columns)
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        "  ".join([name.ljust(first), *map(str.rjust, cells, others)]) for name, *cells in rows
    ]
    id_values = ", ".join(f"{key} {_percent(value)}" for key, value in metrics["id"].items())
    meaning = ", ".join(f"{title} is {key}" for title, key in columns_of(columns))
    return "\n".join([*lines, f"ID: {id_values}", f"percent; {meaning}"])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
