"""DVC's rule in one process: a stage runs if a parameter or the content of a dependency changed."""

import hashlib
import importlib
import re
from pathlib import Path
from typing import Any

from ltood.runtime.params import read_params


class Stages:
    """Stages of a repository, run one after the other in this process, which loads torch once."""

    def __init__(self) -> None:
        self._seen: dict[str, object] = {}

    def repro(self) -> set[str]:
        """Run what must run in the current folder; gives the names without `inputs`."""
        ran, params = set(), read_params(Path("params.yaml"))
        for name, stage in read_params(Path("dvc.yaml"))["stages"].items():
            state = {
                **{dep: content(Path(dep)) for dep in stage.get("deps", ())},
                **{path: lookup(params, path) for path in stage.get("params", ())},
            }
            if stage.get("always_changed") or self._seen.get(name) != state:
                importlib.import_module(f"ltood.pipeline.{name}").run()
                self._seen[name] = state
                ran.add(name)
        return ran - {"inputs"}


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
