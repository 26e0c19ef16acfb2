"""Plain NumPy archives to a feature store, and stores back to archives.

The exchange format: `head.npz` with weight [C, D], bias [C] and optional class_counts,
class_names, bn_weight, bn_bias, logit_scale, extra_weight, extra_bias and what else a
`ClassifierHead` has; without a head there is no such file, or one with class_counts and class_names
alone; `<split>.npz` with features [N, D], labels [N] and optional logits
[N, C + e], local [N, P, D], ids [N], each once, and extra arrays of names such as odin/features;
splits are train, val, test, aux and ood_<name>.
OOD sets may carry sc_label instead of labels: a class for rows that belong to an ID class, -1
elsewhere.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError, FingerprintError, StoreError
from ltood.runtime.console import log, progress
from ltood.runtime.files import remove_folder, replace_folder
from ltood.store.archives import file_digest, write_archive
from ltood.store.features import FeatureSplit, FeatureStore, FeatureWriter
from ltood.store.formats import open_table
from ltood.store.head import output_layer
from ltood.store.import_extras import extra_specs, extras_of, write_extras
from ltood.store.import_rules import (
    HEAD,
    as_float32,
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
from ltood.store.layout import StoreSpec, digest, is_id_split
from ltood.store.metadata import store_kind
from ltood.store.pooling import pooled
from ltood.store.scores import ScoreStore
from ltood.store.tables import Table, joined

#: Largest relative difference between given logits and the head's own.
LOGIT_TOLERANCE = 1e-3


def import_folder(
    folder: Path, store: Path, *, overwrite: bool = False, pool: str | None = None
) -> FeatureStore:
    """Turn a folder of archives into a feature store; resumes after an interruption.

    Args:
        folder: Holds the head and one archive per split, in the formats of `ltood.store.formats`.
        store: Store folder to create.
        overwrite: Replace an existing store that was made from other inputs.
        pool: How features of maps [N, D, H, W] or tokens [N, T, D] become one vector per row:
            "mean" or "max" over places, "cls" for the first token.

    Returns:
        The finished store.

    Raises:
        DataError: If an archive breaks a rule; names file, value, rule and remedy.
        StoreError: If the store exists and was made from something else.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder that holds train.npz.")
    with ExitStack() as stack:
        files = folder_files(folder)
        tables = {
            name: joined(
                [stack.enter_context(open_table(path, array)) for path, array in of.items()]
            )
            for name, of in files.items()
        }
        described = tables.pop(HEAD, None)
        head = read_head(described)
        if not head:
            _say_headless(folder, tables)
        width = feature_width(tables, head)
        archives = {
            name: table if pool is None else pooled(table, width, pool)
            for name, table in tables.items()
        }
        shapes = head or stand_in(archives, described)
        splits = {
            name: split_spec(archive, shapes, extras_of(archive))
            for name, archive in archives.items()
        }
        parts = {name: extra_specs(name, archive) for name, archive in archives.items()}
        spec = StoreSpec({**splits, **{n: s for found in parts.values() for n, s in found.items()}})
        labels = {name: read_labels(name, archive, shapes) for name, archive in archives.items()}
        ids = {name: read_ids(archive) for name, archive in archives.items()}
        counts = class_counts(described, labels.get("train"), len(shapes["bias"]))
        provenance: dict[str, Any] = {
            "source": "import",
            "archives": {path.name: _digest(path) for of in files.values() for path in of},
        }
        if pool is not None:
            provenance["pool"] = pool
        names = read_class_names(described, len(counts))
        place, writer = _open_writer(store, overwrite, (spec, provenance, head, names, counts))
        try:
            for name, archive in archives.items():
                _write_split(writer, name, archive, head, labels[name], ids[name])
                for part in parts[name]:
                    write_extras(writer, part, archive)
        except DataError:
            # Half a store of refused archives would stand in the way of the corrected ones.
            shutil.rmtree(place)
            raise
        writer.finish()
    if place != store:
        replace_folder(place, store)
    else:
        remove_folder(_new_place(store))
    return FeatureStore.open(store)


