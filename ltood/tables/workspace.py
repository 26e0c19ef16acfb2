"""Folders in which cells run: copies of what git tracks, over the repository's DVC cache.

They lie where DVC puts experiments, so that data sets and weights are looked up in the repository
(`ltood.runtime.workspace`). A folder is kept until its cell is finished: a killed training goes on
from its last checkpoint.
"""

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ltood.core.errors import LtoodError
from ltood.runs.repository import commit_of, git
from ltood.runtime.claims import is_locked
from ltood.runtime.console import log
from ltood.runtime.dvc_config import cache_of
from ltood.runtime.files import remove_folder, write_atomically
from ltood.runtime.params import with_settings
from ltood.tables.cells import Cell

_EXPERIMENTS = Path(".dvc/tmp/exps")
#: What the DVC of a cell holds as long as it lives, even if its parent is killed.
RUNNING = Path(".dvc/tmp/cell")
#: What the stages of a cell hold.
LOCKS = Path("data/work/locks")
WAIT_SECONDS = 2.0
#: Untracked files above this many bytes are data, which is looked up in the repository.
_LARGEST = 2**20


def prepare(root: Path, table: str, cell: Cell) -> Path:
    """The folder in which a cell runs, with the files, changes and settings of now.

    Unfinished work of an earlier run in the same folder stays. A run that lives on without the one
    that started it is waited for.

    Args:
        root: Repository.
        table: Name of the table.
        cell: The cell.

    Raises:
        LtoodError: If git fails.
    """
    copy, inside = copy_of(root, table, cell), git(root, "rev-parse", "--show-prefix").strip()
    commit = commit_of(root)
    wait_until_alone(copy / inside)
    for left in (copy / ".git").glob("*.lock"):  # Of a killed git.
        left.unlink(missing_ok=True)
    try:
        _update(root, copy, commit)
    except LtoodError:  # A copy that was never finished, or is damaged.
        remove_folder(copy)
        copy.parent.mkdir(parents=True, exist_ok=True)
        git(root, "clone", "--quiet", "--shared", "--no-checkout", _top(root), str(copy))
        _update(root, copy, commit)
    folder = copy / inside
    config = f"[cache]\n    dir = {cache_of(root)}\n"
    write_atomically(folder / ".dvc" / "config.local", config.encode())
    params = folder / "params.yaml"
    # A cell is a number of a table; nobody deploys it.
    settings = {**cell.params, "export": {"enabled": False}}
    write_atomically(params, with_settings(params, settings).encode())
    return folder


def copy_of(root: Path, table: str, cell: Cell) -> Path:
    """Where the copy of a cell lies, whether or not it is there."""
    return root / _EXPERIMENTS / f"table-{table}-{cell.name}"


def _top(root: Path) -> str:
    return git(root, "rev-parse", "--show-toplevel").rstrip("\n")


def _update(root: Path, copy: Path, commit: str) -> None:
    """Give a copy the files of now: those of a commit, changes since, and new ones."""
    if not (copy / ".git").is_dir():
        raise LtoodError(f"{copy} lacks its git folder; run the table again.")
    git(copy, "checkout", "--quiet", "--force", "--detach", commit)
    git(copy, "clean", "--quiet", "--force", "-d")
    # Whatever the user's git shows, a patch is read.
    plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules", "--no-relative")
    form = ("--binary", "--src-prefix=a/", "--dst-prefix=b/")
    if changes := git(root, "diff", *plain, *form, "HEAD"):
        stdin = changes.encode(errors="surrogateescape")
        git(copy, "apply", "--whitespace=nowarn", stdin=stdin)
    top = Path(_top(root))
    for name in _new_files(top):
        target = copy / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(top / name, target)


def _new_files(top: Path) -> list[str]:
    """Files that git neither tracks nor ignores: code and what belongs to it, no data."""
    listed = git(top, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    return [
        name
        for name in listed
        if (top / name).is_file() and (top / name).stat().st_size <= _LARGEST
    ]


def added(folder: Path) -> list[str]:
    """Files of a cell that its commit does not have, as paths from its folder."""
    return [
        n for n in git(folder, "ls-files", "-z", "--others", "--exclude-standard").split("\0") if n
    ]


def wait_until_alone(folder: Path) -> None:
    """Wait for an earlier run of a cell whose parent was killed: its DVC, or one of its stages.

    Args:
        folder: Where it runs, if it is there.
    """
    told = False
    for path in (folder / RUNNING, *sorted((folder / LOCKS).glob("*"))):
        while is_locked(path):
            if not told:
                log(f"{folder.name}: waiting for an earlier run that lives on")
                told = True
            time.sleep(WAIT_SECONDS)


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
