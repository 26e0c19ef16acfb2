"""Names of files from outside, checked before anything is written under them."""

from pathlib import PurePosixPath


def leads_out(name: str) -> bool:
    r"""Whether a name could be a place outside the folder that it is joined to.

    Example:
        >>> [leads_out(name) for name in ("a/b", "../a", "/a", "C:\\a", "a/../../b")]
        [False, True, True, True, True]
    """
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1])
