"""Cells as jobs, with submitit's executors of one machine."""

import pytest

from ltood.core.errors import ConfigError
from ltood.tables.cells import cells_of
from ltood.tables.records import Results
from ltood.tables.running import Job
from ltood.tables.scheduling import outcome_of, run_table
from ltood.tables.slurm import Task, submit
from tests.tables.table_samples import failing, make_table


def plan():
    table = make_table()
    cells = cells_of(table)
    return table, cells, {cell.name: f"state of {cell.name}" for cell in cells}


def test_jobs_give_what_a_run_gives_and_a_failed_one_its_reason(tmp_path):
    table, cells, states = plan()
    jobs = submit(tmp_path / "a", table, cells, states, cluster="local", runner=failing)
    for job in jobs:
        job.result()
    found = outcome_of(table, Results(tmp_path / "a", table.name), cells, states)
    wanted = run_table(tmp_path / "b", table, cells, states, runner=failing)
    assert found.failures == wanted.failures == {cells[3].name: "no luck today"}
    assert {name: r.rows for name, r in found.records.items()} == {
        name: r.rows for name, r in wanted.records.items()
    }


def test_a_job_that_loses_its_machine_is_queued_again(tmp_path):
    table, cells, states = plan()
    task = Task(tmp_path, table, cells[0], states[cells[0].name], Job())
    again = task.checkpoint()
    assert again.function is task or again.function == task


def test_wrong_clusters_and_options_are_refused(tmp_path):
    table, cells, states = plan()
    with pytest.raises(ConfigError, match="pbs"):
        submit(tmp_path, table, cells, states, cluster="pbs")
    with pytest.raises(ConfigError, match="speed"):
        submit(tmp_path, table, cells, states, cluster="local", options={"speed": "high"})


def test_a_job_has_a_day_unless_an_option_says_otherwise(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    seen = []
    monkeypatch.setattr(
        submitit.AutoExecutor, "update_parameters", lambda _, **given: seen.append(given)
    )
    table, _, _ = plan()
    submit(tmp_path, table, [], {}, cluster="local")
    submit(tmp_path, table, [], {}, cluster="local", options={"timeout_min": 7})
    assert [given["timeout_min"] for given in seen] == [24 * 60, 7]
