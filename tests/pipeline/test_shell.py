"""How a stage runs: in which Python, one at a time, and what it refuses at its end."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ltood.core.errors import ConfigError, StoreError
from ltood.pipeline import _shell
from ltood.pipeline._code import code_of
from ltood.pipeline._lock import only_run
from ltood.pipeline._params import Params
from ltood.runtime import source
from ltood.training.plan import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    (tmp_path / "params.yaml").write_text(
        "method: knn\nmethods:\n  knn:\n    k: 5\n  msp: {}\nseed: 0\ndevice: auto\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command, name="other") -> None:
    """Run a function as the stage `name`, errors as they are."""
    try:
        _shell.stage(name)(command)()
    except SystemExit as ended:
        raise ended.__context__ from None


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("k: 5", "k: 7", r"methods\.knn"),
        ("method: knn", "method: msp", "method was 'knn'"),
        ("    k: 5\n", "", r"methods\.knn"),
        ("seed: 0\n", "", "seed was 0"),
    ],
)
def test_settings_that_change_while_a_stage_runs_are_refused(workspace, old, new, key):
    path = workspace / "params.yaml"

    def command(params):
        assert params.chosen("method").config.k == 5
        assert params.seed == 0
        path.write_text(path.read_text().replace(old, new))

    with pytest.raises(ConfigError, match=key):
        run(command)


@pytest.mark.parametrize("name", sorted({*_shell.RESULTS_OF} - {"visualise", "export"}))
def test_a_stage_says_what_it_made_and_what_comes_next(workspace, capsys, name):
    result = _shell.RESULTS_OF[name]
    _shell.tell(name, 1.0)
    assert capsys.readouterr().err == ""  # Nothing was made.
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    _shell.tell(name, 1.0)
    (line,) = capsys.readouterr().err.splitlines()
    names = list(_shell.STAGES)
    assert str(result.parent) in line
    assert line.endswith(f"{names[names.index(name) + 1]}.")


@pytest.mark.parametrize(("old", "new"), [("msp: {}", "msp: {temperature: 2}"), ("auto", "cpu")])
def test_settings_that_a_stage_does_not_use_may_change(workspace, old, new):
    path = workspace / "params.yaml"

    def command(params):
        params.chosen("method")
        assert params.device == "auto"
        path.write_text(path.read_text().replace(old, new))

    run(command)


@pytest.mark.parametrize(
    ("setting", "refused"), [("checkpoint_epochs: 1", False), ("learning_rate: 0.5", True)]
)
def test_how_often_training_is_saved_may_change_while_it_runs(workspace, setting, refused):
    path = workspace / "params.yaml"
    path.write_text(path.read_text() + "training: {}\n")

    def command(params):
        params.section("training", TrainingConfig)
        path.write_text(path.read_text().replace("training: {}", f"training: {{{setting}}}"))

    if not refused:
        run(command)
        return
    with pytest.raises(ConfigError, match="learning_rate"):
        run(command)


@pytest.mark.parametrize(
    ("file", "addition", "refused"),
    [
        ("ltood/reporting/page.py", "EXTRA = 1\n", True),
        ("ltood/reporting/report.css", "p {}\n", True),
        ("ltood/reporting/page.py", "# EXTRA = 1\n", False),
        ("ltood/methods/knn.py", "EXTRA = 1\n", False),
    ],
)
def test_code_that_changes_while_a_stage_runs_is_refused(
    workspace, monkeypatch, file, addition, refused
):
    for package in source.PACKAGES:
        shutil.copytree(ROOT / package, workspace / package)
    monkeypatch.setattr(source, "ROOT", workspace)

    def command(params):
        del params
        with (workspace / file).open("a") as code:
            code.write(addition)

    if not refused:
        run(command, "report")
        return
    with pytest.raises(ConfigError, match=Path(file).stem):
        run(command, "report")


def test_what_dvc_will_record_is_what_counts(workspace, monkeypatch):
    """A file of `inputs` that was written before an edit, which came before the stage started."""
    monkeypatch.setenv("DVC_STAGE", "report")
    path = workspace / "data/work/inputs/code/report.json"
    path.parent.mkdir(parents=True)
    code = code_of("report", Params())
    code["modules"]["ltood.reporting.page"] = "0"
    path.write_text(json.dumps(code))
    with pytest.raises(ConfigError, match=r"\(ltood\.reporting\.page\)"):
        run(lambda params: None, "report")
    monkeypatch.setenv("DVC_STAGE", "score")
    run(lambda params: None, "report")


@pytest.mark.parametrize(
    ("text", "read", "key"),
    [
        ("method: 5\n", lambda params: params.chosen("method"), "method is 5"),
        ("method: knm\n", lambda params: params.chosen("method"), "mean knn"),
        ("method: knn\n", lambda params: params.chosen("method"), r"section methods\.knn"),
        ("method: knn\nmethods: 3\n", lambda params: params.chosen("method"), r"methods\.knn"),
        ("method: knn\nmethods: {knn: 3}\n", lambda params: params.chosen("method"), "knn is 3"),
        ("seed: -1\n", lambda params: params.seed, "seed is -1"),
        ("seed: true\n", lambda params: params.seed, "seed is True"),
        ("device: 3\n", lambda params: params.device, "device is 3"),
        ("other: 3\n", lambda params: params.device, "'device'"),
    ],
)
def test_odd_parameters_are_refused(workspace, text, read, key):
    (workspace / "params.yaml").write_text(text)
    with pytest.raises(Exception, match=key) as refused:
        read(Params())
    assert isinstance(refused.value, ConfigError)


def test_an_entry_that_git_does_not_know_is_named_in_an_experiment(tmp_path, monkeypatch):
    inner = tmp_path / ".dvc/tmp/exps/tmpabc"
    inner.mkdir(parents=True)
    (tmp_path / "ltood/methods").mkdir(parents=True)
    (tmp_path / "ltood/methods/mine.py").write_text("")
    (inner / "params.yaml").write_text("method: mine\nmethods: {mine: {}}\n")
    monkeypatch.chdir(inner)
    with pytest.raises(ConfigError, match=r"git add ltood/methods/mine\.py"):
        Params().name("method")


def test_a_second_run_names_the_first(tmp_path):
    hold = (
        "import sys, pathlib; from ltood.pipeline._lock import only_run\n"
        "with only_run('train', pathlib.Path(sys.argv[1])): print('in', flush=True); input()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, **pipes) as first:
        assert first.stdout.readline() == "in\n"
        named = rf"train .* process {first.pid}\b"
        with pytest.raises(StoreError, match=named), only_run("train", tmp_path):
            pass
        with only_run("extract", tmp_path):
            pass
        first.kill()
        first.wait()
    with only_run("train", tmp_path):
        pass


def test_ranks_beside_the_first_take_no_lock(tmp_path, monkeypatch):
    with only_run("train", tmp_path):
        monkeypatch.setenv("RANK", "1")
        with pytest.raises(StoreError, match="train"), only_run("train", tmp_path):
            pass  # A number alone is a leftover; this process is the only one.
        monkeypatch.setenv("WORLD_SIZE", "2")
        with only_run("train", tmp_path):
            pass


def start(folder: Path, *options: str, **variables: str) -> subprocess.Popen[str]:
    """Start `python -m stages.report` in a folder where no environment is active."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    env.pop("VIRTUAL_ENV", None)
    return subprocess.Popen(
        [sys.executable, *options, "-m", "stages.report"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("inner", ["", ".dvc/tmp/exps/tmpabc"])
def test_stages_go_on_in_the_environment_of_the_repository(tmp_path, inner):
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "run with $@"\n')
    python.chmod(0o755)
    (tmp_path / inner).mkdir(parents=True, exist_ok=True)
    out, error = start(tmp_path / inner).communicate(timeout=60)
    assert out == "run with -m stages.report\n"
    assert error == f"using {python}, since no environment is active\n"


def test_a_python_without_the_packages_says_what_to_do(tmp_path):
    process = start(tmp_path, "-S")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.startswith(f"error: {sys.executable} cannot run stages (No module named 'click')")
    assert error.count("\n") == 1


def test_an_interrupt_while_a_library_is_imported_ends_quietly(tmp_path):
    """Compiled libraries may turn a KeyboardInterrupt into an error of their own."""
    (tmp_path / "click.py").write_text(
        "import time\nprint('importing', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept BaseException:\n    raise ImportError('lost')\n"
    )
    process = start(tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "interrupted; run the same command again to continue.\n"
