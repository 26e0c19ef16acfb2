"""Plain NumPy archives to a feature store, and stores back to archives.

The exchange format: `head.npz` with weight [C, D], bias [C] and optional class_counts,
bn_weight, bn_bias, logit_scale, extra_weight, extra_bias and what else a `ClassifierHead`
has; `<split>.npz` with features [N, D], labels [N] and optional logits [N, C + e], local
[N, P, D], ids [N]; splits are train, val, test, aux and ood_<name>. OOD sets may carry sc_label
instead of labels: a class for rows that belong to an ID class, -1 elsewhere.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError, FingerprintError, StoreError
from ltood.core.head_schema import HEAD_SHAPES, check_head
from ltood.runtime.console import log, progress
from ltood.store.archives import Archive, file_digest, write_archive
from ltood.store.features import FeatureSplit, FeatureStore, FeatureWriter
from ltood.store.layout import (
    AUX_SPLIT,
    ID_SPLITS,
    OOD_PREFIX,
    SPLIT_RULE,
    ArraySpec,
    SplitSpec,
    StoreSpec,
)
from ltood.store.metadata import store_kind
from ltood.store.scores import ScoreStore

#: Largest relative difference between given logits and the head's own.
LOGIT_TOLERANCE = 1e-3
_HEAD_FILE = "head.npz"
_SPLIT_ARRAYS = ("features", "labels", "sc_label", "logits", "local", "ids")


def import_folder(folder: Path, store: Path, *, overwrite: bool = False) -> FeatureStore:
    """Turn a folder of archives into a feature store; resumes after an interruption.

    Args:
        folder: Holds `head.npz` and one archive per split.
        store: Store folder to create.
        overwrite: Replace an existing store that was made from other inputs.

    Returns:
        The finished store.

    Raises:
        DataError: If an archive breaks a rule; names file, value, rule and remedy.
        StoreError: If the store exists and was made from something else.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the folder that holds head.npz.")
    with ExitStack() as stack:
        head, counts = _read_head(stack.enter_context(Archive(folder / _HEAD_FILE)))
        files = _split_files(folder)
        archives = {name: stack.enter_context(Archive(path)) for name, path in files.items()}
        spec = StoreSpec({name: _split_spec(archive, head) for name, archive in archives.items()})
        labels = {name: _labels(name, archive, head) for name, archive in archives.items()}
        counts = _class_counts(counts, labels.get("train"), len(head["bias"]))
        provenance = {
            "source": "import",
            "archives": {
                path.name: file_digest(path)
                for path in sorted([folder / _HEAD_FILE, *files.values()])
            },
        }
        names = [str(number) for number in range(len(head["bias"]))]
        place, writer = _open_writer(store, overwrite, (spec, provenance, head, names, counts))
        try:
            for name, archive in archives.items():
                _write_split(writer, name, archive, head, labels[name])
        except DataError:
            # Half a store of refused archives would stand in the way of the corrected ones.
            shutil.rmtree(place)
            raise
        writer.finish()
    if place != store:
        shutil.rmtree(store)
        place.rename(store)
    return FeatureStore.open(store)


def _open_writer(
    store: Path, overwrite: bool, inputs: tuple[Any, ...]
) -> tuple[Path, FeatureWriter]:
    """Folder to write and its writer; a store to replace stays until the new one is whole."""
    if not store.exists():
        return store, FeatureWriter.create(store, *inputs)
    try:
        return store, FeatureWriter.resume(store, *inputs)
    except (FingerprintError, StoreError) as error:
        if not overwrite:
            raise StoreError(f"{error} Pass --overwrite to replace it.") from None
    FeatureStore.open(store)  # Only a feature store is ever removed.
    place = store.with_name(f".{store.name}.new")
    if place.exists():
        try:
            return place, FeatureWriter.resume(place, *inputs)
        except (FingerprintError, StoreError):
            shutil.rmtree(place)
    return place, FeatureWriter.create(place, *inputs)


def _read_head(archive: Archive) -> tuple[dict[str, NDArray[Any]], NDArray[Any] | None]:
    """Head arrays as float32, and the class counts where given."""
    head: dict[str, NDArray[Any]] = {}
    for name in archive.names:
        if name in HEAD_SHAPES:
            values = archive.load(name)
            if values.dtype.kind not in "fiu":
                raise DataError(f"{archive.path}: {name} is {values.dtype}; it must be numbers.")
            head[name] = _float32(values)
            if not np.isfinite(head[name]).all():
                bad = int((~np.isfinite(head[name])).sum())
                raise DataError(
                    f"{archive.path}: {name} has {bad} values that are not finite in float32."
                )
        elif name != "class_counts":
            log(f"warning: {archive.path} has an array {name!r} that no head uses; it is ignored.")
    try:
        check_head({name: values.shape for name, values in head.items()})
    except DataError as error:
        raise DataError(f"{archive.path}: {error}") from error
    if "logit_scale" in head and not head["logit_scale"] > 0:
        raise DataError(
            f"{archive.path}: logit_scale is {head['logit_scale'].tolist()}; it multiplies cosines "
            "to logits, so it must be above 0 (CLIP's is 100)."
        )
    counts = archive.load("class_counts") if "class_counts" in archive.names else None
    return head, counts


