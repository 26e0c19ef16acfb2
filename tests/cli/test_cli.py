"""The command line as a whole: exit codes, interrupts, help."""

import subprocess
import sys

import pytest

from ltood.runtime.extras import EXTRAS

LTOOD = [sys.executable, "-c", "from ltood.cli import main; main()"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "--store", "x"], "Missing option"),
        (["score", "--nonsense"], "No such option"),
        (["nonsense"], "No such command"),
    ],
)
def test_usage_errors_end_with_2_in_one_line(ltood, arguments, words):
    said = ltood(*arguments, code=2).stderr
    assert words in said
    assert "-h`" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("given", ["--style", "--num", "--none"])
def test_usage_errors_are_cut(ltood, given):
    assert len(ltood("visualise", given, "x" * 100_000, code=2).stderr) < 1000


@pytest.mark.parametrize("arguments", [[], ["data"], ["store"]])
def test_help_is_shown_where_nothing_is_asked(ltood, arguments):
    done = ltood(*arguments, code=2)
    assert "Usage: ltood" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["list", "methods"], ["stage", "compare"]])
def test_an_interrupt_is_told_once(arguments):
    code = (
        "import sys, unittest.mock as mock\n"
        "from ltood.cli import main\n"
        "import ltood.cli.listing, ltood.pipeline._shell\n"
        "stop = mock.Mock(side_effect=KeyboardInterrupt)\n"
        "ltood.cli.listing.available = ltood.pipeline._shell.only_run = stop\n"
        f"sys.argv = ['ltood', *{arguments!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "interrupted; run the same command again to continue.\n"


def test_a_reader_that_goes_away_is_not_a_failure():
    script = f"set -o pipefail; {sys.executable} -c '{LTOOD[2]}' list methods --json | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_doctor(ltood):
    said = ltood("doctor").stdout
    for package in ("ltood", "torch", "faiss", "numpy"):
        assert f"\n{package} " in f"\n{said}"
    assert [line for line in said.splitlines() if line.startswith("[")] == [
        f"[{extra}]".ljust(12) + "installed" for extra in EXTRAS
    ]


def test_doctor_names_what_is_missing(ltood, monkeypatch):
    for module in ("faiss", "matplotlib", "jinja2"):
        monkeypatch.setitem(sys.modules, module, None)
    said = ltood("doctor").stdout.splitlines()
    assert '[report]    lacks Jinja2 and Matplotlib; pip install "ltood[report]"' in said
    assert '[faiss]     lacks FAISS; pip install "ltood[faiss]"' in said
    assert not any(line.startswith("faiss") for line in said)


@pytest.mark.parametrize(
    "command",
    [[], ["score"], ["import"], ["evaluate"], ["report"], ["list"], ["store"], ["data"], ["stage"]],
)
def test_help_loads_nothing_heavy(command):
    code = (
        "import sys; from ltood.cli import main\n"
        f"sys.argv = ['ltood', *{command!r}, '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'zarr', 'faiss', 'matplotlib', 'numpy', 'scipy', 'PIL', 'ruamel'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
