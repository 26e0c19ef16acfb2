"""Names of arrays that come from another feature store, row by row beside those of the present one.

A batch holds them as `features@PATH`, aligned by ids with its own rows.
"""

from ltood.core.batches import FeatureBatch
from ltood.core.errors import MissingNeedError

_AT = "@"


def beside(array: str, store: str) -> str:
    """Name of an array of another store, such as "features@clip.zarr"."""
    return f"{array}{_AT}{store}"


def parted(name: str) -> tuple[str, str | None]:
    """An array's own name, and its store; None for the present one."""
    array, at, store = name.partition(_AT)
    return array, store if at else None


def stores_of(arrays: tuple[str, ...]) -> list[str]:
    """Other stores that some arrays come from, each once."""
    found = (parted(name)[1] for name in arrays)
    return list(dict.fromkeys(store for store in found if store is not None))


def rows_beside(batch: FeatureBatch, store: str) -> FeatureBatch:
    """The same rows as another store has them.

    Raises:
        MissingNeedError: If the batch was not read together with that store.
    """
    found = {
        parted(name)[0]: tensor for name, tensor in batch.arrays.items() if parted(name)[1] == store
    }
    if not found:
        raise MissingNeedError(
            f"a member reads rows of {store}, which this batch does not hold; such members score "
            "rows of feature stores alone, which are joined by ids (ltood score, compare)."
        )
    return FeatureBatch(found)
