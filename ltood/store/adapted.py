"""A head that was learned from a feature store, and the store seen through it.

    head/head.json          what the head was learned from; class names, checksum
    head/head.safetensors   its arrays, and the context vectors behind them where there are any
    head/rows.csv           the rows that they were learned from, where there are any
    head/history.csv        losses by epoch where it was learned, as a checkpoint has them
    head/negatives.csv      the negative labels of the head, where there are any

Where nothing was to be adapted, `head.json` says so and is all there is. The folder appears in
one rename; reading it executes no code and needs no torch.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.core.head_schema import HEAD_SHAPES
from ltood.runtime.files import read_regular, write_folder
from ltood.runtime.provenance import digest, recorded_of
from ltood.store.chunks import checksum, raw_bytes
from ltood.store.documents import read_sealed, sealed_json
from ltood.store.features import FeatureSplit, FeatureStore
from ltood.store.layout import part_name
from ltood.store.rows import StoredRows

SCHEMA = 2
DOCUMENT = "head.json"
ARRAYS = "head.safetensors"
ROWS = "rows.csv"
NEGATIVES = "negatives.csv"
HISTORY = "history.csv"
_RERUN = "run the adapt stage again"


@dataclass(frozen=True)
class AdaptedHead:
    """A head that takes the place of the one in the store.

    Attributes:
        class_names: Names of the C classes it was made for, in label order.
        weights_sha256: Digest of the backbone whose features it reads.
        inputs: Everything that decides the arrays, as plain values.
        arrays: `weight` [C, D], `bias` [C], further arrays of a head, and whatever else is to be
            kept, such as context vectors.
    """

    class_names: tuple[str, ...]
    weights_sha256: str
    inputs: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def head(self) -> dict[str, NDArray[Any]]:
        """The arrays that a classifier head has."""
        return {name: self.arrays[name] for name in self.arrays if name in HEAD_SHAPES}

    @property
    def bare(self) -> "AdaptedHead":
        """The head without negative labels; the same object where it has none."""
        if "negatives" not in self.inputs:
            return self
        inputs = {key: value for key, value in self.inputs.items() if key != "negatives"}
        kept = {name: self.arrays[name] for name in self.arrays if name != "negative_weight"}
        return replace(self, inputs=inputs, arrays=kept)


def write_adapted(
    folder: Path,
    head: AdaptedHead | None,
    rows_csv: str | None = None,
    negatives_csv: str | None = None,
    history_csv: str | None = None,
) -> None:
    """Write `head` to `folder` in one rename, replacing what was there.

    Args:
        folder: Folder to write.
        head: None writes that nothing was to be adapted.
        rows_csv: Content of rows.csv, for people; it is not read back.
        negatives_csv: Content of negatives.csv, likewise.
        history_csv: Content of history.csv, likewise.

    Raises:
        StoreError: If it cannot be written.
    """
    content: dict[str, Any] = {"schema": SCHEMA, "adapted": head is not None}
    files: dict[str, bytes] = {}
    if head is not None:
        from safetensors.numpy import save

        raw = save({name: np.array(head.arrays[name], order="C") for name in head.arrays})
        files[ARRAYS] = raw
        content |= {
            "class_names": list(head.class_names),
            "weights_sha256": head.weights_sha256,
            "inputs": dict(head.inputs),
            "crc32c": checksum(raw),
        }
    texts = ((ROWS, rows_csv), (NEGATIVES, negatives_csv), (HISTORY, history_csv))
    for name, text in texts:
        if text is not None:
            files[name] = text.encode()
            content.setdefault("texts", {})[name] = hashlib.sha256(files[name]).hexdigest()
    write_folder(folder, {**files, DOCUMENT: sealed_json(content)})


def read_adapted(folder: Path) -> AdaptedHead | None:
    """Read what `write_adapted` wrote; None where nothing was adapted.

    Raises:
        StoreError: If it is missing or another version wrote it.
        CorruptStoreError: If it is unreadable or changed.
    """
    content = read_sealed(folder / DOCUMENT, SCHEMA, _RERUN)
    try:
        return _arrays(folder, content) if content["adapted"] else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{folder} is unreadable ({type(error).__name__}: {error}); {_RERUN}."
        ) from None


def read_history(folder: Path, inputs: object) -> str:
    """Verified text of the losses by epoch; empty where nothing was learned by epochs.

    Args:
        folder: Folder of the head.
        inputs: What the head in use was learned from, as its `inputs`; None for no such head.

    Raises:
        StoreError: If it is missing, or another head.
        CorruptStoreError: If it is unreadable or changed.
    """
    content = read_sealed(folder / DOCUMENT, SCHEMA, _RERUN)
    if content.get("inputs") != inputs:
        raise StoreError(
            f"{folder} holds another head than that of the scores; run the score stage again."
        )
    wanted = content.get("texts", {}).get(HISTORY)
    if wanted is None:
        return ""
    try:
        raw = read_regular(folder / HISTORY)
    except FileNotFoundError:
        raw = b""
    if hashlib.sha256(raw).hexdigest() != wanted:
        raise CorruptStoreError(
            f"{folder / HISTORY} is missing or changed after it was written; {_RERUN}."
        )
    return raw.decode()


def _arrays(folder: Path, content: Mapping[str, Any]) -> AdaptedHead:
    """Verified arrays, with their description in the document."""
    from safetensors.numpy import load

    raw = read_regular(folder / ARRAYS)
    if checksum(raw) != content["crc32c"]:
        raise CorruptStoreError(f"{folder / ARRAYS} changed after it was written; {_RERUN}.")
    names = tuple(content["class_names"])
    return AdaptedHead(names, content["weights_sha256"], content["inputs"], load(raw))


class AdaptedStore(FeatureStore):
    """A feature store that shows an adapted head in the place of its own.

    Its fingerprint covers the head, so that nothing fitted on one head is used with another.
    """

    def __init__(self, store: FeatureStore, head: AdaptedHead) -> None:
        """See `store` through `head`.

        Raises:
            StoreError: If the head was made for other class names, for features of another width
                or for a backbone with other weights.
        """
        if list(head.class_names) != store.class_names:
            raise StoreError(
                f"the head was adapted to the classes {_some(head.class_names)} but {store.path} "
                f"has {_some(store.class_names)}; run the adapt stage again."
            )
        width, dim = head.head["weight"].shape[1], _width(store)
        if dim not in (None, width):
            raise StoreError(
                f"the head was adapted to features with {width} columns but those of {store.path} "
                f"have {dim}; adapt a head to this store, or score the store that it was made for."
            )
        weights = weights_digest(store)
        if head.weights_sha256 != weights:
            raise StoreError(
                f"the head was adapted to a backbone with weights {head.weights_sha256[:12]}… but "
                f"{store.path} was made with {weights[:12]}…; run the adapt stage again."
            )
        arrays = {name: head.head[name] for name in sorted(head.head)}
        sums = {name: checksum(raw_bytes(arrays[name])) for name in arrays}
        attributes = {
            **store.attributes,
            "fingerprint": digest({"store": store.fingerprint, "head": sums}),
            "provenance": {**store.provenance, "head": dict(head.inputs)},
        }
        super().__init__(store.disk, attributes)
        self._store, self._arrays = store, arrays

    def rows(self, name: str) -> StoredRows:
        """Stored rows of one split, shared with the store that is seen through the head."""
        return self._store.rows(name)

    def split(self, name: str) -> FeatureSplit:
        """Open one split; its logits come from the adapted head.

        Raises:
            StoreError: If there is no such split.
            IncompleteStoreError: If it has unwritten rows.
        """
        if name not in self._splits:
            extras = {group: self.rows(part_name(name, group)) for group in self.groups(name)}
            self._splits[name] = FeatureSplit(self.rows(name), self._layer, extras)
        return self._splits[name]

    def head_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the adapted head by name; weight [C, D] and bias [C] always."""
        return dict(self._arrays)


def weights_digest(store: FeatureStore) -> str:
    """SHA-256 of the weights that the features were made with; empty where none is recorded."""
    return str(recorded_of(store.provenance, "checkpoint", "weights_sha256") or "")


def _width(store: FeatureStore) -> int | None:
    """Columns of the features; None in a store without splits."""
    for name in store.splits:
        return store.split_spec(name)[0].arrays["features"].shape[-1]
    return None


def with_adapted_head(store: FeatureStore, folder: Path | None) -> FeatureStore:
    """The store, seen through the head in `folder` where one was adapted; None for no folder.

    Raises:
        StoreError: If the head is missing, unreadable or was made for other features.
    """
    head = None if folder is None else read_adapted(folder)
    return store if head is None else AdaptedStore(store, head)


def _some(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown}, … ({len(names)})" if len(names) > 3 else shown
