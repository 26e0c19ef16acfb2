"""Extra arrays of archives, named such as "odin/features", as parts of a store."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.core.extras import extra_arrays, extra_name, parted_extra
from ltood.runtime.console import progress
from ltood.store.features import FeatureWriter
from ltood.store.import_rules import as_float32
from ltood.store.layout import ArraySpec, SplitSpec, group_of, part_name
from ltood.store.tables import Table


def extras_of(archive: Table) -> list[str]:
    """Names of the extra arrays of an archive."""
    return extra_arrays(tuple(archive.names))


def extra_specs(split: str, archive: Table) -> dict[str, SplitSpec]:
    """Parts with the extra arrays of one archive, by name such as "test/odin".

    Raises:
        DataError: If one has another number of rows than the features, or holds no numbers.
    """
    rows = archive.shape("features")[0]
    groups: dict[str, dict[str, ArraySpec]] = {}
    for name in extras_of(archive):
        dtype, shape = archive.dtype(name), archive.shape(name)
        if dtype.kind not in "fiu" or len(shape) < 2 or shape[0] != rows:
            raise DataError(
                f"{archive.path}: {name} is {dtype} of shape {shape}; an extra array holds numbers "
                f"for each of the {rows} rows, [N, ...]."
            )
        group, array = parted_extra(name)
        half = dtype.itemsize == 2 and dtype.kind == "f"
        spec = ArraySpec("float16" if half else "float32", shape[1:])
        groups.setdefault(part_name(split, group), {})[array] = spec
    return {name: SplitSpec(rows, arrays) for name, arrays in groups.items()}


def write_extras(writer: FeatureWriter, part: str, archive: Table) -> None:
    """Check and write one part chunk by chunk, skipping what is written already.

    Raises:
        DataError: If a number is not finite.
    """
    spec, ranges = writer.spec.splits[part], writer.spec.ranges(part)
    missing, sizes = set(writer.missing(part)), [stop - start for start, stop in ranges]
    if not missing:
        return
    names = {key: extra_name(group_of(part), key) for key in spec.arrays}
    streams = {key: archive.blocks(name, sizes) for key, name in names.items()}
    with progress(f"import {part}", spec.rows) as advance:
        for start, stop in ranges:
            block = {key: as_float32(next(stream)) for key, stream in streams.items()}
            if (start, stop) in missing:
                for key, values in block.items():
                    _check_finite(f"{archive.path}: {names[key]}", start, values)
                rows = {key: v.astype(spec.arrays[key].dtype) for key, v in block.items()}
                writer.write(part, start, rows)
            advance(stop - start)


def _check_finite(what: str, start: int, values: NDArray[Any]) -> None:
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if bad.any():
        raise DataError(
            f"{what} of row {start + int(np.argmax(bad))} holds NaN or infinity; every value must "
            "be finite in float32. Compute them again."
        )
