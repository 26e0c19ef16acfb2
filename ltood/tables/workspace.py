"""Folders in which cells run: copies of what git tracks, over the repository's DVC cache.

They lie where DVC puts experiments, so that data sets and weights are looked up in the repository
(`ltood.runtime.workspace`). A folder is kept until its cell is finished: a killed training goes on
from its last checkpoint.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ltood.core.errors import ConfigError, LtoodError
from ltood.runtime.files import remove_folder, write_atomically
from ltood.runtime.params import with_settings
from ltood.tables.cells import Cell

_EXPERIMENTS = Path(".dvc/tmp/exps")


def repository(start: Path | None = None) -> Path:
    """Root of the repository that holds a folder.

    Args:
        start: The folder; the current one if not given.

    Raises:
        ConfigError: If it is in no repository of git and DVC, or has no commit yet.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / ".dvc").is_dir() and (folder / ".git").exists():
            commit_of(folder)
            return folder
    raise ConfigError(
        f"{start} is in no repository of git and DVC, where results are kept; run "
        "from one, or make one with `ltood new FOLDER`."
    )


def commit_of(root: Path) -> str:
    """Commit that a repository is at.

    Raises:
        ConfigError: If there is none.
    """
    try:
        return git(root, "rev-parse", "HEAD").strip()
    except LtoodError:
        raise ConfigError(
            f"{root} has no commit yet; commit your files first (git add -A, git commit)."
        ) from None


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """Output of a git command.

    Raises:
        LtoodError: If it fails, with its message.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], input=stdin, capture_output=True, check=True
        )
    except FileNotFoundError:
        raise ConfigError("tables need git, which is not on the path; install it.") from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.decode(errors="replace").split())
        raise LtoodError(f"git {arguments[0]} failed in {folder}: {said}") from None
    return done.stdout.decode(errors="surrogateescape")


def prepare(root: Path, table: str, cell: Cell) -> Path:
    """The folder in which a cell runs, with the files, changes and settings of now.

    Unfinished work of an earlier run in the same folder stays.

    Args:
        root: Repository.
        table: Name of the table.
        cell: The cell.
    """
    folder = root / _EXPERIMENTS / f"table-{table}-{cell.name}"
    commit = commit_of(root)
    if not (folder / ".git").is_dir():
        remove_folder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        git(root, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(folder))
    git(folder, "checkout", "--quiet", "--force", "--detach", commit)
    changes = git(root, "diff", "--binary", "HEAD").encode(errors="surrogateescape")
    if changes:
        git(folder, "apply", "--whitespace=nowarn", stdin=changes)
    config = f"[cache]\n    dir = {cache_of(root)}\n"
    write_atomically(folder / ".dvc" / "config.local", config.encode())
    params = folder / "params.yaml"
    write_atomically(params, with_settings(params, cell.params).encode())
    return folder


def cache_of(root: Path) -> str:
    """Folder of DVC's cache of a repository."""
    done = subprocess.run(
        dvc("cache", "dir"), cwd=root, capture_output=True, check=False, text=True
    )
    found = done.stdout.strip().splitlines()
    return str((root / found[-1]).resolve()) if found else str(root / ".dvc" / "cache")


def dvc(*arguments: str) -> Sequence[str]:
    """A command line of the DVC of this environment."""
    return (sys.executable, "-m", "dvc", *arguments)


def environment(threads: int, gpu: str | None, processes: int = 1) -> Mapping[str, str]:
    """Variables of the processes of a cell.

    Args:
        threads: Threads of each process; numbers may depend on it, so it is the same for all.
        gpu: The one GPU that they see; None for all.
        processes: Processes that share training and extraction.
    """
    found = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        found[name] = str(threads)
    found["LTOOD_PROCESSES"] = str(processes)
    if gpu is not None:
        found["CUDA_VISIBLE_DEVICES"] = gpu
    return found
