"""Cells are run once, in any number of processes, and failures stop nothing."""

import threading

import pytest

from ltood.core.errors import ConfigError
from ltood.runtime.claims import claim
from ltood.tables import scheduling
from ltood.tables.cells import cells_of
from ltood.tables.records import Results, finished
from ltood.tables.scheduling import job_slots, run_table
from tests.tables.table_samples import failing, make_table, pretended


@pytest.fixture(scope="module")
def plan():
    table = make_table()
    cells = cells_of(table)
    return table, cells, {cell.name: f"state of {cell.name}" for cell in cells}


def test_a_second_run_runs_nothing(tmp_path, plan):
    table, cells, states = plan
    first = run_table(tmp_path, table, cells, states, jobs=2, runner=pretended)
    assert set(first.records) == {cell.name for cell in cells}
    assert first.failures == {}

    def never(*_):
        raise AssertionError

    second = run_table(tmp_path, table, cells, states, runner=never)
    assert second.records == first.records


def test_a_changed_state_runs_that_cell_alone(tmp_path, plan):
    table, cells, states = plan
    run_table(tmp_path, table, cells, states, runner=pretended)
    ran = []

    def noted(*arguments):
        ran.append(arguments[2].name)
        return pretended(*arguments)

    changed = {**states, cells[1].name: "another state"}
    run_table(tmp_path, table, cells, changed, runner=noted)
    assert ran == [cells[1].name]


def test_a_failure_is_remembered_and_the_others_go_on(tmp_path, plan):
    table, cells, states = plan
    outcome = run_table(tmp_path, table, cells, states, runner=failing)
    assert outcome.failures == {cells[3].name: "no luck today"}
    assert len(outcome.records) == 3
    # The next call tries again; a success clears the reason.
    outcome = run_table(tmp_path, table, cells, states, runner=pretended)
    assert outcome.failures == {}
    assert Results(tmp_path, table.name).failure(cells[3]) is None


def test_two_workers_share_the_cells(tmp_path, plan, monkeypatch):
    table, cells, states = plan
    monkeypatch.setattr(scheduling, "_WAIT_SECONDS", 0.01)
    ran, gate = [], threading.Event()

    def slow(*arguments):
        ran.append(arguments[2].name)
        gate.wait(5)
        return pretended(*arguments)

    found = []
    workers = [
        threading.Thread(
            target=lambda: found.append(run_table(tmp_path, table, cells, states, runner=slow))
        )
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    gate.set()
    for worker in workers:
        worker.join(30)
    assert sorted(ran) == sorted(cell.name for cell in cells)
    assert [len(outcome.records) for outcome in found] == [4, 4]


def test_a_cell_that_another_process_holds_is_left_to_it(tmp_path, plan):
    table, cells, _ = plan
    path = Results(tmp_path, table.name).lock(cells[0])
    path.parent.mkdir(parents=True)
    ran = []

    def noted(*arguments):
        ran.append(arguments[2].name)
        return pretended(*arguments)

    with path.open("a+b") as held:
        assert claim(held)
        scheduling.run_one(
            tmp_path, table, cells[0], "s", job_slots(1, 1)[0], Results(tmp_path, "small"), noted
        )
    assert ran == []


def test_each_job_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [job.gpu for job in job_slots(3, 2)] == ["4", "6", "4"]
    assert scheduling.default_jobs(1) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [job.gpu for job in job_slots(2, 1)] == [None, None]
    with pytest.raises(ConfigError, match="jobs"):
        job_slots(0, 1)


def test_records_of_another_state_do_not_count(tmp_path, plan):
    table, cells, states = plan
    run_table(tmp_path, table, cells, states, runner=pretended)
    results = Results(tmp_path, table.name)
    assert finished(table, results, cells, dict.fromkeys(states, "other")) == {}
    results.forget(cells[0])
    assert set(finished(table, results, cells, states)) == {cell.name for cell in cells[1:]}


def test_a_cell_that_another_worker_left_is_run_after_the_wait(tmp_path, plan, monkeypatch):
    """The other worker was killed while it held the cell."""
    pytest.importorskip("fcntl")
    table, cells, states = plan
    path = Results(tmp_path, table.name).lock(cells[0])
    path.parent.mkdir(parents=True)
    with path.open("a+b") as held:
        assert claim(held)
        monkeypatch.setattr(scheduling.time, "sleep", lambda _: held.close())
        outcome = run_table(tmp_path, table, cells, states, runner=pretended)
    assert set(outcome.records) == {cell.name for cell in cells}
    assert outcome.failures == {}
