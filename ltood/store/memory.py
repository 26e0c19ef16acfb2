"""Features held in memory, with the face of a feature store.

What the command line does with a store, Python does with arrays: fitting, comparing and deploying
are the same code. Arrays are not copied, and memory-mapped ones stay on disk.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.arrays import Rows, as_array
from ltood.core.batches import BATCH_ROWS
from ltood.core.errors import DataError, StoreError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import Need
from ltood.core.prior import ClassPrior
from ltood.store.head import output_layer
from ltood.store.layout import (
    AUX_SPLIT,
    OOD_PREFIX,
    ArraySpec,
    SplitSpec,
    check_split_name,
    in_order,
    is_id_split,
)

#: Weight [C + e, D] and bias [C + e] of a linear layer.
Layer = tuple[NDArray[Any], NDArray[Any]]
_HEAD = "head=, the network's last linear layer or its (weight, bias)"
#: How a caller in Python gives what is missing.
REMEDIES: Mapping[Need, str] = {
    Need.TRAIN: "give training features",
    Need.VAL: "give val=, features of ID rows that were held out of training",
    Need.AUX: "give aux=, features of auxiliary outliers",
    Need.HEAD: f"give {_HEAD}",
    Need.PRIOR: "give prior=, the class counts",
    Need.LOCAL: "give local=, features [N, P, D]",
    Need.AUX_OUTPUTS: "give head=ClassifierHead(...) with extra_weight and extra_bias",
    Need.NEGATIVES: "give head=ClassifierHead(...) with negative_weight",
    Need.NO_HEAD: "give head=ClassifierHead(...) with no_weight",
    Need.OUTLIER_CLASSES: "give head=ClassifierHead(...) with extra_weight, extra_bias and "
    "outlier_classes, their number",
    Need.NORM: "give head=ClassifierHead(...) with bn_weight and bn_bias",
}


@dataclass(frozen=True, eq=False)
class Given:
    """Rows of one split as a caller gives them.

    Attributes:
        features: Features, [N, D].
        labels: Classes, [N]; not for auxiliary outliers, and -1 or absent for OOD rows.
        local: Local features, [N, P, D].
        logits: Outputs of the network, [N, C], where no head gives them.
    """

    features: Rows
    labels: Rows | None = None
    local: Rows | None = None
    logits: Rows | None = None


class MemorySplit:
    """Rows of one split: arrays as they were given, logits from the head when they are read."""

    def __init__(self, name: str, given: Given, layer: Layer | None, dim: int) -> None:
        """Check the arrays of one split.

        Args:
            name: Split name.
            given: Its rows.
            layer: Weight and bias of the head that makes the logits; None if no method reads them.
            dim: Feature width D.

        Raises:
            DataError: If a shape does not fit or a number is not finite.
        """
        self.name = name
        features = _rows(given.features, f"{name} features", "[N, D]", dim)
        rows = len(features)
        if rows == 0:
            raise DataError(f"{name} features have no rows; leave them out or give some.")
        self._arrays = {"features": features}
        if given.local is not None:
            self._arrays["local"] = _rows(given.local, f"{name} local features", "[N, P, D]", dim)
        if given.logits is not None and layer is None:
            width = as_array(given.logits, f"{name} logits").shape[-1]
            self._arrays["logits"] = _rows(given.logits, f"{name} logits", "[N, C]", width)
        self._arrays["labels"] = (
            np.broadcast_to(np.int64(-1), rows)
            if given.labels is None
            else _labels(given.labels, f"{name} labels")
        )
        for key, array in self._arrays.items():
            if len(array) != rows:
                raise DataError(
                    f"{name} has {len(array)} rows of {key} and {rows} of features; give one per "
                    "row."
                )
            if key != "labels":
                _check_finite(array, f"{name} {'local features' if key == 'local' else key}")
        specs = {
            key: ArraySpec(array.dtype.name, array.shape[1:]) for key, array in self._arrays.items()
        }
        specs["ids"] = ArraySpec("int64")
        self._layer = layer
        if layer is not None:
            specs["logits"] = ArraySpec("float32", layer[1].shape)
        self.spec = SplitSpec(rows, specs)

    def __len__(self) -> int:
        """Number of rows."""
        return self.spec.rows

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self.spec.arrays["features"].shape[-1]

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays this split holds."""
        return sorted(self.spec.arrays)

    def batches(
        self,
        rows: int,
        arrays: Sequence[str] = ("features", "logits", "labels"),
        first: int = 0,
        end: int | None = None,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield rows from `first` to `end` in order, at most `rows` at once, only `arrays`."""
        last = len(self) if end is None else end
        for start in range(first, last, rows):
            stop = min(start + rows, last)
            yield {name: self._read(name, start, stop) for name in arrays}

    def _read(self, array: str, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) of one array, in the byte order and layout that torch takes."""
        if array == "ids":
            return np.arange(start, stop, dtype=np.int64)
        if array == "logits" and self._layer is not None:
            weight, bias = self._layer
            features = self._read("features", start, stop).astype(np.float32, copy=False)
            logits: NDArray[Any] = features @ weight.T + bias
            return logits
        if array not in self._arrays:
            raise StoreError(f"{self.name} has no {array}; it has {', '.join(self.arrays)}.")
        rows = self._arrays[array][start:stop]
        return np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("="))

    def hash_into(self, digest: "hashlib._Hash") -> None:
        """Add all arrays to a digest, block by block."""
        for key, spec in sorted(self.spec.arrays.items()):
            if key not in self._arrays:
                continue
            digest.update(f"{self.name}/{key} {spec.dtype} {spec.shape} {len(self)}\n".encode())
            for block in self.batches(BATCH_ROWS, (key,)):
                digest.update(block[key].data)


