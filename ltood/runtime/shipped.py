"""Files that come with ltood in addition to its modules: the pipeline and the demo images."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """A file or folder that comes with ltood.

    Args:
        name: Where it lies in the repository, such as "params.yaml" or "data/demo".

    Returns:
        The copy that a wheel brings (hatch_build.py), or the original in a repository.
    """
    copy = _PACKAGE / "shipped" / name
    return copy if copy.exists() else _PACKAGE.parent / name
