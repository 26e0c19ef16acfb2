"""Metrics as tables, in percent, with the columns of the papers."""

import difflib
from collections.abc import Mapping
from typing import Any

from ltood.core.errors import UnknownNameError

#: What each paper's table prints: (column title, key in metrics.json).
PRESETS: dict[str, list[tuple[str, str]]] = {
    "pascl": [("AUROC", "auroc"), ("AUPR", "ap_out"), ("FPR95", "fpr95_ood_pos")],
    "himplos": [
        ("FPR95", "fpr95_id_pos"),
        ("AUROC", "auroc"),
        ("AUPR-in", "ap_in"),
        ("AUPR-out", "ap_out"),
    ],
    "locoop": [("FPR95", "fpr95_id_pos"), ("AUROC", "auroc")],
    "openood": [
        ("FPR@95", "fpr95_ood_pos_first"),
        ("AUROC", "auroc"),
        ("AUPR_IN", "aupr_in"),
        ("AUPR_OUT", "aupr_out"),
    ],
}


def preset_columns(preset: str) -> list[tuple[str, str]]:
    """Column titles of a paper's table with their keys in metrics.json.

    Raises:
        UnknownNameError: If there is no such preset.
    """
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UnknownNameError(f"No preset {preset!r}.{hint} Known: {', '.join(PRESETS)}.")
    return PRESETS[preset]


def table_rows(metrics: Mapping[str, Any], preset: str = "pascl") -> list[list[str]]:
    """Table of all OOD sets and their mean: a heading, then cells in percent.

    Raises:
        UnknownNameError: If there is no such preset.
    """
    columns = preset_columns(preset)
    lines = {**metrics["ood"], "mean": metrics["mean"]}
    rows = [
        [name, *(_percent(values[key]) for _, key in columns)] for name, values in lines.items()
    ]
    return [["OOD set", *(title for title, _ in columns)], *rows]


def markdown_table(metrics: Mapping[str, Any], preset: str = "pascl") -> str:
    """`table_rows` as a Markdown table.

    Raises:
        UnknownNameError: If there is no such preset.
    """
    heading, *rows = table_rows(metrics, preset)
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows))


def text_table(metrics: Mapping[str, Any], preset: str = "pascl") -> str:
    """`table_rows` aligned for a terminal, with the ID accuracy and what the titles mean.

    Raises:
        UnknownNameError: If there is no such preset.
    """
    rows = table_rows(metrics, preset)
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        "  ".join([name.ljust(first), *map(str.rjust, cells, others)]) for name, *cells in rows
    ]
    of_id = ", ".join(f"{key} {_percent(value)}" for key, value in metrics["id"].items())
    meaning = ", ".join(f"{title} is {key}" for title, key in PRESETS[preset])
    return "\n".join([*lines, f"ID: {of_id}", f"percent; {meaning}"])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
