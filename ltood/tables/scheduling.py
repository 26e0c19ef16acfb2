"""Run the missing cells of a table, several at once, here or beside other workers.

Whoever runs a cell holds a lock on it, so that any number of processes may run one table: each
takes what is missing and free, and waits for what others hold. A cell that fails is remembered
with its reason, and the others go on.
"""

import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ltood.core.errors import ConfigError, LtoodError
from ltood.runtime.console import log
from ltood.tables.cells import Cell
from ltood.tables.leases import is_held, lease
from ltood.tables.records import Record, Results, finished
from ltood.tables.running import Job, run_cell
from ltood.tables.spec import Table

_WAIT_SECONDS = 2.0
#: How a cell is run.
Runner = Callable[[Path, Table, Cell, str, Job], Record]


@dataclass(frozen=True)
class Outcome:
    """State of a table after a run.

    Attributes:
        records: Results by cell.
        failures: Reasons by cell.
    """

    records: Mapping[str, Record]
    failures: Mapping[str, str]


def run_table(
    root: Path,
    table: Table,
    cells: Sequence[Cell],
    states: Mapping[str, str],
    *,
    jobs: int = 1,
    threads: int = 1,
    processes: int = 1,
    retry: bool = True,
    runner: Runner = run_cell,
) -> Outcome:
    """Run every cell without a result, `jobs` at once.

    Args:
        root: Repository.
        table: The table.
        cells: Its cells.
        states: Digest of what each cell is made from, by its name.
        jobs: Cells that run at once; each has a GPU of its own where there are several.
        threads: Threads of each process of a cell.
        processes: Processes that share each training and extraction.
        retry: Whether cells that failed from the same state are run again.
        runner: Runs one cell.
    """
    results = Results(root, table.name)
    slots: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in job_slots(jobs, threads, processes):
        slots.put(job)
    stop = threading.Event()

    def work(cell: Cell) -> None:
        job = slots.get()
        try:
            if not stop.is_set():
                run_one(root, table, cell, states[cell.name], job, results, runner)
        finally:
            slots.put(job)

    wanted = missing_cells(table, results, cells, states, retry=retry)
    while wanted:
        with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
            tasks = [pool.submit(work, cell) for cell in wanted]
            try:
                for task in as_completed(tasks):
                    task.result()
            except BaseException:
                stop.set()
                raise
        _wait_for_others(table, results, wanted, states)
        # What another worker held and left, because it was killed.
        wanted = missing_cells(table, results, wanted, states, retry=False)
    return outcome_of(table, results, cells, states)


def job_slots(jobs: int, threads: int, processes: int = 1) -> list[Job]:
    """Jobs that may run at once, each with GPUs of its own where there are several.

    Raises:
        ConfigError: If a number is below 1.
    """
    for name, number in (("jobs", jobs), ("threads", threads), ("processes", processes)):
        if number < 1:
            raise ConfigError(f"{name} is {number}; it must be 1 or more.")
    gpus = visible_gpus()
    if len(gpus) < 2:
        return [Job(threads, None, processes)] * jobs
    slots = []
    for place in range(jobs):
        own = [gpus[(place * processes + turn) % len(gpus)] for turn in range(processes)]
        slots.append(Job(threads, ",".join(dict.fromkeys(own)), processes))
    return slots


def visible_gpus() -> list[str]:
    """GPUs of this machine that a process may use, without loading torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(place) for place in range(count)]


def default_jobs(threads: int) -> int:
    """Cells at once: one for each GPU, else as many as the cores allow."""
    return len(visible_gpus()) or max(1, (os.cpu_count() or 1) // threads)


def missing_cells(
    table: Table,
    results: Results,
    cells: Sequence[Cell],
    states: Mapping[str, str],
    *,
    retry: bool = True,
) -> list[Cell]:
    """Cells without a result; those that failed count as missing where `retry` is set."""
    done = finished(table, results, list(cells), states)
    return [
        cell
        for cell in cells
        if cell.name not in done and (retry or not results.failure(cell, states[cell.name]))
    ]


def run_one(
    root: Path,
    table: Table,
    cell: Cell,
    state: str,
    job: Job,
    results: Results,
    runner: Runner,
) -> None:
    """Run one cell, unless another worker holds or has finished it; a failure is remembered."""
    with lease(results.lock(cell)) as is_ours:
        if not is_ours:
            log(f"{cell.name}: runs in another process")
            return
        record = results.read(cell)
        if record is not None and record.state == state:
            return
        log(f"{cell.name}: started, see {results.log(cell)}")
        try:
            record = runner(root, table, cell, state, job)
        except LtoodError as error:
            results.fail(cell, str(error), state)
            log(f"{cell.name}: failed: {error}")
        else:
            log(f"{cell.name}: done in {record.seconds:.0f} s")


def outcome_of(
    table: Table, results: Results, cells: Sequence[Cell], states: Mapping[str, str]
) -> Outcome:
    """State of a table as its files have it now."""
    done = finished(table, results, list(cells), states)
    failures = {
        cell.name: results.failure(cell, states[cell.name]) or "it has no result"
        for cell in cells
        if cell.name not in done
    }
    return Outcome(done, failures)


def _wait_for_others(
    table: Table, results: Results, cells: Sequence[Cell], states: Mapping[str, str]
) -> None:
    """Wait for cells that other workers hold."""
    for cell in cells:
        path = results.lock(cell)
        told = False
        while not finished(table, results, [cell], states) and is_held(path):
            if not told:
                log(f"{cell.name}: waiting for the process that runs it")
                told = True
            time.sleep(_WAIT_SECONDS)
