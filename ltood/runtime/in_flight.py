"""Some pieces of work at a time, for work that mostly waits for a disk or a server."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

#: Requests to one server at a time.
REQUESTS = 8
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def each_of(
    work: Callable[[_In], _Out], items: Iterable[_In], workers: int = REQUESTS
) -> Iterator[_Out]:
    """What `work` gives for each item, in order; after the first error no other item is begun.

    Args:
        work: Called in threads.
        items: All of them are taken at once.
        workers: Items at a time; with one, `work` is called in this thread.

    Yields:
        One result for each item.
    """
    if workers == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers, "ltood-in-flight")
    try:
        for future in [pool.submit(work, item) for item in items]:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
