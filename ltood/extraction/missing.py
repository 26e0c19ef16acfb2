"""What is left to compute of a store, cut so that every image is read once."""

from collections.abc import Iterable, Mapping

from ltood.extraction.gathering import Range
from ltood.extraction.parts import rows_at_once
from ltood.runtime.console import log
from ltood.store.layout import StoreSpec, owner_of
from ltood.store.writer import SplitWriter

#: A split, rows of one of its chunks, or of several short ones, and the chunks in them to compute
#: of the split and its parts with extra arrays.
Task = tuple[str, Range, dict[str, list[Range]]]


def missing_chunks(
    writers: Mapping[str, SplitWriter], spec: StoreSpec, batches: Mapping[str, int]
) -> list[Task]:
    """Chunks that are not written, or whose bytes changed, by the rows that are read together.

    Args:
        writers: Writers of all splits and of their parts with extra arrays.
        spec: The store.
        batches: Rows of a batch by split.
    """
    # Splits of the same content share their files.
    distinct = {writer.files.identity: name for name, writer in writers.items()}
    tasks: dict[tuple[str, Range], dict[str, list[Range]]] = {}
    for name in distinct.values():
        split = owner_of(name)
        step = rows_at_once(spec.chunk_rows(split), batches[split])
        rows = spec.splits[split].rows
        for start, stop in writers[name].unsound():
            first = start // step * step
            wanted = tasks.setdefault((split, (first, min(first + step, rows))), {})
            wanted.setdefault(name, []).append((start, stop))
    order = {name: place for place, name in enumerate(spec.splits)}
    places = sorted(tasks, key=lambda task: (order[task[0]], task[1]))
    return [(split, rows, tasks[split, rows]) for split, rows in places]


def report_kept(work: Iterable[Task], writers: Mapping[str, SplitWriter]) -> None:
    """Log what is computed, where earlier runs left something."""
    left = dict.fromkeys(writers, 0)
    for _, _, wanted in work:
        for name, ranges in wanted.items():
            left[name] += sum(stop - start for start, stop in ranges)
    rows = {name: writer.files.spec.rows for name, writer in writers.items()}
    if left != rows:
        parts = [f"{name} ({left[name]:,} of {rows[name]:,} rows)" for name in left if left[name]]
        log(f"kept from earlier runs: all but {', '.join(parts)}" if parts else "nothing is new")