def _split_files(folder: Path) -> dict[str, Path]:
    """Archives of the folder by split name, in a fixed order."""
    found = {}
    for path in sorted(folder.glob("*.npz")):
        name = path.stem
        if name == "head":
            continue
        if name not in (*ID_SPLITS, AUX_SPLIT) and not name.startswith(OOD_PREFIX):
            raise DataError(f"{path} is no split: {SPLIT_RULE}; rename or remove the file.")
        found[name] = path
    if not found:
        raise DataError(f"{folder} holds no split; put train.npz, test.npz, ood_<name>.npz there.")
    return found


def _split_spec(archive: Archive, head: Mapping[str, NDArray[Any]]) -> SplitSpec:
    """Check the shapes of one archive against the head."""
    path = archive.path
    num_classes, dim = head["weight"].shape
    outputs = num_classes + (len(head["extra_bias"]) if "extra_bias" in head else 0)
    shape = archive.shape("features")
    if len(shape) != 2:
        raise DataError(f"{path}: features have shape {shape}; they must be [N, D].")
    if shape[1] != dim:
        raise DataError(
            f"{path}: features have {shape[1]} columns but the head expects {dim}; the archive "
            "and the head come from different networks."
        )
    if shape[0] == 0:
        raise DataError(f"{path} has no rows; leave the split out or give it rows.")
    kind = archive.dtype("features")
    if kind.kind != "f":
        raise DataError(f"{path}: features are {kind}; they must be float16, float32 or float64.")
    dtype = "float16" if kind.itemsize == 2 else "float32"
    arrays = {
        "features": ArraySpec(dtype, (dim,)),
        "logits": ArraySpec("float32", (outputs,)),
        "labels": ArraySpec("int64"),
        "ids": ArraySpec("int64"),
    }
    for name in archive.names:
        if name not in _SPLIT_ARRAYS:
            log(f"warning: {path} has an array {name!r} that no split holds; it is ignored.")
        elif archive.shape(name)[:1] != shape[:1]:
            raise DataError(
                f"{path}: {name} has {archive.shape(name)[:1]} rows and features have {shape[0]}; "
                "all arrays of a split describe the same rows."
            )
    for name, kinds in (("logits", "fiu"), ("local", "fiu"), ("ids", "iu")):
        if name in archive.names and archive.dtype(name).kind not in kinds:
            what = "whole numbers" if kinds == "iu" else "numbers"
            raise DataError(f"{path}: {name} are {archive.dtype(name)}; they must be {what}.")
    if "logits" in archive.names and archive.shape("logits") != (shape[0], outputs):
        raise DataError(
            f"{path}: logits have shape {archive.shape('logits')}; with this head they must be "
            f"({shape[0]}, {outputs})."
        )
    if "local" in archive.names:
        local = archive.shape("local")
        if len(local) != 3 or local[2] != dim:
            raise DataError(f"{path}: local has shape {local}; it must be [N, P, {dim}].")
        half = archive.dtype("local").itemsize == 2
        arrays["local"] = ArraySpec("float16" if half else "float32", local[1:])
    return SplitSpec(shape[0], arrays)


