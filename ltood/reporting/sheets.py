"""Tables of a report as files: CSV with full precision, Markdown and LaTeX in percent."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ltood.runtime.files import replace_together
from ltood.runtime.latex import escaped

#: What stands in a cell without a value.
ABSENT = "-"


@dataclass(frozen=True)
class Value:
    """One value of a table.

    Attributes:
        value: A fraction, a count or a text; None where there is none.
        low: Lower end of its 95 % interval.
        high: Upper end.
        std: Standard deviation over runs.
        is_best: Whether it stands out.
    """

    value: float | str | None
    low: float | None = None
    high: float | None = None
    std: float | None = None
    is_best: bool = False


@dataclass(frozen=True)
class Column:
    """One column after the first.

    Attributes:
        key: Its name in the CSV file.
        title: Its heading elsewhere.
        unit: "fraction" (shown in percent), "points" (of percent, with a sign), "count" or "text".
    """

    key: str
    title: str
    unit: str = "fraction"


@dataclass(frozen=True)
class Sheet:
    """A table, whatever it is written as.

    Attributes:
        name: Name of its files, without ending.
        title: What it shows.
        corner: Heading of the first column.
        columns: Columns after the first.
        rows: Heading and values of each row.
        notes: What its reader must know, below it.
    """

    name: str
    title: str
    corner: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Value]]]
    notes: Sequence[str] = ()

    def csv(self) -> str:
        """Every value in full, fractions as fractions; ends and deviations in columns of theirs."""
        spread = [
            [part for part in ("low", "high", "std") if self._has(place, part)]
            for place in range(len(self.columns))
        ]
        heading = [self.corner]
        for column, parts in zip(self.columns, spread, strict=True):
            heading += [column.key, *(f"{column.key}_{part}" for part in parts)]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(heading)
        for name, values in self.rows:
            cells = [name]
            for value, parts in zip(values, spread, strict=True):
                cells.append(_full(value.value))
                cells += [_full(getattr(value, part)) for part in parts]
            writer.writerow(cells)
        return text.getvalue()

    def _has(self, place: int, part: str) -> bool:
        return any(getattr(values[place], part) is not None for _, values in self.rows)

    def markdown(self) -> str:
        """For READMEs and issues, with its title and notes."""
        heading = [self.corner, *(column.title for column in self.columns)]
        rule = ["---", *("---" if c.unit == "text" else "---:" for c in self.columns)]
        lines = [f"## {_plain(self.title)}", "", _row(map(_plain, heading)), _row(rule)]
        for name, values in self.rows:
            lines.append(_row([_plain(name), *self._cells(values, _plain, "**{}**")]))
        notes = [f"- {_plain(note)}" for note in self.notes]
        return "\n".join([*lines, *(["", *notes] if notes else []), ""])

    def latex(self) -> str:
        """For LaTeX with the package booktabs."""
        form = "".join("l" if column.unit == "text" else "r" for column in self.columns)
        heading = [self.corner, *(column.title for column in self.columns)]
        lines = [
            f"% {_line(self.title)}",
            rf"\begin{{tabular}}{{l{form}}}",
            r"\toprule",
            f"{' & '.join(map(_latex, heading))} \\\\",
            r"\midrule",
        ]
        for name, values in self.rows:
            cells = [_latex(name), *self._cells(values, _latex, r"\textbf{{{}}}")]
            lines.append(f"{' & '.join(cells)} \\\\")
        notes = [f"% {_line(note)}" for note in self.notes]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes, ""])

    def _cells(
        self, values: Sequence[Value], say: Callable[[str], str], best: str
    ) -> Iterable[str]:
        for column, value in zip(self.columns, values, strict=True):
            text = say(" ".join(filter(None, shown(value, column.unit))))
            yield best.format(text) if value.is_best else text


#: What a table is written as, by the ending of the file.
FORMATS: Mapping[str, Callable[[Sheet], str]] = {
    ".csv": Sheet.csv,
    ".md": Sheet.markdown,
    ".tex": Sheet.latex,
}


def write_sheets(folder: Path, sheets: Iterable[Sheet]) -> list[Path]:
    """Write each table in every format, all of them or none.

    Returns:
        The files, in the order of the tables.
    """
    files = {
        folder / f"{sheet.name}{ending}": made(sheet).encode(errors="backslashreplace")
        for sheet in sheets
        for ending, made in FORMATS.items()
    }
    replace_together(files)
    return list(files)


def _full(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(value)


def shown(value: Value, unit: str) -> tuple[str, str]:
    """A value as people read it, with its deviation, and its interval or nothing."""
    if value.value is None:
        return ABSENT, ""
    if isinstance(value.value, str):
        return value.value, ""
    if unit == "count":
        return f"{value.value:,.0f}", ""
    sign = "+" if unit == "points" else ""
    text = f"{100 * value.value:{sign}.2f}"
    if value.std is not None:
        text += f" ± {100 * value.std:.2f}"
    if value.low is None or value.high is None:
        return text, ""
    return text, f"[{100 * value.low:{sign}.2f}, {100 * value.high:{sign}.2f}]"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Text in a cell of Markdown."""
    return _line(text).replace("\\", "\\\\").replace("|", "\\|")


def _latex(text: str) -> str:
    return escaped(_line(text)).replace("±", r"$\pm$")
