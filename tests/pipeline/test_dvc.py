"""DVC with own data: what it runs again, what it restores, also in folders of their own."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ltood.runtime.provenance import WITHOUT_EFFECT
from tests.pipeline.workspace import AFTER_EXTRACT, STAGES, Workspace, draw, own_data

#: Modules that only write lines for people there: groups of classes in the summary.
FOR_PEOPLE = {
    "prepare": {"ltood.core.prior"},
    # They name the entries whose extra arrays are wanted; `inputs/extras.json` has the answer.
    "extract": {
        *("ltood.comparing", "ltood.comparing.plan"),
        *("ltood.methods", "ltood.methods._published"),
    },
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = own_data(tmp_path_factory.mktemp("dvc") / "copy")
    assert workspace.repro() == STAGES
    return workspace


def split_files(workspace: Workspace, split: str) -> dict[str, int]:
    """Files of a split of the feature store and where they lie on the disk."""
    folder = workspace.path / "data/work/features.zarr" / split
    return {
        str(path.relative_to(folder)): path.stat().st_ino
        for path in folder.rglob("*")
        if path.is_file() and path.parent != folder
    }


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_loads_is_what_its_digest_covers(workspace, stage):
    """Also what is loaded by name, which no reading of imports finds."""
    code = json.loads((workspace.path / f"data/work/inputs/code/{stage}.json").read_text())
    loaded = workspace.loaded(stage)
    assert "ltood.core.settings" in loaded
    uncovered = loaded - code["modules"].keys() - WITHOUT_EFFECT.keys()
    assert uncovered <= FOR_PEOPLE.get(stage, set())


@pytest.mark.timeout(900)
def test_what_is_the_same_reruns_nothing(workspace):
    path = workspace.path
    scaled = path / "ltood/networks/scaled.py"
    scaled.write_text(f"# A comment.\n{scaled.read_text()}\n# Another.\n")
    draw(path / "data/sets/mine/train/red/0.bmp", 1)  # the same pixels
    (path / "data/weights/unused.pt").write_text("x")
    (path / "data/sets/mine/train/red/notes.txt").write_text("x")
    assert workspace.repro() == []
    assert "always changed" in workspace.run("dvc", "status").stdout


@pytest.mark.timeout(900)
def test_a_set_is_added_and_removed_without_training(workspace):
    trained = split_files(workspace, "train")
    sets = 'datasets.folder.ood=["els=data/sets/els","more=data/sets/more"]'
    added = workspace.experiment(sets, upto=("extract",))  # the rest: test_newcomer.py
    assert added == ["prepare", "extract"]
    assert split_files(workspace, "ood_more")
    assert split_files(workspace, "train").keys() == trained.keys()
    assert workspace.changed('datasets.folder.ood=["els=data/sets/els"]') == []
    assert not split_files(workspace, "ood_more")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_image_replaced_in_place_is_noticed_and_the_first_one_restored(workspace):
    image = workspace.path / "data/sets/mine/test/red/0.bmp"
    before, content = image.stat(), image.read_bytes()
    draw(image, 1000)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    ran = workspace.repro()
    assert ran[:2] == ["prepare", "extract"]
    assert set(ran) <= {"prepare", "extract", *AFTER_EXTRACT}
    image.write_bytes(content)
    assert workspace.repro() == []


@pytest.mark.timeout(900)
def test_an_earlier_recipe_is_restored(workspace):
    changed = functools.partial(workspace.changed, upto=("calibrate",))
    assert changed("recipe=logit_adjustment") == ["train", "extract", "adapt", "calibrate"]
    weights = workspace.path / "data/work/checkpoint/model.safetensors"
    content = weights.read_bytes()
    assert changed("recipe=cross_entropy") == []
    assert weights.read_bytes() != content
    assert changed("recipe=logit_adjustment") == []
    assert weights.read_bytes() == content
    assert workspace.changed("recipe=cross_entropy") == []


@pytest.mark.timeout(900)
def test_bad_settings_end_in_one_line_before_anything_runs(workspace):
    for override, words in (
        ("methods.knn.k=abc", "methods.knn.k"),
        ("method=mps", "Did you mean msp"),
    ):
        done = workspace.run("dvc", "exp", "run", "-S", override, check=False)
        workspace.run("git", "checkout", "-q", "params.yaml")
        assert done.returncode != 0, override
        assert re.findall(r"Running stage '(\w+)'", done.stdout) == ["inputs"], override
        assert words in done.stdout + done.stderr, override
        assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_experiments_run_in_folders_of_their_own(workspace):
    """Data and weights that git ignores are found in the workspace they were queued from."""
    workspace.commit()
    weights = workspace.path / "data/weights/mine.safetensors"
    shutil.copy(workspace.path / "data/work/checkpoint/model.safetensors", weights)
    run = workspace.run(
        "dvc", "exp", "run", "--temp", "-S", "training.weights=data/weights/mine.safetensors",
        "-S", "recipe=pretrained",
    )  # fmt: skip
    assert "Running stage 'extract'" in run.stdout
    workspace.run("dvc", "exp", "run", "--queue", "-n", "queued", "-S", "method=knn")
    run = workspace.run("dvc", "exp", "run", "--run-all")
    shown = workspace.run("dvc", "exp", "show", "--csv").stdout
    assert "queued" in shown
    workspace.run("dvc", "exp", "apply", "queued")
    assert workspace.repro() == []


@pytest.mark.timeout(900)
def test_everything_a_run_promises_is_there(workspace):
    results = workspace.path / "results"
    metrics = json.loads((results / "metrics.json").read_text())
    assert list(metrics["ood"]) == ["els"]
    board = json.loads((results / "leaderboard.json").read_text())
    assert [row["status"] for row in board["rows"]] == ["ok", "ok"]
    assert "<svg" in (results / "report.html").read_text()
    assert "auroc" in workspace.run("dvc", "metrics", "show").stdout
    workspace.run("dvc", "plots", "show")
    shown = workspace.run("git", "status", "--short").stdout.splitlines()
    assert [line for line in shown if line.startswith("??")] == ["?? dvc.lock"]


@pytest.mark.timeout(900)
def test_a_training_that_dvc_left_behind_is_named(workspace):
    """DVC is killed, its stage lives on; a second start must not run beside it."""
    hold = (
        "from pathlib import Path; from ltood.pipeline._lock import only_run\n"
        "with only_run('inputs', Path('data/work/locks')): print('in', flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold],
        cwd=workspace.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as left:
        assert left.stdout.readline() == "in\n"
        done = workspace.run("dvc", "repro", check=False)
        left.kill()
    assert done.returncode != 0
    assert f"inputs is still running as process {left.pid}" in done.stderr
    assert workspace.repro() == []
