"""A committed copy of the working tree, in which the pipeline takes seconds."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from tests.pipeline.in_process import override

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["prepare", "train", "extract", "adapt", "visualise", "calibrate", "score", "normalise",
          "export", "evaluate", "compare", "examples", "report"]  # fmt: skip
AFTER_EXTRACT = STAGES[STAGES.index("adapt") :]
#: The leaderboard shows every compared method anyway.
AFTER_SCORE = ["score", "normalise", "export", "evaluate", "examples", "report"]


def draw(path: Path, seed: int) -> None:
    """Write a small image; the size of the file is the same for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


#: Notes at the end of each stage which modules it has loaded.
HOOK = """
import atexit, os, sys

def note():
    with open(os.path.join(os.path.dirname(__file__), os.environ["DVC_STAGE"]), "w") as file:
        file.write("\\n".join(sys.modules))

if "DVC_STAGE" in os.environ:
    atexit.register(note)
"""


class Workspace:
    """A repository of its own with DVC's folders of its own.

    Attributes:
        path: Its root, which is also where stages run.
    """

    def __init__(self, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
        """Copy what git knows here, with other parameters.

        Args:
            path: Folder to make.
            change: Changes the content of params.yaml in place.
        """
        self.path = path
        self._notes = path.parent / "notes"
        self._notes.mkdir()
        (self._notes / "sitecustomize.py").write_text(HOOK)
        self.env = {
            **os.environ,
            "PYTHONPATH": str(self._notes),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": sys.prefix,
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
            "DVC_SITE_CACHE_DIR": str(path.parent / "site"),
            "DVC_NO_ANALYTICS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name in self._files():
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
        self.params(change)
        self.run("git", "init", "-q")
        self.commit()

    @staticmethod
    def _files() -> list[str]:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        wanted = ("ltood/", "stages/", "data/demo/", "data/weights/", ".dvc/")
        names = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore")
        return [
            name
            for name in done.stdout.splitlines()
            if (name.startswith(wanted) or name in names) and (ROOT / name).is_file()
        ]

    def params(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change params.yaml, its comments kept."""
        yaml, path = YAML(), self.path / "params.yaml"
        content = yaml.load(path.read_text())
        change(content)
        with path.open("w") as file:
            yaml.dump(content, file)

    def commit(self) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "state")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the workspace."""
        done = subprocess.run(
            command, cwd=self.path, env=self.env, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def stages_run(self, *command: str) -> list[str]:
        """Names of the stages that a DVC command really ran, after the one that always runs."""
        first, *others = re.findall(r"Running stage '(\w+)'", self.run(*command).stdout)
        assert first == "inputs"
        return others

    def loaded(self, stage: str) -> set[str]:
        """Modules of ours that the last run of a stage loaded."""
        names = (self._notes / stage).read_text().splitlines()
        return {name for name in names if name.partition(".")[0] == "ltood"}

    def repro(self, *targets: str) -> list[str]:
        """Names of the stages that `dvc repro` ran, up to some of them where named."""
        return self.stages_run("dvc", "repro", *targets)

    def changed(self, *overrides: str, upto: tuple[str, ...] = ()) -> list[str]:
        """Names of the stages that `dvc repro` ran after a change of settings.

        It costs a third of an experiment with the same settings, which also makes a commit.

        Args:
            overrides: Settings as `dvc exp run -S` takes them.
            upto: Last stages to run; all if none are named.
        """

        self.params(lambda content: override(content, overrides))
        return self.repro(*upto)

    def experiment(self, *overrides: str, upto: tuple[str, ...] = ()) -> list[str]:
        """Names of the stages that `dvc exp run -S ...` ran, up to some of them where named."""
        arguments = [part for one in overrides for part in ("-S", one)]
        return self.stages_run("dvc", "exp", "run", *arguments, *upto)


def own_data(path: Path) -> Workspace:
    """A workspace with a few small images of its own, which git ignores, like weights."""

    def change(content: dict[str, Any]) -> None:
        content["dataset"], content["method"] = "folder", "msp"
        content["training"] |= {"epochs": 1, "batch_size": 8}
        content["compare"]["methods"] = ["msp", "knn"]
        content["methods"]["knn"]["k"] = 1
        content["datasets"]["folder"] |= {
            "root": "data/sets/mine", "size": 16, "ood": ["els=data/sets/els"]
        }  # fmt: skip

    workspace = Workspace(path, change)
    sets, seed = path / "data/sets", 0
    for split, count in {"train": 4, "val": 2, "test": 3}.items():
        for name in ("red", "blue"):
            for row in range(count):
                draw(sets / "mine" / split / name / f"{row}.bmp", seed := seed + 1)
    for name in ("els", "more"):
        for row in range(4):
            draw(sets / name / f"{row}.bmp", seed := seed + 1)
    return workspace