def _labels(name: str, archive: Archive, head: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Labels of one split, checked; -1 for OOD and auxiliary rows."""
    rows, num_classes = archive.shape("features")[0], len(head["bias"])
    is_id = name in ID_SPLITS
    key = "labels" if is_id else "sc_label"
    if key not in archive.names:
        if is_id:
            raise DataError(f"{archive.path} has no array 'labels'; ID splits need them.")
        return np.full(rows, -1, dtype=np.int64)
    labels = archive.load(key)
    if labels.dtype.kind not in "iu" or labels.shape != (rows,):
        raise DataError(
            f"{archive.path}: {key} is {labels.dtype} of shape {labels.shape}; it must be whole "
            f"numbers of shape ({rows},)."
        )
    lowest = 0 if is_id else -1
    bad = (labels < lowest) | (labels >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{archive.path}: {key}[{row}] is {labels[row]}; it must lie in {lowest} to "
            f"{num_classes - 1}, the classes of the head ({int(bad.sum())} such rows)."
        )
    return labels.astype(np.int64)


def _class_counts(
    given: NDArray[Any] | None, train: NDArray[np.int64] | None, num_classes: int
) -> NDArray[np.int64]:
    """Training counts: given ones win, else counted from the training labels."""
    if given is not None:
        if given.shape != (num_classes,) or given.dtype.kind not in "iu":
            raise DataError(
                f"head.npz: class_counts is {given.dtype} of shape {given.shape}; it must be "
                f"whole numbers of shape ({num_classes},)."
            )
        counts = given.astype(np.int64)
    elif train is not None:
        counts = np.bincount(train, minlength=num_classes)
    else:
        raise DataError(
            "there is neither class_counts in head.npz nor train.npz to count from; give one."
        )
    if (counts <= 0).any():
        empty = np.flatnonzero(counts <= 0)[:10].tolist()
        raise DataError(
            f"classes {empty} have no training images (count {counts[empty[0]]}); every class of "
            "the head needs at least one. Remove the class from the head or add images."
        )
    return counts


def _write_split(
    writer: FeatureWriter,
    name: str,
    archive: Archive,
    head: Mapping[str, NDArray[Any]],
    labels: NDArray[np.int64],
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
        for key in ("features", "logits", "local", "ids")
        if key in archive.names
    }
    weight = np.concatenate([head["weight"], head.get("extra_weight", head["weight"][:0])])
    bias = np.concatenate([head["bias"], head.get("extra_bias", head["bias"][:0])])
    with progress(f"import {name}", spec.rows) as advance:
        for start, stop in ranges:
            block = {key: next(stream) for key, stream in streams.items()}
            if (start, stop) in missing:
                rows = _check_block(archive.path, start, block, weight, bias)
                rows["labels"] = labels[start:stop]
                rows.setdefault("ids", np.arange(start, stop, dtype=np.int64))
                rows = {key: v.astype(spec.arrays[key].dtype) for key, v in rows.items()}
                writer.write(name, start, rows)
            advance(stop - start)


def _check_block(
    path: Path,
    start: int,
    block: dict[str, NDArray[Any]],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    """Refuse values that are not finite and logits that are not the head's."""
    for key in ("features", "logits", "local"):
        # Numbers beyond float32 become infinite when they are stored.
        if key in block and not np.isfinite(_float32(block[key])).all():
            bad = ~np.isfinite(_float32(block[key])).reshape(len(block[key]), -1).all(axis=1)
            row = start + int(np.argmax(bad))
            raise DataError(
                f"{path}: {key} of row {row} hold NaN or infinity ({int(bad.sum())} such rows "
                f"from row {start} on); every value must be finite in float32. Extract them again."
            )
    with np.errstate(over="ignore", invalid="ignore"):
        computed = block["features"].astype(np.float32) @ weight.T + bias
    if not np.isfinite(computed).all():
        row = start + int(np.argmax(~np.isfinite(computed).all(axis=1)))
        raise DataError(
            f"{path}: features of row {row} are so large that their logits are not finite; every "
            "value must be finite in float32. Extract them again."
        )
    if "logits" not in block:
        block["logits"] = computed
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


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers as they are stored; what is too large for that becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


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
        arrays = {key: getattr(rows, key) for key in ("scores", "predictions", "labels", "ids")}
        whole = {key: (v.shape, v.dtype.name, [v]) for key, v in arrays.items()}
        write_archive(out, whole)
        return list(arrays)
    part = FeatureStore.open(store).split(split)
    blocks: dict[str, tuple[tuple[int, ...], str, Any]] = {}
    for key in part.arrays:
        spec = part.spec.arrays[key]
        # An OOD set's labels are its sc_label in the exchange format.
        name = "sc_label" if key == "labels" and split not in ID_SPLITS else key
        blocks[name] = ((len(part), *spec.shape), spec.dtype, _stream(part, key))
    write_archive(out, blocks)
    return list(blocks)


def export_head(store: Path, out: Path) -> list[str]:
    """Write the head and class counts of a feature store as `head.npz`.

    Returns:
        Names of the arrays written.
    """
    opened = FeatureStore.open(store)
    arrays = {**opened.head_arrays(), "class_counts": opened.prior().counts}
    write_archive(out, {key: (v.shape, v.dtype.name, [v]) for key, v in arrays.items()})
    return list(arrays)


def _stream(split: FeatureSplit, array: str) -> Iterator[NDArray[Any]]:
    for batch in split.batches(8192, (array,)):
        yield batch[array]
