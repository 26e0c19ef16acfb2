"""A repository of git and DVC, asked without changing anything in it."""

import subprocess
from pathlib import Path

from ltood.core.errors import ConfigError, LtoodError


def repository(start: Path | None = None) -> Path:
    """Root of the repository that holds a folder.

    Args:
        start: The folder; the current one if not given.

    Raises:
        ConfigError: If it is in no repository of git and DVC, or has no commit yet.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        above = (folder, *folder.parents)
        if (folder / ".dvc").is_dir() and any((place / ".git").exists() for place in above):
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
        raise ConfigError(
            "results are kept with git, which is not on the path; install it."
        ) from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.decode(errors="replace").split())
        raise LtoodError(f"git {arguments[0]} failed in {folder}: {said}") from None
    return done.stdout.decode(errors="surrogateescape")
