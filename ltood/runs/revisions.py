"""States of a repository: experiments of DVC, commits and the workspace, read as they are.

Files of a state come from git, and results from DVC's cache by the hashes of its `dvc.lock`;
nothing is checked out, so that the workspace stays as it is.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ltood.core.errors import ConfigError, DataError, LtoodError, UnknownNameError
from ltood.runs.repository import git
from ltood.runs.settings import dotted
from ltood.runtime.dvc_config import cache_of
from ltood.runtime.files import read_json
from ltood.runtime.names import leads_out
from ltood.runtime.params import parse_params, section

#: What the state of the working folder is called, as in `dvc exp show`.
WORKSPACE = "workspace"
_LOCK = "dvc.lock"
#: Places below refs/exps where DVC keeps something else than experiments.
_NOT_EXPERIMENTS = frozenset({"exec", "stash", "celery"})


@dataclass(frozen=True)
class Revision:
    """One state of a repository.

    Attributes:
        root: Repository.
        name: Name of the experiment, or what the state was asked for by.
        commit: Its commit; None for the workspace.
        date: When it was committed, as "2026-11-28 23:28"; None for the workspace.
        baseline: Commit that an experiment started from; None of another state.
    """

    root: Path
    name: str
    commit: str | None
    date: str | None
    baseline: str | None = None

    def __str__(self) -> str:
        """What it is, for messages."""
        if self.commit is None:
            return "the workspace"
        kind = "experiment" if self.baseline else "revision"
        return f"{kind} {self.name} ({self.commit[:7]})"

    def text(self, path: str) -> str | None:
        """A text file that git has, or that lies in the workspace; None where there is none."""
        if self.commit is None:
            file = self.root / path
            return file.read_text(encoding="utf-8") if file.is_file() else None
        prefix = git(self.root, "rev-parse", "--show-prefix").strip()
        try:
            return git(self.root, "show", f"{self.commit}:{prefix}{path}")
        except LtoodError:
            return None

    @cached_property
    def _lock(self) -> Mapping[str, Any]:
        text = self.text(_LOCK)
        return {} if text is None else parse_params(text, Path(f"{_LOCK} of {self}"))

    def settings(self, *stages: str) -> dict[str, Any]:
        """Settings that its stages ran with, by their names in `params.yaml`.

        Args:
            stages: Stages to ask; all by default.
        """
        found: dict[str, Any] = {}
        for stage, content in section(self._lock, "stages").items():
            if not stages or stage in stages:
                for key, value in section(content, "params", "params.yaml").items():
                    found.update(dotted(key, value))
        return found

    def fetch(self, path: str, folder: Path) -> Path | None:
        """A result of its stages, as it was then.

        Args:
            path: Path from the repository on, such as "results/metrics.json".
            folder: Where it is copied to, if it does not lie in the workspace.

        Returns:
            Where it lies now; None where no stage has made it, or not this file of a folder.

        Raises:
            DataError: If DVC's cache does not hold it.
        """
        if self.commit is None:
            return self.root / path if (self.root / path).exists() else None
        for out, name in self._outs():
            if path == out or path.startswith(f"{out}/"):
                inner = path[len(out) + 1 :]
                return self._copied(name, inner, folder / self.commit / path)
        return None

    def _outs(self) -> Iterator[tuple[str, str]]:
        """Results with their hashes."""
        for content in section(self._lock, "stages").values():
            for out in content.get("outs") or ():
                if "md5" in out:
                    yield str(out["path"]), str(out["md5"])

    def _copied(self, name: str, inner: str, target: Path) -> Path | None:
        """What the cache holds under a hash, or a part of it, copied once; None without it."""
        if target.exists():
            return target
        if not name.endswith(".dir"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._cached(name), target)
            return target
        listed = read_json(self._cached(name), "run `dvc fetch`")
        files = {str(item["relpath"]): str(item["md5"]) for item in listed}
        wanted = {file: key for file, key in files.items() if not inner or file == inner}
        wanted |= {file: key for file, key in files.items() if file.startswith(f"{inner}/")}
        for file, key in wanted.items():
            if leads_out(file):
                raise DataError(f"{self}: DVC's cache lists a file {file!r} outside its folder.")
            place = target / file.removeprefix(f"{inner}/") if file != inner else target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._cached(key), place)
        return target if wanted else None

    def _cached(self, name: str) -> Path:
        """File of the cache; refuses one that is not there."""
        path = cache_of(self.root) / "files" / "md5" / name[:2] / name[2:]
        if not path.is_file():
            way = f"dvc exp apply {self.name}` and `dvc repro" if self.baseline else "dvc fetch"
            raise DataError(
                f"DVC's cache lacks a result of {self}; bring it back with `{way}`, or leave the "
                "run out."
            )
        return path


def workspace_of(root: Path) -> Revision:
    """The working folder as it is."""
    return Revision(root, WORKSPACE, None, None)


def experiments(root: Path) -> list[Revision]:
    """Experiments of a repository, oldest first.

    Raises:
        LtoodError: If git fails.
    """
    form = "--format=%(objectname) %(committerdate:format:%Y-%m-%d %H:%M) %(refname)"
    listed = git(root, "for-each-ref", "--sort=committerdate", form, "refs/exps")
    found = []
    for line in listed.splitlines():
        commit, day, time, ref = line.split(" ", 3)
        parts = ref.split("/")
        if len(parts) == 5 and parts[2] not in _NOT_EXPERIMENTS:
            baseline = parts[2] + parts[3]
            found.append(Revision(root, parts[4], commit, f"{day} {time}", baseline))
    return found


def revision(root: Path, name: str) -> Revision:
    """A state by its name: "workspace", an experiment, or whatever git calls a commit.

    Raises:
        UnknownNameError: If there is no such state.
        ConfigError: If several experiments have the name.
    """
    if name == WORKSPACE:
        return workspace_of(root)
    known = experiments(root)
    named = [found for found in known if found.name == name]
    if len(named) > 1:
        head = git(root, "rev-parse", "HEAD").strip()
        named = [found for found in named if found.baseline == head] or named
    if len(named) > 1:
        commits = ", ".join(str(found.commit)[:7] for found in named)
        raise ConfigError(f"{len(named)} experiments are called {name}; name a commit: {commits}.")
    if named:
        return named[0]
    try:
        commit = git(
            root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        )
    except LtoodError:
        raise UnknownNameError(_unknown(name, [found.name for found in known])) from None
    same = [found for found in known if found.commit == commit.strip()]
    return same[0] if same else commit_revision(root, name, commit.strip())


def commit_revision(root: Path, name: str, commit: str) -> Revision:
    """A commit with its date."""
    form = "--format=%cd"
    date = git(root, "show", "-s", form, "--date=format:%Y-%m-%d %H:%M", commit).strip()
    return Revision(root, name, commit, date)


def _unknown(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return (
        f"No run {name!r}: neither a path, nor an experiment of DVC, nor a commit.{hint} "
        "`ltood runs` lists the experiments."
    )
