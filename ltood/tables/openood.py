"""Rows of a table as OpenOOD's leaderboard has them."""

import csv
import io

from ltood.tables.spec import Table
from ltood.tables.statistics import Figure
from ltood.tables.summary import Filled, Line

COLUMNS = (
    "Training",
    "Postprocessor",
    "Near-OOD_AUROC",
    "Far-OOD_AUROC",
    "ID_Accuracy",
    "Outlier_Data",
    "Arch",
    "Additional_Description",
)


def as_openood(filled: Filled) -> str:
    """CSV with the columns of OpenOOD's leaderboard; percent, mean ± deviation over seeds.

    A table without the groups near and far leaves their columns empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in filled.lines:
        if line.figures:
            writer.writerow(_cells(filled.table, line))
    return text.getvalue()


def _cells(table: Table, line: Line) -> tuple[str, ...]:
    row, params = line.row, {**table.params, **line.row.params}
    names = [name for name in (row.calibrator, row.normaliser) if name != "none"]
    near, far = (line.figures.get(f"@{group}", {}).get("auroc") for group in ("near", "far"))
    return (
        str(params.get("recipe", "")),
        row.method,
        _percent(near),
        _percent(far),
        _percent(line.figures.get("", {}).get("accuracy")),
        str("auxiliary" in row.flags),
        str(params.get("backbone", "")),
        f"ltood table {table.name} v{table.version}{''.join(f', {name}' for name in names)}",
    )


def _percent(figure: Figure | None) -> str:
    if figure is None:
        return ""
    spread = "" if figure.std is None else f" ± {100 * figure.std:.2f}"
    return f"{100 * figure.mean:.2f}{spread}"
