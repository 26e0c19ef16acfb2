"""Whether scores are being written down as a graph, which holds operations of torch alone.

Some operations have a faster way outside of torch, or in memory that is used again. They ask here
whether they may take it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_written: ContextVar[bool] = ContextVar("written", default=False)


def is_written() -> bool:
    """Whether only plain operations of torch, each into new memory, may be used now."""
    return _written.get()


@contextmanager
def writing() -> Iterator[None]:
    """Have `is_written` say so while the block runs."""
    token = _written.set(True)
    try:
        yield
    finally:
        _written.reset(token)
