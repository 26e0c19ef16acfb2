"""The rows of a feature store in chunks of another size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltood.runtime.console import progress
from ltood.store.features import FeatureStore
from ltood.store.layout import StoreSpec
from ltood.store.writer import FeatureWriter


def rechunk(store: FeatureStore, rows_per_chunk: int | None, out: Path) -> FeatureStore:
    """Write the same values with other chunks; a killed run is continued by the same call.

    The fingerprint of a store covers how its rows are stored, so the new one has a fingerprint of
    its own. Splits keep theirs, which says what the rows were made from.

    Args:
        store: Feature store.
        rows_per_chunk: Rows of each chunk; None chooses chunks of 8 to 16 MiB.
        out: Store to write.

    Returns:
        The new store; its provenance names the old one.

    Raises:
        StoreError: If `out` was made from something else or cannot be written.
        CorruptStoreError: If bytes of the old store are missing or changed.
    """
    spec = StoreSpec({name: store.split_spec(name)[0] for name in store.parts}, rows_per_chunk)
    provenance: Mapping[str, Any] = {
        **store.provenance,
        "rechunked": {"of": store.fingerprint, "rows_per_chunk": rows_per_chunk},
    }
    head, counts = store.head_arrays(), store.prior().counts
    make = FeatureWriter.resume if out.exists() else FeatureWriter.create
    writer = make(out, spec, provenance, head, store.class_names, counts)
    for name in store.parts:
        rows, missing = store.rows(name), writer.missing(name)
        with progress(f"rechunk {name}", sum(stop - start for start, stop in missing)) as advance:
            for start, stop in missing:
                arrays = {key: rows.read(key, start, stop) for key in rows.spec.arrays}
                writer.write(name, start, arrays)
                advance(stop - start)
    writer.finish()
    return FeatureStore.open(out)
