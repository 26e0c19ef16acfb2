"""Results of finished cells, in plain files below `results/tables/NAME`.

cells/<cell>.json     what it was made from, and the rows of its leaderboard
cells/<cell>/         scores of these rows, see `ltood.comparing.scores`
failed/<cell>.json    why a cell failed
logs/<cell>.log       what its stages printed
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltood.comparing.scores import ComparedScores
from ltood.core.errors import CorruptStoreError
from ltood.runtime.files import (
    building_folder,
    read_json,
    remove_folder,
    to_json_bytes,
    write_atomically,
)
from ltood.tables.cells import Cell
from ltood.tables.spec import Table

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """Result of a cell.

    Attributes:
        cell: Its name.
        seed: Its seed.
        state: Digest of what its numbers were made from.
        rows: Rows of its leaderboard by title, as in leaderboard.json.
        seconds: How long it ran.
        experiment: Name of its DVC experiment.
        commit: Commit that it ran at.
        provenance: Fingerprint of the features, versions, machine.
    """

    cell: str
    seed: int
    state: str
    rows: Mapping[str, Mapping[str, Any]]
    seconds: float
    experiment: str
    commit: str
    provenance: Mapping[str, Any]


class Results:
    """Folder of a table's results."""

    def __init__(self, root: Path, table: str) -> None:
        """Take the repository and the name of the table."""
        self.folder = root / "results" / "tables" / table

    def log(self, cell: Cell) -> Path:
        """Where the stages of a cell print to."""
        return self.folder / "logs" / f"{cell.name}.log"

    def lock(self, cell: Cell) -> Path:
        """File that whoever runs a cell holds."""
        return self.folder / "locks" / cell.name

    def read(self, cell: Cell) -> Record | None:
        """Result of a cell, whatever it was made from; None if there is none.

        Raises:
            CorruptStoreError: If it is damaged.
        """
        path = self._path(cell)
        try:
            content = read_json(path, f"remove {path} and run the table again")
            if content["schema"] != SCHEMA:
                return None
            fields = {key: content[key] for key in Record.__dataclass_fields__}
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, AttributeError):
            raise CorruptStoreError(
                f"{path} is damaged; remove it and run the table again."
            ) from None
        return Record(**fields)

    def write(self, cell: Cell, record: Record, scores: Path) -> None:
        """Keep the result of a cell, scores first, so that a record is never without them.

        Args:
            cell: The cell.
            record: Its result.
            scores: Folder of its scores.
        """
        with building_folder(self.scores(cell)) as building:
            for file in sorted(scores.iterdir()):
                shutil.copyfile(file, building / file.name)
        content = {"schema": SCHEMA, **vars(record)}
        write_atomically(self._path(cell), to_json_bytes(content))
        self._failed(cell).unlink(missing_ok=True)

    def scores(self, cell: Cell) -> Path:
        """Folder of a cell's scores."""
        return self.folder / "cells" / cell.name

    def open_scores(self, cell: Cell) -> ComparedScores:
        """Scores of a cell.

        Raises:
            DataError: If they are missing.
            CorruptStoreError: If they are damaged.
        """
        return ComparedScores.open(self.scores(cell))

    def fail(self, cell: Cell, reason: str, state: str) -> None:
        """Remember why a cell failed."""
        write_atomically(self._failed(cell), to_json_bytes({"reason": reason, "state": state}))

    def failure(self, cell: Cell, state: str | None = None) -> str | None:
        """Why a cell failed when it last ran from this state; None if it did not."""
        try:
            content = read_json(self._failed(cell), "run the table again")
        except (FileNotFoundError, CorruptStoreError):
            return None
        if state is not None and content.get("state") != state:
            return None
        return str(content.get("reason"))

    def forget(self, cell: Cell) -> None:
        """Remove the result of a cell."""
        self._path(cell).unlink(missing_ok=True)
        remove_folder(self.scores(cell))

    def _path(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.name}.json"

    def _failed(self, cell: Cell) -> Path:
        return self.folder / "failed" / f"{cell.name}.json"


def finished(
    table: Table, results: Results, cells: list[Cell], states: Mapping[str, str]
) -> dict[str, Record]:
    """Results that were made from what is there now, by cell.

    Args:
        table: The table.
        results: Where its results are.
        cells: Its cells.
        states: Digest of what each cell would be made from now, by its name.
    """
    del table
    found = {}
    for cell in cells:
        record = results.read(cell)
        if record is not None and record.state == states[cell.name]:
            found[cell.name] = record
    return found
