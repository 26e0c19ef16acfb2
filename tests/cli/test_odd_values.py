"""Whatever stands on a command line ends in one short line, never in a traceback."""

import pytest

ODD = {
    "empty": "",
    "minus": "-1",
    "zero": "0",
    "huge": "9" * 400,
    "hexadecimal": "0x" + "f" * 6000,
    "infinite": ".inf",
    "not a number": ".nan",
    "overflow": "1e400",
    "deep": "[" * 3000,
    "anchor": "&a [*a, *a]",
    "date": "2020-01-01",
    "long": "x" * 50_000,
    "quote": "'",
    "text": "é",
    "bytes": "\udcff",
    "mapping": "{a: 1}",
}


@pytest.fixture(params=ODD.values(), ids=ODD.keys())
def odd(request):
    return request.param


def check_line(said: str) -> None:
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert len(said) < 2100


@pytest.mark.parametrize(
    "command",
    [
        ["score", "--method", "knn", "--set"],
        ["score", "--method", "msp", "--calibrator", "patt", "--calibrator-set"],
        ["export-detector", "--method", "knn", "--set"],
        ["sweep", "knn", "--grid", "k=1,2", "--set"],
        ["sweep", "knn", "--grid"],
        ["sweep", "knn", "--random", "3", "--range"],
    ],
    ids=lambda words: " ".join(words),
)
def test_odd_settings_are_refused_in_one_line(ltood, store, tmp_path, command, odd):
    arguments = (*command, f"k={odd}", "--store", store, "--out", tmp_path / "out")
    check_line(ltood(*arguments, code=1).stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ["score", "--out", "out", "--store", "none.zarr", "--method"],
        ["compare", "--out", "out", "--store", "none.zarr", "--published"],
        ["score", "--out", "out", "--method", "msp", "--store"],
        ["evaluate", "--out", "out.json", "--scores"],
        ["store", "info"],
        ["data", "info"],
        ["list"],
    ],
    ids=lambda words: " ".join(words),
)
def test_odd_names_are_refused_in_one_line(ltood, tmp_path, monkeypatch, command, odd):
    monkeypatch.chdir(tmp_path)
    if odd == "-1":  # an option to the parser
        assert "No such option" in ltood("list", odd, code=2).stderr
        return
    check_line(ltood(*command, odd, code=1).stderr)
    assert list(tmp_path.iterdir()) == []