class MemoryStore:
    """Features in memory, read as a feature store is.

    Attributes:
        path: How messages call it.
        class_names: Names of the ID classes in label order.
        provenance: Says that the arrays came from memory.
        remedies: How to give what an entry misses.
    """

    path = "the features in memory"
    remedies = REMEDIES

    def __init__(
        self,
        splits: Mapping[str, Given],
        head: ClassifierHead | None = None,
        prior: ClassPrior | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Check all arrays; they must not change afterwards.

        Args:
            splits: Rows by split: train, with labels, and any of val, test, aux and ood_<name>.
            head: Classifier head; without one there are no logits.
            prior: Class counts; counted from the training labels where not given.
            class_names: Names of the C classes; their numbers where not given.

        Raises:
            DataError: If a shape does not fit, a number is not finite or a label is not a
                valid class.
        """
        for name in splits:
            check_split_name(name)
        labels = splits["train"].labels
        if labels is None:
            raise DataError("train has no labels; give the class of every row, 0 to C - 1.")
        dim = _width(splits["train"].features) if head is None else head.dim
        self._head = {} if head is None else _arrays_of(head)
        layer = output_layer(self._head) if self._head else None
        self._splits = {name: MemorySplit(name, rows, layer, dim) for name, rows in splits.items()}
        counted = _labels(labels, "train labels")
        num_classes = _num_classes(head, prior, class_names, counted)
        for name in splits:
            if is_id_split(name) and splits[name].labels is not None:
                _check_classes(splits[name].labels, name, num_classes)
        self._prior = prior or ClassPrior(np.bincount(counted, minlength=num_classes))
        if isinstance(class_names, str):
            raise DataError(f"class names are {class_names!r}; give a list of one for each class.")
        self.class_names = [str(n) for n in class_names or range(num_classes)]
        for what, count in (
            ("class names", len(self.class_names)),
            ("class counts", self._prior.num_classes),
        ):
            if count != num_classes:
                raise DataError(
                    f"there are {count} {what} but {num_classes} classes; give one per class."
                )
        self.provenance: dict[str, Any] = {"source": "memory"}

    @property
    def splits(self) -> list[str]:
        """Names: train, val, test and aux where present, then OOD sets by name."""
        return in_order(self._splits)

    @property
    def image_splits(self) -> list[str]:
        """Names of the splits that are scored: all but auxiliary outliers."""
        return [name for name in self.splits if name != AUX_SPLIT]

    @property
    def ood_splits(self) -> list[str]:
        """Names of the OOD sets, with their prefix."""
        return [name for name in self.splits if name.startswith(OOD_PREFIX)]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all arrays, the head, class names and counts."""
        digest = hashlib.sha256(repr((self.class_names, self._prior.counts.tolist())).encode())
        for name, array in self._head.items():
            digest.update(f"head/{name} {array.shape}\n".encode() + array.tobytes())
        for name in self.splits:
            self._splits[name].hash_into(digest)
        return digest.hexdigest()

    def split(self, name: str) -> MemorySplit:
        """One split.

        Raises:
            StoreError: If there is no such split.
        """
        if name not in self._splits:
            raise StoreError(f"{self.path} have no split {name!r}; only {', '.join(self.splits)}.")
        return self._splits[name]

    def split_spec(self, name: str) -> tuple[SplitSpec, int]:
        """Specification of one split, which is one chunk."""
        spec = self.split(name).spec
        return spec, spec.rows

    def head_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the classifier head by name; none where no head was given."""
        return dict(self._head)

    def prior(self) -> ClassPrior:
        """Class counts of the training set."""
        return self._prior


def _num_classes(
    head: ClassifierHead | None,
    prior: ClassPrior | None,
    class_names: Sequence[str] | None,
    labels: NDArray[np.int64],
) -> int:
    if head is not None:
        return head.num_classes
    if prior is not None:
        return prior.num_classes
    return len(class_names) if class_names else int(labels.max(initial=0)) + 1


def _arrays_of(head: ClassifierHead) -> dict[str, NDArray[Any]]:
    return {name: tensor.cpu().numpy() for name, tensor in head.arrays().items()}


def _width(features: Rows) -> int:
    array = as_array(features, "train features")
    return array.shape[-1] if array.ndim else 0


def _rows(values: Rows, what: str, shape: str, dim: int) -> NDArray[Any]:
    """Rows of numbers of any float type; whole numbers become float32."""
    array = as_array(values, what)
    if array.ndim != shape.count(",") + 1:
        raise DataError(f"{what} have shape {list(array.shape)}; they must be {shape}.")
    if array.shape[-1] != dim:
        raise DataError(
            f"{what} have {array.shape[-1]} columns but {dim} are expected; all features and the "
            "head must come from the same network."
        )
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _labels(values: Rows, what: str) -> NDArray[np.int64]:
    array = as_array(values, what)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"{what} are {array.dtype} of shape {list(array.shape)}; they must be whole numbers, "
            "[N], one per row."
        )
    return array.astype(np.int64, copy=False)


def _check_classes(values: Rows | None, name: str, num_classes: int) -> None:
    assert values is not None
    labels = _labels(values, f"{name} labels")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"row {row} of {name} holds the label {labels[row]}; labels of ID rows are 0 to "
            f"{num_classes - 1}. Leave out rows without a class."
        )


def _check_finite(array: NDArray[Any], what: str) -> None:
    """Refuse NaN, infinity and numbers beyond float32, block by block."""
    for start in range(0, len(array), BATCH_ROWS):
        with np.errstate(over="ignore"):
            block = array[start : start + BATCH_ROWS].astype(np.float32, copy=False)
        # A sum takes half of the time and is finite for all rows that any network gives.
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum()):
                continue
        bad = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
        if bad.any():
            raise DataError(
                f"{what} hold NaN or infinity in row {start + int(np.argmax(bad))} "
                f"({int(bad.sum())} such rows from row {start} on); leave these rows out or "
                "extract them again."
            )
