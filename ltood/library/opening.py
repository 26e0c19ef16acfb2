"""Features of stores, of files and of arrays in memory, in one form."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ltood.core.arrays import as_array
from ltood.core.errors import DataError
from ltood.library.columns import Column
from ltood.library.features import Features, Split
from ltood.store.features import FeatureStore
from ltood.store.formats import open_table
from ltood.store.import_rules import (
    HEAD,
    class_counts,
    feature_width,
    folder_files,
    read_class_names,
    read_head,
    read_ids,
    read_labels,
    split_spec,
    stand_in,
)
from ltood.store.layout import check_split_name, full_split_name
from ltood.store.pooling import Pool, pooled
from ltood.store.tables import Lazy, Table, joined

if TYPE_CHECKING:
    from ltood.core.head import Head

_READ = ("features", "logits", "local")
HeadArrays = dict[str, NDArray[Any]]


def open_features(
    source: "Path | str | Mapping[str, Any] | Sequence[Path | str | Features]",
    *,
    head: "Head | Features | Path | str | None" = None,
    class_names: Sequence[str] | None = None,
    pool: Pool | None = None,
    take: int | None = None,
) -> Features:
    """Open features for reading, without reading them.

    Args:
        source: A feature store, in a folder or at an address such as "s3://bucket/name"; a folder
            of files as `ltood import` reads them; or arrays by split: {"train": (features,
            labels), "svhn": features} or {"train": {"features": ..., "labels": ...}}. Several of
            them in a list are joined: rows with the same id, whatever their order, get the
            features of all.
        head: Head to use instead of theirs: a linear layer, a `ClassifierHead`, (weight, bias), or
            the features or store whose head it is.
        class_names: Names of the C classes in label order.
        pool: How maps [N, D, H, W] or tokens [N, T, D] of files and arrays become vectors:
            "mean" or "max" over places, "cls" for the first token.
        take: Number of the source whose features and head to use. If not given, the features of
            all sources are put side by side, without a head.

    Returns:
        Splits by name, head and classes; arrays are read on first access.

    Raises:
        StoreError: If there is no such store.
        DataError: If files or arrays break a rule, or sources do not fit one another.
        MissingPackageError: If a file needs a package that is not installed.
    """
    from ltood.library.joining import join

    if isinstance(source, Features):
        found = source
    elif isinstance(source, Mapping):
        found = _of_tables(_tables_of(source), _head_of(head), class_names, pool)
        head = class_names = None
    elif isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir() and not (path / "zarr.json").exists():
            found = _of_folder(path, _head_of(head), class_names, pool)
            head = class_names = None
        else:
            found = _of_store(FeatureStore.open(source))
    else:
        found = join(
            [open_features(one, class_names=class_names, pool=pool) for one in source], take
        )
    return _with(found, _head_of(head), class_names)


def _with(found: Features, head: HeadArrays | None, names: Sequence[str] | None) -> Features:
    """The same with another head or other class names."""
    if head is None and names is None:
        return found
    classes = len(found.class_names)
    if names is not None and len(names) != classes:
        raise DataError(
            f"there are {len(names)} class names for {classes} classes; give one per class."
        )
    splits = {name: found.bare(name) for name in found}
    if head is not None:
        width = next(iter(found.values())).features.shape[1]
        if head["weight"].shape != (classes, width):
            raise DataError(
                f"the head has a weight of shape {list(head['weight'].shape)}; these features need "
                f"[{classes}, {width}]. Features and head must come from the same kind of network."
            )
        # Stored logits came from another head.
        splits = {name: split.without("logits") for name, split in found.items()}
    return found.replaced(splits, head, names)


def _head_of(head: "Head | Features | Path | str | None") -> HeadArrays | None:
    """Arrays of a head that a caller gives."""
    if head is None:
        return None
    if isinstance(head, str | Path):
        head = open_features(head)
    if isinstance(head, Features):
        head = head.head
    from ltood.core.head import ClassifierHead

    return {name: array.cpu().numpy() for name, array in ClassifierHead.of(head).arrays().items()}


def _of_store(store: FeatureStore) -> Features:
    """Splits of a feature store."""
    splits = {}
    for name in store.image_splits:
        split = store.split(name)
        columns = {}
        # Logits that are not stored are computed here, too, from whatever head there is.
        for array in store.split_spec(name)[0].arrays:
            spec = split.array_spec(array)
            shape, read = (len(split), *spec.shape), partial(split.read, array)
            columns[array] = Column(f"{array} of {name}", shape, spec.dtype, read)
        splits[name] = Split(name, columns)
    return Features(
        splits, store.head_arrays(), store.class_names, store.prior().counts, store.path
    )


def _of_folder(
    folder: Path, head: HeadArrays | None, names: Sequence[str] | None, pool: Pool | None
) -> Features:
    """Splits of a folder of files."""
    tables = {
        name: joined([open_table(path, array) for path, array in of.items()])
        for name, of in folder_files(folder).items()
    }
    return _of_tables(tables, head, names, pool)


def _tables_of(given: Mapping[str, Any]) -> dict[str, Table]:
    """Arrays in memory as tables, by split."""
    tables: dict[str, Table] = {}
    for name, value in given.items():
        split = full_split_name(name)
        check_split_name(split)
        if isinstance(value, tuple | list) and len(value) == 2:
            value = {"features": value[0], "labels": value[1]}
        arrays = dict(value) if isinstance(value, Mapping) else {"features": value}
        tables[split] = Table(
            Path(split),
            {
                key: Lazy.of(as_array(array, f"{key} of {split}"))
                for key, array in arrays.items()
                if array is not None
            },
        )
    return tables


def _of_tables(
    tables: dict[str, Table],
    head: HeadArrays | None,
    names: Sequence[str] | None,
    pool: Pool | None,
) -> Features:
    """Splits of tables, which must keep the rules of `ltood import`."""
    described = tables.pop(HEAD, None)
    if not tables:
        raise DataError("there are no splits; give train, test or OOD sets.")
    if head is None:
        head = read_head(described)
    if pool is not None:
        width = feature_width(tables, head)
        tables = {name: pooled(table, width, pool) for name, table in tables.items()}
    shapes = head or stand_in(tables, described, names)
    classes = len(shapes["bias"])
    splits, labels = {}, {}
    for name, table in tables.items():
        split_spec(table, shapes)
        labels[name] = read_labels(name, table, shapes)
        columns: dict[str, Column] = {
            key: _column(table, key, name) for key in _READ if key in table.names
        }
        columns["labels"] = Column.of(f"labels of {name}", labels[name])
        columns["ids"] = Column.of(f"ids of {name}", read_ids(table))
        splits[name] = Split(name, columns)
    if names is None:
        names = read_class_names(described, classes)
    if len(names) != classes:
        raise DataError(
            f"there are {len(names)} class names for {classes} classes; give one per class."
        )
    counted = "train" in labels or (described is not None and "class_counts" in described.names)
    counts = class_counts(described, labels.get("train"), classes) if counted else None
    return Features(splits, head, names, counts)


def _column(table: Table, key: str, split: str) -> Column:
    """One array of a table; files that are only read from their beginning are kept in memory."""
    name, shape, dtype = f"{key} of {split}", table.shape(key), table.dtype(key)
    array = table.array(key)
    if array.stream is None:
        return Column(name, shape, dtype, array.read)
    whole = cache(lambda: table.load(key))
    return Column(name, shape, dtype, lambda start, stop: whole()[start:stop])
