"""Which of several processes writes, told without the others."""

import os


def is_first() -> bool:
    """Whether this process is the one that writes, told without the others.

    A number without `WORLD_SIZE` is a leftover of something else: who shares nothing is the first.
    """
    return not is_shared() or os.environ.get("RANK", "0") == "0"


def is_shared() -> bool:
    """Whether this process was started as one of several, told without the others."""
    return os.environ.get("WORLD_SIZE", "1") != "1"
