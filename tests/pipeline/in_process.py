"""DVC's rule in one process: a stage runs if a parameter or the content of a dependency changed."""

import functools
import hashlib
import importlib
import operator
import re
import shutil
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ltood.runtime.params import read_params


class Stages:
    """Stages of a repository, run one after the other in this process, which loads torch once."""

    def __init__(self) -> None:
        self._seen: dict[str, object] = {}

    def repro(self, last: str | None = None) -> set[str]:
        """Run what must run in the current folder; gives the names without `inputs`.

        Args:
            last: Stage to end with; None for all.
        """
        ran, params = set(), read_params(Path("params.yaml"))
        for name, stage in read_params(Path("dvc.yaml"))["stages"].items():
            state = {
                **{dep: content(Path(dep)) for dep in stage.get("deps", ())},
                **{path: lookup(params, path) for path in stage.get("params", ())},
            }
            if stage.get("always_changed") or self._seen.get(name) != state:
                remove(stage)
                importlib.import_module(f"ltood.pipeline.{name}").run()
                self._seen[name] = state
                ran.add(name)
            if name == last:
                break
        return ran - {"inputs"}

    def changed(self, *overrides: str, last: str | None = None) -> set[str]:
        """Names of the stages that ran after a change of settings.

        Args:
            overrides: Settings as `dvc exp run -S` takes them.
            last: Stage to end with; None for all.
        """
        yaml, path = YAML(), Path("params.yaml")
        settings = yaml.load(path.read_text(encoding="utf-8"))
        override(settings, overrides)
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(settings, file)
        return self.repro(last)


def override(settings: dict[str, Any], overrides: tuple[str, ...]) -> None:
    """Change settings, all of which are there, as `dvc exp run -S` does."""
    for one in overrides:
        path, _, text = one.partition("=")
        *sections, key = path.split(".")
        place = functools.reduce(operator.getitem, sections, settings)
        assert key in place, one
        place[key] = YAML().load(text)


def remove(stage: dict[str, Any]) -> None:
    """Remove what a stage has written, as DVC does before it runs the stage."""
    for out in map(Path, (*stage.get("outs", ()), *stage.get("metrics", ()))):
        if out.is_dir():
            shutil.rmtree(out)
        else:
            out.unlink(missing_ok=True)


def lookup(params: Any, template: str) -> Any:
    """Value of a key that may hold names of other keys, such as `methods.${method}`."""
    found = params
    for key in re.sub(r"\$\{(\w+)\}", lambda name: params[name[1]], template).split("."):
        found = found[key]
    return found


def content(path: Path) -> object:
    """Digests of a file, or of all files of a folder."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        str(inner.relative_to(path)): hashlib.sha256(inner.read_bytes()).hexdigest()
        for inner in sorted(path.rglob("*"))
        if inner.is_file()
    }
