"""Failures as values, so that a fault of one entry ends nothing but its own rows."""

import errno
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from ltood.core.errors import (
    CorruptStoreError,
    IncompleteStoreError,
    LtoodError,
    TransferError,
)

P = ParamSpec("P")
T = TypeVar("T")

#: Full, over quota, read-only, failing, or a network disk that forgot a file.
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)


@dataclass(frozen=True)
class Failed:
    """Why there is no result.

    Attributes:
        reason: One line.
        is_unfit: Whether an entry merely does not fit the store or another entry.
    """

    reason: str
    is_unfit: bool = False


def attempt(
    unfit: tuple[type[Exception], ...], work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T | Failed:
    """Do some work of one entry, whose fault must not cost the results of the others.

    What no entry can be blamed for ends all: damaged or unfinished stores, a network, disk or GPU
    that fails. A row that says so would stay in a result that counts as made.

    Args:
        unfit: Errors that say that an entry does not fit, and is not at fault.
        work: What to do.
        *args: Its arguments.
        **kwargs: Its arguments by name.

    Returns:
        What `work` gives, or why it failed.
    """
    try:
        return work(*args, **kwargs)
    except Exception as error:  # Whatever an entry raises ends its own rows alone.
        if _concerns_all(error):
            raise
        _look_after_gpu(error)
        reason = " ".join(str(error).split())
        if not isinstance(error, LtoodError):
            reason = f"{type(error).__name__}: {reason}"
        return Failed(reason, isinstance(error, unfit))


def _concerns_all(error: BaseException) -> bool:
    """Whether what all entries read, or the machine, is at fault."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _OF_DISKS:
            return True
        cause = cause.__cause__
    return isinstance(error, CorruptStoreError | IncompleteStoreError | TransferError)


def _look_after_gpu(error: Exception) -> None:
    """Free what a failed entry left of a GPU's memory; raise again what broke the GPU for all.

    After a fault in a kernel every later call fails too, so other rows would be at fault for it.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if isinstance(error, getattr(torch, "AcceleratorError", ())):
        raise error
    if isinstance(error, torch.OutOfMemoryError):
        # Libraries beside torch, such as FAISS, do not see what it keeps for itself.
        torch.cuda.empty_cache()
