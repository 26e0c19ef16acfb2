"""Every method is timed on features of the size that was asked for."""

import pytest

from ltood.comparing.benchmark import Shape, bench
from ltood.core.errors import ConfigError, UnknownNameError
from ltood.core.registry import available
from ltood.methods.energy import Energy

SMALL = {"rows": 60, "dim": 12, "classes": 3, "test_rows": 40}


def test_every_method_is_timed():
    names = list(available("methods"))
    timings = {row.method: row for row in bench(names, Shape(**SMALL, patches=4), "cpu")}
    assert list(timings) == names
    assert {row.status for row in timings.values()} == {"ok"}
    assert all(row.score_seconds > 0 and row.fit_seconds >= 0 for row in timings.values())


def test_methods_for_patches_are_left_out_without_them():
    (row,) = bench(["gl_mcm"], Shape(**SMALL), "cpu")
    assert row.status == "left out"
    assert "--patches 196" in row.reason


def test_a_failure_is_a_row(monkeypatch):
    def fail(self, batch):
        raise RuntimeError("no  such\nluck")

    monkeypatch.setattr(Energy, "_score", fail)
    first, second = bench(["energy", "msp"], Shape(**SMALL), "cpu")
    assert (first.status, first.reason) == ("failed", "no such luck")
    assert second.status == "ok"


def test_unknown_names_stop_before_the_work():
    with pytest.raises(UnknownNameError, match="enrgy"):
        next(bench(["msp", "enrgy"], Shape(**SMALL), "cpu"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, "rows is 0"),
        ({"classes": 1}, "classes is 1"),
        ({"test_rows": 0}, "test rows is 0"),
        ({"patches": -1}, "patches is -1"),
        ({"rows": 2}, "2 rows for 3 classes; each needs one or more"),
    ],
)
def test_sizes_are_checked(changes, message):
    with pytest.raises(ConfigError, match=message):
        Shape(**{**SMALL, **changes})


@pytest.mark.parametrize("name", ["rows", "dim", "classes", "test_rows", "patches"])
def test_sizes_beyond_any_memory_are_refused(name):
    with pytest.raises(ConfigError, match="at most"):
        Shape(**{"rows": 10**31, name: 10**30})
