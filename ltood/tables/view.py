"""A table in a repository: its cells, which of them are there, and what it looks like."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ltood.core.errors import LtoodError, UnknownNameError
from ltood.pipeline import SOURCES
from ltood.runs.repository import repository
from ltood.runtime.console import progress
from ltood.runtime.files import write_atomically
from ltood.runtime.params import parse_assignments
from ltood.runtime.provenance import digest
from ltood.runtime.source import recall, remember
from ltood.tables.cells import Cell, cells_of
from ltood.tables.checking import checks
from ltood.tables.needs import refuse_missing
from ltood.tables.openood import as_openood
from ltood.tables.records import Record, Results, finished
from ltood.tables.rendering import FORMATS, as_text
from ltood.tables.running import Job
from ltood.tables.scheduling import Outcome, outcome_of
from ltood.tables.slurm import submit
from ltood.tables.spec import Table, load_table
from ltood.tables.state import state_of
from ltood.tables.summary import Filled, fill

#: What `export` writes, by format.
EXPORTS = {**{name: made for name, (_, made) in FORMATS.items()}, "openood": as_openood}


@dataclass(frozen=True)
class View:
    """A table with what a repository holds of it.

    Attributes:
        root: Repository.
        table: The table.
        cells: Its cells.
        states: Digest of what each cell is made from now, by its name.
        records: Results by cell.
        failures: Reasons of cells that failed.
    """

    root: Path
    table: Table
    cells: list[Cell]
    states: Mapping[str, str]
    records: Mapping[str, Record]
    failures: Mapping[str, str]

    @classmethod
    def of(cls, name: str, *, make: bool = False) -> "View":
        """A table by its name, in the repository of the current folder.

        Args:
            name: Its name, or a file.
            make: Whether files that ltood can make itself are made where they are missing.

        Raises:
            UnknownNameError: If there is no such table.
            ConfigError: If its file breaks a rule, or this is not a repository.
            DataError: If a file that it needs is missing.
        """
        root = repository()
        if name.endswith((".yaml", ".yml")):
            name = str(Path(name).resolve())
        with contextlib.chdir(root):  # Data and entries are looked up from there.
            table = load_table(name)
            refuse_missing(table, root, make=make)
            cells, results = cells_of(table), Results(root, table.name)
            states, unusable = _states(cells)
        failures = {cell.name: results.failure(cell, states[cell.name]) for cell in cells}
        return cls(
            root,
            table,
            cells,
            states,
            finished(table, results, cells, states),
            unusable | {name: reason for name, reason in failures.items() if reason},
        )

    @property
    def results(self) -> Results:
        """Where its results lie."""
        return Results(self.root, self.table.name)

    @property
    def missing(self) -> list[Cell]:
        """Cells without a result."""
        return [cell for cell in self.cells if cell.name not in self.records]

    def again(self, outcome: Outcome) -> "View":
        """The same after a run."""
        return replace(self, records=outcome.records, failures=outcome.failures)

    def send(self, cluster: str, options: Sequence[str], job: Job) -> "Sent":
        """Send what is missing to a cluster.

        Args:
            cluster: "slurm" or "local".
            options: Parameters of submitit, KEY=VALUE.
            job: How each cell is run.

        Raises:
            ConfigError: If the cluster or an option is not known.
            MissingPackageError: If submitit is not installed.
        """
        chosen = parse_assignments(options, "--cluster-option")
        missing = self.missing
        jobs = submit(
            self.root, self.table, missing, self.states, cluster=cluster, options=chosen, job=job
        )
        return Sent(self, jobs)

    def cost(self) -> str:
        """What is left to run, and how long it will take as far as that is known."""
        done, missing = list(self.records.values()), len(self.missing)
        if not missing:
            return f"{self.table.name}: all {len(self.cells)} trainings are there."
        text = f"{self.table.name}: {missing} of {len(self.cells)} trainings to run"
        if not done:
            return f"{text}; how long one takes is known after the first."
        seconds = sum(record.seconds for record in done) / len(done)
        minutes = missing * seconds / 60
        return f"{text}, some {minutes:.0f} minutes if one after the other ({seconds:.0f} s each)."

    def status_lines(self) -> Iterator[str]:
        """One line for each cell."""
        for cell in self.cells:
            record, reason = self.records.get(cell.name), self.failures.get(cell.name)
            state = "missing" if reason is None else f"failed: {reason}"
            if record is not None:
                state = f"done in {record.seconds:.0f} s, experiment {record.experiment}"
            elif reason is None and self.results.read(cell) is not None:
                state = "stale: settings, code or data changed since"
            rows = ", ".join(row.name for row in cell.rows)
            yield f"{cell.name}  {state}  ({rows})"

    @cached_property
    def filled(self) -> Filled:
        """The table filled in, with intervals of differences."""
        return fill(self.table, self.cells, self.records, self.failures, self.results)

    def written(self) -> str:
        """The table for a terminal, once it stands in files of all formats, too."""
        folder = self.results.folder
        for ending, made in FORMATS.values():
            write_atomically(folder / f"table{ending}", made(self.filled).encode())
        return f"{as_text(self.filled)}\n\nwritten to {folder}"

    def rendered(self, form: str) -> str:
        """The table in a format.

        Raises:
            UnknownNameError: If there is no such format.
        """
        if form not in EXPORTS:
            raise UnknownNameError(f"No format {form!r}. Known: {', '.join(EXPORTS)}.")
        return EXPORTS[form](self.filled)

    def refuse_gaps(self) -> None:
        """Fail if a cell has no result.

        Raises:
            LtoodError: With the first reason.
        """
        if self.missing:
            first = self.missing[0].name
            reason = self.failures.get(first, "it was not run")
            raise LtoodError(
                f"{len(self.missing)} of {len(self.cells)} trainings have no result; {first}: "
                f"{reason}. `ltood table run {self.table.name}` tries again."
            )

    def checked(self) -> Iterator[str]:
        """Each figure beside the published one; fails at the end if one is off.

        Raises:
            LtoodError: If a figure is missing or outside its tolerance, or nothing can be checked.
        """
        found = checks(self.filled)
        if not found:
            raise LtoodError(f"table {self.table.name} has no published row with a tolerance.")
        for item in found:
            yield f"{'ok   ' if item.is_right else 'OFF  '}{item}"
        wrong = [item for item in found if not item.is_right]
        if wrong:
            raise LtoodError(f"{len(wrong)} of {len(found)} figures are off; first {wrong[0]}.")


@dataclass(frozen=True)
class Sent:
    """Cells that were sent to a cluster.

    Attributes:
        view: The table.
        jobs: One job of submitit for each missing cell.
    """

    view: View
    jobs: Sequence[Any]

    @property
    def names(self) -> list[str]:
        """Numbers of the jobs."""
        return [str(job.job_id) for job in self.jobs]

    def wait(self) -> Outcome:
        """Wait for all jobs; one that ends without a result leaves its message."""
        view, results = self.view, self.view.results
        with progress(f"table {view.table.name}", len(self.jobs), "trainings") as advance:
            for cell, job in zip(view.missing, self.jobs, strict=True):
                if error := job.exception():
                    state = view.states[cell.name]
                    results.fail(cell, f"job {job.job_id}: {_last(str(error))}", state)
                advance(1)
        return outcome_of(view.table, results, view.cells, view.states)


def _states(cells: Sequence[Cell]) -> tuple[dict[str, str], dict[str, str]]:
    """Digest of what each cell is made from, and reasons of those that nothing can be made from.

    Raises:
        LtoodError: If that is so for all cells.
    """
    states: dict[str, str] = {}
    reasons: dict[str, str] = {}
    known: dict[Any, Any] = {}
    recall(SOURCES)
    for cell in cells:
        try:
            states[cell.name] = state_of(cell, known)
        except LtoodError as error:  # Such as weights of one row that are not there.
            reasons[cell.name] = str(error)
            states[cell.name] = digest({"unusable": str(error)})
            if len(reasons) == len(cells):
                raise
    remember(SOURCES)  # Every stage of every cell takes it over.
    return states, reasons


def _last(text: str) -> str:
    """Last line of a message."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it ended without a message"
