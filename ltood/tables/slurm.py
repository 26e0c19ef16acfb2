"""Cells as jobs of a cluster, by submitit: one array of jobs, each cell in a folder of its own.

The folder of the repository lies on a file system that all machines see. A job that Slurm
pre-empts is queued again and its training goes on from the last checkpoint.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltood.core.errors import ConfigError
from ltood.runtime.extras import require
from ltood.tables.cells import Cell
from ltood.tables.records import Results
from ltood.tables.running import Job, run_cell
from ltood.tables.scheduling import Runner, run_one
from ltood.tables.spec import Table

if TYPE_CHECKING:
    import submitit

#: Executors of submitit.
CLUSTERS = ("slurm", "local")
#: Where no option says otherwise: submitit would end a job after five minutes.
_DEFAULTS = {"timeout_min": 24 * 60}


@dataclass(frozen=True)
class Task:
    """What a job runs; submitit sends it there.

    Attributes:
        root: Repository.
        table: The table.
        cell: The cell.
        state: Digest of what it is made from.
        job: How it is run.
        runner: Runs one cell.
    """

    root: Path
    table: Table
    cell: Cell
    state: str
    job: Job
    runner: Runner = run_cell

    def __call__(self) -> None:
        """Run the cell, unless another worker holds or has finished it."""
        os.chdir(self.root)
        results = Results(self.root, self.table.name)
        run_one(self.root, self.table, self.cell, self.state, self.job, results, self.runner)

    def checkpoint(self, *_: Any, **__: Any) -> "submitit.helpers.DelayedSubmission":  # noqa: ANN401
        """The same again, when the scheduler takes the machine away."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(
    root: Path,
    table: Table,
    cells: Sequence[Cell],
    states: Mapping[str, str],
    *,
    cluster: str = "slurm",
    options: Mapping[str, Any] | None = None,
    job: Job | None = None,
    runner: Runner = run_cell,
) -> list["submitit.Job[None]"]:
    """Send cells to a cluster as one array of jobs.

    Args:
        root: Repository, on a file system that all machines see.
        table: The table.
        cells: Cells to run.
        states: Digest of what each cell is made from, by its name.
        cluster: One of `CLUSTERS`; "local" runs jobs as processes of this machine.
        options: Parameters of submitit, such as slurm_partition, timeout_min or gpus_per_node.
        job: How each cell is run.
        runner: Runs one cell.

    Returns:
        One job for each cell.

    Raises:
        ConfigError: If the cluster or an option is not known.
        MissingPackageError: If submitit is not installed.
    """
    require("submitit", "running a table on a cluster")
    import submitit

    if cluster not in CLUSTERS:
        raise ConfigError(f"cluster is {cluster!r}; it must be one of {', '.join(CLUSTERS)}.")
    folder, given = Results(root, table.name).folder / "jobs", dict(options or {})
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster)
        executor.update_parameters(name=f"ltood-{table.name}", **{**_DEFAULTS, **given})
    except (TypeError, ValueError, NameError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"the cluster {cluster} takes no such options: {said}") from None
    tasks = [Task(root, table, c, states[c.name], job or Job(), runner) for c in cells]
    if not tasks:  # An empty batch is an error there.
        return []
    with executor.batch():
        return [executor.submit(task) for task in tasks]
