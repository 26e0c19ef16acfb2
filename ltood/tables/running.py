"""Run one cell: its stages by DVC in a folder of its own, its result brought back."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ltood.core.errors import LtoodError
from ltood.runs.repository import commit_of, git
from ltood.runtime.claims import claim
from ltood.runtime.files import read_json, remove_folder
from ltood.runtime.provenance import library_versions
from ltood.tables import workspace
from ltood.tables.cells import Cell
from ltood.tables.records import Record, Results
from ltood.tables.spec import Table

_BOARD = Path("results/leaderboard.json")
_SCORES = Path("data/work/scores/compared")


class CellFailedError(LtoodError):
    """A cell that ended without a result."""


@dataclass(frozen=True)
class Job:
    """How a cell is run.

    Attributes:
        threads: Threads of each process.
        gpu: The GPU that it sees; None for all.
        processes: Processes that share training and extraction, by torchrun.
    """

    threads: int = 1
    gpu: str | None = None
    processes: int = 1


def run_cell(root: Path, table: Table, cell: Cell, state: str, job: Job) -> Record:
    """Run a cell and keep its result; a killed run goes on where it stopped.

    Args:
        root: Repository.
        table: The table.
        cell: The cell.
        state: Digest of what it is made from.
        job: How it is run.

    Raises:
        CellFailedError: With the last message of the stage that failed.
    """
    results, started = Results(root, table.name), time.monotonic()
    folder = workspace.prepare(root, table.name, cell)
    log = results.log(cell)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = workspace.environment(job.threads, job.gpu, job.processes)
    with log.open("ab") as file:
        done = _repro(folder, environment, file)
        if done.returncode:
            raise CellFailedError(_reason(log))
        experiment = _saved(root, folder, f"{table.name}-{cell.name}", environment, file)
    board = read_json(folder / _BOARD, "run the table again")
    record = Record(
        cell.name,
        cell.seed,
        state,
        _rows(board, cell),
        round(time.monotonic() - started, 1),
        experiment,
        commit_of(root),
        {"made_from": board["made_from"], "versions": library_versions(), "threads": job.threads},
    )
    results.write(cell, record, folder / _SCORES)
    remove_folder(workspace.copy_of(root, table.name, cell))
    return record


def _repro(
    folder: Path, environment: Mapping[str, str], log: IO[bytes]
) -> subprocess.CompletedProcess[bytes]:
    """Run the stages; DVC holds a lock that outlives this process."""
    path = folder / workspace.RUNNING
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as held:
        with contextlib.suppress(OSError):
            claim(held)
        return subprocess.run(
            workspace.dvc("repro"),
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
            pass_fds=() if os.name == "nt" else (held.fileno(),),
        )


def _rows(board: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    """Rows of the board that the table shows, by title.

    Raises:
        CellFailedError: If one of them has no result, with the reason.
    """
    found = {row["title"]: row for row in (*board["rows"], *board["left_out"])}
    for row in cell.rows:
        result = found.get(row.title)
        if result is None or result["status"] != "ok":
            reason = "it is missing" if result is None else result["reason"]
            raise CellFailedError(f"{row.name} ({row.title}): {reason}")
    return {row.title: found[row.title] for row in cell.rows}


def _saved(
    root: Path,
    folder: Path,
    name: str,
    environment: Mapping[str, str],
    log: IO[bytes],
) -> str:
    """Save a finished run as an experiment of the repository; returns its name."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    new = [part for path in workspace.added(folder) for part in ("--include-untracked", path)]
    done = subprocess.run(
        workspace.dvc("exp", "save", "--force", "--name", name, *new),
        cwd=folder,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise CellFailedError(f"dvc exp save failed; see {log.name}")
    refs = git(folder, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    for ref in (found for found in refs if found.endswith(f"/{name}")):
        git(root, "fetch", "--quiet", "--force", str(folder), f"{ref}:{ref}")
    return name


def _reason(log: Path) -> str:
    """Last error that a stage printed, or the last line of the log."""
    lines = log.read_bytes()[-(2**16) :].decode(errors="replace").splitlines()
    told = [line.partition("error: ")[2] for line in lines if line.startswith("error: ")]
    last = [line.strip() for line in lines if line.strip()]
    return (told or last or ["it ended without a message"])[-1]
