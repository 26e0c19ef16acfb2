"""Runs beside one another, as `ltood report RUN RUN ...` shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ltood.core.errors import ConfigError
from ltood.evaluation.tables import aligned
from ltood.library.markup import html_table
from ltood.reporting.sheets import Sheet, shown, write_sheets
from ltood.runs.comparing import RunComparison
from ltood.runs.comparing import compare_runs as compare
from ltood.runs.sheets import sheets_of
from ltood.runtime.extras import require
from ltood.runtime.scratch import scratch_folder

if TYPE_CHECKING:
    import pandas as pd


class Runs:
    """Compared runs; prints as a table in percent.

    Attributes:
        comparison: Figures, intervals and differences of the runs.
    """

    def __init__(self, comparison: RunComparison) -> None:
        """Wrap a comparison; see `ltood.compare_runs`."""
        self.comparison = comparison
        self._sheets = {sheet.name: sheet for sheet in sheets_of(comparison)}

    @property
    def tables(self) -> list[str]:
        """Names of the tables."""
        return list(self._sheets)

    def to_pandas(self, table: str = "summary") -> "pd.DataFrame":
        """A table in fractions, one row for each run.

        Args:
            table: One of `tables`.

        Raises:
            ConfigError: If there is no such table.
            MissingPackageError: If pandas is not installed.
        """
        require("pandas", "a table as a data frame")
        from io import StringIO

        import pandas as pd

        return pd.read_csv(StringIO(self._sheet(table).csv()), index_col=0)

    def to_markdown(self, table: str = "summary") -> str:
        """A table in percent with its notes."""
        return self._sheet(table).markdown()

    def to_latex(self, table: str = "summary") -> str:
        """A table in percent for LaTeX with the package booktabs."""
        return self._sheet(table).latex()

    def to_files(self, folder: str | Path) -> list[Path]:
        """Write every table as CSV, Markdown and LaTeX; returns the files."""
        return write_sheets(Path(folder), self._sheets.values())

    def to_html(self, path: str | Path, title: str | None = None) -> None:
        """Write the page, one file that opens offline.

        Raises:
            MissingPackageError: If a package of the extra `report` is not installed.
        """
        from ltood.runs.page import write_page

        write_page(Path(path), self.comparison, title)

    def _sheet(self, name: str) -> Sheet:
        if name not in self._sheets:
            raise ConfigError(f"there is no table {name!r}; known are {', '.join(self._sheets)}.")
        return self._sheets[name]

    def _rows(self) -> list[list[str]]:
        sheet = self._sheet("summary")
        heading = ["", *(column.title for column in sheet.columns)]
        rows = [
            [name, *(shown(v, c.unit)[0] for v, c in zip(values, sheet.columns, strict=True))]
            for name, values in sheet.rows
        ]
        return [heading, *rows]

    def __repr__(self) -> str:
        """The means as a table."""
        return "\n".join([*map(str.rstrip, aligned(self._rows())), *self._sheets["summary"].notes])

    def _repr_html_(self) -> str:
        """The means for notebooks."""
        return html_table(self._rows())


def compare_runs(
    runs: Sequence[str | Path] | Mapping[str, str | Path],
    *,
    by: str | Sequence[str] = (),
    against: str | None = None,
    samples: int = 200,
) -> Runs:
    """Compare experiments, commits and score stores, with intervals of their differences.

    Args:
        runs: Two or more, by what `ltood report` takes: names of experiments of DVC, commits,
            score stores, folders, or rows of a comparison such as "first#knn"; or these by the
            names that tables show.
        by: Settings that runs of one line may differ in, such as "seed".
        against: Name of the run that the others are held against; the best by default.
        samples: Draws of each interval.

    Returns:
        Tables of means, differences, sets and settings.

    Raises:
        LtoodError: If a run cannot be read, the runs share no OOD set, or a name is unknown.
    """
    if isinstance(runs, str | Path):
        raise ConfigError(f"runs is {str(runs)!r}; give a list of two or more.")
    given = [f"{k}={v}" for k, v in runs.items()] if isinstance(runs, Mapping) else map(str, runs)
    names = [by] if isinstance(by, str) else by
    with scratch_folder() as scratch:
        return Runs(compare([*given], scratch, by=names, against=against, samples=samples))
