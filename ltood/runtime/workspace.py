"""Location of files outside git while DVC runs an experiment in a folder of its own.

`dvc exp run --temp` and `--queue` copy what git tracks to `.dvc/tmp/exps/<name>` and run there.
Data sets and weights stay in the workspace, so a relative path is looked up there as well.
"""

from pathlib import Path

_EXPERIMENTS = (".dvc", "tmp", "exps")


def origin(folder: Path | None = None) -> Path | None:
    """The workspace that an experiment was started from.

    Args:
        folder: Folder of the experiment; the current one if not given.

    Returns:
        Root of the workspace, or None outside of a folder that DVC made for an experiment.
    """
    folder = (Path.cwd() if folder is None else folder).absolute()
    for inner in (folder, *folder.parents):
        if inner.parent.parts[-len(_EXPERIMENTS) :] == _EXPERIMENTS:
            return inner.parents[len(_EXPERIMENTS)]
    return None


def locate(path: Path | str) -> Path:
    """A path as given, or in the workspace where only that has it.

    Args:
        path: Absolute, or relative to the current folder.

    Returns:
        `path` itself where it exists, is absolute or is found nowhere.
    """
    path = Path(path)
    root = origin()
    if root is None or path.is_absolute() or path.exists() or not (root / path).exists():
        return path
    return root / path


def below_workspace(path: Path) -> str:
    """A path that `locate` gave, as text that is the same in the workspace and in an experiment.

    Args:
        path: Absolute, or relative to the current folder.

    Returns:
        The path from the workspace on where it lies there, else as it is.
    """
    root = origin() or Path.cwd()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