def _say_headless(folder: Path, tables: Mapping[str, Table]) -> None:
    """Say what does not run on a folder without a head, and how to give one.

    Raises:
        DataError: If there are no training rows either, so that nothing says what the classes are.
    """
    if "train" not in tables:
        raise DataError(
            f"{folder} has neither a head nor a split train (only {', '.join(tables)}), and one of "
            "the two must say what the classes are; add head.npz or train.npz."
        )
    stored = all("logits" in table.names for table in tables.values())
    refused = "read the head" if stored else "read logits or the head"
    log(
        f"{folder} has no head: entries that {refused} will not run"
        f"{', nor detectors that read logits' if stored else ''}. To give one, add head.npz with "
        "weight [C, D] and bias [C], the network's last linear layer, and import again."
    )


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder."""
    if path.is_file():
        return file_digest(path)
    found = sorted(file for file in path.rglob("*") if file.is_file())
    return digest({str(file.relative_to(path)): file_digest(file) for file in found})


def _new_place(store: Path) -> Path:
    """Folder in which a store is written before it replaces another one."""
    return store.with_name(f".{store.name}.new")


def _open_writer(
    store: Path, overwrite: bool, inputs: tuple[Any, ...]
) -> tuple[Path, FeatureWriter]:
    """Folder to write and its writer; a store to replace stays until the new one is whole."""
    place = _new_place(store)
    if place.exists() and not store.exists():
        # A run was killed between moving the old store away and the new one to its place.
        place.rename(store)
    if not store.exists():
        return store, FeatureWriter.create(store, *inputs)
    try:
        return store, FeatureWriter.resume(store, *inputs)
    except (FingerprintError, StoreError) as error:
        if not overwrite:
            raise StoreError(f"{error} Pass --overwrite to replace it.") from None
    FeatureStore.open(store)  # Only a feature store is ever removed.
    if place.exists():
        try:
            return place, FeatureWriter.resume(place, *inputs)
        except (FingerprintError, StoreError):
            shutil.rmtree(place)
    return place, FeatureWriter.create(place, *inputs)


def _write_split(
    writer: FeatureWriter,
    name: str,
    archive: Table,
    head: Mapping[str, NDArray[Any]],
    labels: NDArray[np.int64],
    ids: NDArray[np.int64],
) -> None:
    """Check and write one split chunk by chunk, skipping what is written already."""
    ranges = writer.spec.ranges(name)
    missing = set(writer.missing(name))
    if not missing:
        return
    spec = writer.spec.splits[name]
    sizes = [stop - start for start, stop in ranges]
    streams: dict[str, Iterator[NDArray[Any]]] = {
        key: archive.blocks(key, sizes)
        for key in ("features", "logits", "local")
        if key in archive.names
    }
    layer = output_layer(head) if head else None
    with progress(f"import {name}", spec.rows) as advance:
        for start, stop in ranges:
            block = {key: next(stream) for key, stream in streams.items()}
            if (start, stop) in missing:
                rows = _check_block(archive.path, start, block, layer)
                rows |= {"labels": labels[start:stop], "ids": ids[start:stop]}
                rows = {key: v.astype(spec.arrays[key].dtype) for key, v in rows.items()}
                writer.write(name, start, rows)
            advance(stop - start)


def _check_block(
    path: Path,
    start: int,
    block: dict[str, NDArray[Any]],
    layer: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
) -> dict[str, NDArray[Any]]:
    """Refuse values that are not finite and, where there is a head, logits that are not its own."""
    for key in ("features", "logits", "local"):
        # Numbers beyond float32 become infinite when they are stored.
        if key in block and not np.isfinite(as_float32(block[key])).all():
            bad = ~np.isfinite(as_float32(block[key])).reshape(len(block[key]), -1).all(axis=1)
            row = start + int(np.argmax(bad))
            raise DataError(
                f"{path}: {key} of row {row} hold NaN or infinity ({int(bad.sum())} such rows "
                f"from row {start} on); every value must be finite in float32. Extract them again."
            )
    if layer is None:
        return block
    weight, bias = layer
    features = as_float32(block["features"])
    if "logits" not in block and _surely_finite(features, weight, bias):
        return block
    with np.errstate(over="ignore", invalid="ignore"):
        computed = features @ weight.T + bias
    if not np.isfinite(computed).all():
        row = start + int(np.argmax(~np.isfinite(computed).all(axis=1)))
        raise DataError(
            f"{path}: features of row {row} are so large that their logits are not finite; every "
            "value must be finite in float32. Extract them again."
        )
    if "logits" not in block:
        return block
    scale = np.maximum(np.abs(computed).max(axis=1), 1e-6)
    difference = np.abs(block["logits"] - computed).max(axis=1) / scale
    if difference.max() > LOGIT_TOLERANCE:
        row = int(difference.argmax())
        raise DataError(
            f"{path}: logits of row {start + row} differ from features @ weight.T + bias by "
            f"{difference[row]:.2g} relative; the rule is {LOGIT_TOLERANCE:g}. Features, logits "
            "and head must come from the same network, before any clipping or scaling."
        )
    return block


def _surely_finite(
    features: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> bool:
    """Whether no logit can leave float32, by the largest numbers; spares computing them all."""
    largest = [float(np.abs(values).max(initial=0)) for values in (features, weight, bias)]
    highest = largest[0] * largest[1] * features.shape[1] + largest[2]
    return bool(highest < float(np.finfo(np.float32).max) / 2)


def export_split(store: Path, split: str, out: Path) -> list[str]:
    """Write one split of a feature or score store as an `.npz` archive.

    Args:
        store: Feature store or score store.
        split: Split name.
        out: File to write.

    Returns:
        Names of the arrays written.

    Raises:
        StoreError: If there is no such store or split.
    """
    if store_kind(store) == "scores":
        rows = ScoreStore.open(store).split(split)
        names = ("scores", "predictions", "labels", "ids", *(("by_order",) if rows.columns else ()))
        arrays = {key: getattr(rows, key) for key in names}
        whole = {key: (v.shape, v.dtype.name, [v]) for key, v in arrays.items()}
        write_archive(out, whole)
        return list(arrays)
    part = FeatureStore.open(store).split(split)
    blocks: dict[str, tuple[tuple[int, ...], str, Any]] = {}
    for key in part.arrays:
        spec = part.spec.arrays[key]
        # An OOD set's labels are its sc_label in the exchange format.
        name = "sc_label" if key == "labels" and not is_id_split(split) else key
        blocks[name] = ((len(part), *spec.shape), spec.dtype, _stream(part, key))
    write_archive(out, blocks)
    return list(blocks)


def export_head(store: Path, out: Path) -> list[str]:
    """Write the head, class counts and class names of a feature store as `head.npz`.

    Without a head, counts and names alone are written, which `import_folder` takes, too.

    Returns:
        Names of the arrays written.
    """
    opened = FeatureStore.open(store)
    arrays = {
        **opened.head_arrays(),
        "class_counts": opened.prior().counts,
        "class_names": np.array(opened.class_names),
    }
    write_archive(out, {key: (v.shape, v.dtype.str, [v]) for key, v in arrays.items()})
    return list(arrays)


def _stream(split: FeatureSplit, array: str) -> Iterator[NDArray[Any]]:
    for batch in split.batches(8192, (array,)):
        yield batch[array]
