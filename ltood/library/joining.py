"""Features of several networks for the same images, brought together by the ids of rows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.library.columns import Column, picked, side_by_side
from ltood.library.features import Features, Split


def join(sources: Sequence[Features], take: int | None) -> Features:
    """Splits that all sources have; see `ltood.open_features`.

    Args:
        sources: What is joined.
        take: Number of the source whose features and head are taken; None puts all features side
            by side.

    Raises:
        DataError: If they do not hold the same images with the same labels.
    """
    if not sources:
        raise DataError("there is nothing to open; give a store, a folder or arrays.")
    if take is not None and not 0 <= take < len(sources):
        raise DataError(f"take is {take}; there are {len(sources)} sources, counted from 0.")
    first = sources[0]
    for number, other in enumerate(sources[1:], 1):
        if other.class_names != first.class_names:
            raise DataError(
                f"source {number} has different class names from source 0; give class_names= "
                "when opening them, so that labels mean the same."
            )
    shared = [name for name in first.splits if all(name in other.splits for other in sources)]
    if not shared:
        raise DataError("the sources have no split in common; join those of the same images.")
    splits = {name: _joined([source.bare(name) for source in sources], take) for name in shared}
    head = {} if take is None else sources[take].head_arrays
    return Features(splits, head, first.class_names, first.counts)


def _joined(parts: Sequence[Split], take: int | None) -> Split:
    """One split in the order of the first part."""
    first = parts[0]
    ids = np.asarray(first.ids)
    found = []
    for number, part in enumerate(parts):
        rows = _rows_of(ids, np.asarray(part.ids), number, first.name)
        found.append({key: picked(column, rows) for key, column in part.columns.items()})
        differing = np.asarray(found[-1]["labels"]) != np.asarray(first.labels)
        if differing.any():
            at = ids[int(np.argmax(differing))]
            raise DataError(
                f"source {number} has a different label for id {at} of {first.name} than source 0 "
                f"({int(differing.sum())} such rows); they do not hold the same images."
            )
    if take is not None:
        return Split(first.name, found[take])
    columns: dict[str, Column] = {key: found[0][key] for key in ("labels", "ids")}
    columns["features"] = side_by_side([part["features"] for part in found])
    return Split(first.name, columns)


def _rows_of(
    wanted: NDArray[np.int64], ids: NDArray[np.int64], number: int, split: str
) -> NDArray[np.int64]:
    """Row numbers of the wanted ids, [N]."""
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise DataError(
            f"source {number} has an id twice in {split}, so its rows cannot be told apart; give "
            "each row an id of its own."
        )
    at = np.searchsorted(ordered, wanted)
    there = (at < len(ids)) & (ordered[np.minimum(at, len(ids) - 1)] == wanted)
    if not there.all() or len(ids) != len(wanted):
        raise DataError(
            f"source {number} has {len(ids):,} rows of {split} and source 0 has {len(wanted):,}, "
            f"of which {int(there.sum()):,} have the same id; join features of the same images."
        )
    return order[at]
