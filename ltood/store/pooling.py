"""One vector per row out of maps and tokens."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, DataError
from ltood.store.tables import Lazy, Table

Pool = Literal["mean", "max", "cls"]


def check_pool(pool: str | None) -> None:
    """Refuse an unknown pooling.

    Raises:
        ConfigError: With the known ones.
    """
    if pool is not None and pool not in get_args(Pool):
        raise ConfigError(f"pool is {pool!r}; it must be one of {', '.join(get_args(Pool))}.")


def pooled(table: Table, dim: int, pool: str) -> Table:
    """The table with features [N, D], pooled from maps or tokens.

    Args:
        table: Holds features [N, T, D], [N, D, H, W] or [N, H, W, D].
        dim: Feature width D.
        pool: "mean" or "max" over places, or "cls" for the first token.

    Raises:
        ConfigError: If `pool` is unknown.
        DataError: If features have another shape.
    """
    check_pool(pool)
    shape, dtype = table.shape("features"), table.dtype("features")
    if len(shape) == 2:
        return table
    first = len(shape) == 4 and shape[1] == dim
    if len(shape) not in (3, 4) or (not first and shape[-1] != dim):
        raise DataError(
            f"{table.path}: features have shape {shape}, which pool={pool} cannot make [N, {dim}]; "
            f"it takes [N, T, {dim}], [N, {dim}, H, W] and [N, H, W, {dim}]."
        )
    if pool == "cls" and len(shape) == 4:
        raise DataError(
            f"{table.path}: features are maps {shape}, which have no first token; use mean or max."
        )

    def reduce(block: NDArray[Any]) -> NDArray[Any]:
        places = block.reshape(len(block), dim, -1).swapaxes(1, 2) if first else block
        places = places.reshape(len(block), -1, dim)
        if pool == "mean":
            found = places.mean(axis=1, dtype=np.promote_types(dtype, np.float32))
        else:
            found = places[:, 0] if pool == "cls" else places.max(axis=1)
        rows: NDArray[Any] = found.astype(dtype)
        return rows

    def stream(sizes: Any) -> Iterator[NDArray[Any]]:  # noqa: ANN401
        return map(reduce, table.blocks("features", list(sizes)))

    def read(start: int, stop: int) -> NDArray[Any]:
        return list(stream([start, stop - start] if start else [stop]))[-1]

    arrays = table.columns()
    return Table(table.path, {**arrays, "features": Lazy((shape[0], dim), dtype, read, stream)})
