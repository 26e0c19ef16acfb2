"""A leaderboard in memory: a table in a notebook, and everything behind it."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltood.comparing.leaderboard import (
    board_csv,
    flat_rows,
    markdown_table,
    table_cells,
    table_notes,
    text_table,
)
from ltood.core.errors import ConfigError
from ltood.library.markup import html_table
from ltood.metrics import METRICS
from ltood.runtime.extras import require
from ltood.runtime.latex import escaped

if TYPE_CHECKING:
    import pandas as pd


class Board:
    """The leaderboard of a comparison; prints as a table in percent.

    Attributes:
        content: All results as plain values in fractions, as `leaderboard.json` holds them.
        timings: Seconds of each row.
        columns: Whose columns tables show: pascl, patt, himplos, locoop, eat or openood.
    """

    def __init__(
        self,
        content: Mapping[str, Any],
        timings: Sequence[Mapping[str, Any]],
        columns: str = "pascl",
    ) -> None:
        """Wrap results; see `ltood.compare`."""
        self.content, self.timings, self.columns = content, timings, columns

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Results of each combination: names, metrics in fractions and settings, best first."""
        return [row for row in self.content["rows"] if row["status"] == "ok"]

    @property
    def failures(self) -> dict[str, str]:
        """Why combinations have no result, by their titles."""
        rows = (*self.content["rows"], *self.content["left_out"])
        return {row["title"]: row["reason"] for row in rows if row["status"] != "ok"}

    def __len__(self) -> int:
        """Number of combinations with a result."""
        return len(self.rows)

    def with_columns(self, columns: str) -> "Board":
        """The same with the columns of a paper's tables, such as pascl or openood.

        Raises:
            UnknownNameError: If there are no such columns.
        """
        table_cells(self.content, columns)
        return Board(self.content, self.timings, columns)

    def sort(self, metric: str = "auroc", ood: str | None = None) -> "Board":
        """The same board, best first by another metric.

        Args:
            metric: Key of a metric, such as "fpr95_ood_pos".
            ood: OOD set that decides; the mean over all sets where not given.

        Raises:
            ConfigError: If there is no such metric or no such set.
        """
        if metric not in METRICS:
            raise ConfigError(f"there is no metric {metric!r}; known are {', '.join(METRICS)}.")
        done, sets = self.rows, [*self.rows[0]["ood"]] if self.rows else []
        if ood is not None and ood not in sets:
            raise ConfigError(f"there is no OOD set {ood!r}; known are {', '.join(sets)}.")
        sign = -1 if METRICS[metric].higher_is_better else 1
        done.sort(key=lambda row: sign * (row["ood"][ood] if ood else row["mean"])[metric])
        failed = [row for row in self.content["rows"] if row["status"] != "ok"]
        return Board({**self.content, "rows": [*done, *failed]}, self.timings, self.columns)

    def to_pandas(self) -> "pd.DataFrame":
        """All metrics in fractions, one row for each combination.

        Raises:
            MissingPackageError: If pandas is not installed.
        """
        require("pandas", "a board as a data frame")
        import pandas as pd

        return pd.DataFrame(flat_rows(self.content))

    def to_csv(self, path: str | Path | None = None) -> str:
        """The same as CSV, written to `path` if there is one."""
        text = board_csv(self.content).decode()
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", newline="")
        return text

    def to_markdown(self) -> str:
        """The table in percent with its notes, as `leaderboard.md` holds it."""
        return markdown_table(self.content, self.columns)

    def to_latex(self) -> str:
        """The table in percent for LaTeX with the package booktabs."""
        heading, *rows = table_cells(self.content, self.columns)
        lines = [" & ".join(map(escaped, row)) + r" \\" for row in (heading, *rows)]
        return "\n".join(
            [
                rf"\begin{{tabular}}{{l{'r' * (len(heading) - 1)}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                *(f"% {note}" for note in table_notes(self.content, self.columns)),
                "",
            ]
        )

    def __repr__(self) -> str:
        """The table as the command line prints it."""
        return text_table(self.content, self.timings, self.columns)

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        table = html_table(table_cells(self.content, self.columns))
        notes = table_notes(self.content, self.columns)
        return f"{table}<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in notes)}</ul>"
