"""Array aliases with their shapes, and the batch that methods receive.

Shapes: N rows, D features, C classes, P local patches, e auxiliary outputs of the head.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Protocol, Self, TypeVar

from torch import Tensor

from ltood.core.arrays import Rows, as_labels, as_rows, as_tensor, check_finite
from ltood.core.errors import DataError, MissingNeedError
from ltood.core.extras import missing_extra, parted_extra
from ltood.core.head import ClassifierHead

Features = Annotated[Tensor, "[N, D] float32"]
Logits = Annotated[Tensor, "[N, C] float32"]
Labels = Annotated[Tensor, "[N] int64, -1 for OOD"]
Ids = Annotated[Tensor, "[N] int64, row number in the dataset's manifest"]
LocalFeatures = Annotated[Tensor, "[N, P, D] float32"]
Scores = Annotated[Tensor, "[N] float32, higher means more OOD"]

T = TypeVar("T")

#: Rows that are read and scored at once; bounds memory, not results.
BATCH_ROWS = 8192


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """Rows of one split, aligned; arrays that were not asked for are absent.

    Read it through the properties, which raise a clear error for an absent array. The tensors
    are shared with caches: never change them in place.

    Attributes:
        arrays: Tensors with the same number of rows, by name: features, logits, labels, ids,
            local, aux_outputs, and extra ones by names such as "odin/features". None stands for
            an absent one.
    """

    arrays: Mapping[str, Tensor | None]
    _shared: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    _unchecked: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        """Leave out absent arrays and check that all others have the same number of rows."""
        present = {name: tensor for name, tensor in self.arrays.items() if tensor is not None}
        rows = {name: len(tensor) for name, tensor in present.items()}
        if not rows:
            raise DataError("a batch needs at least one array; give features, logits or local.")
        if len(set(rows.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise DataError(f"arrays differ in rows ({listed}); read all from the same split.")
        object.__setattr__(self, "arrays", present)

    @classmethod
    def of(
        cls,
        features: Rows | None = None,
        logits: Rows | None = None,
        *,
        labels: Rows | None = None,
        ids: Rows | None = None,
        local: Rows | None = None,
        aux_outputs: Rows | None = None,
        extras: Mapping[str, Rows] | None = None,
        head: ClassifierHead | None = None,
    ) -> "FeatureBatch":
        """Build a batch from plain arrays; logits come from `head` where not given.

        Whether all numbers are finite is seen when an array is first read: a score of logits
        alone need not wait until all features have been checked.

        Raises:
            DataError: If a shape does not fit, or logits are to be made of NaN or infinity.
        """
        width, classes = (None, None) if head is None else (head.dim, head.num_classes)
        given = {
            "features": as_rows(features, "features", "[N, D]", width),
            "logits": as_rows(logits, "logits", "[N, C]", classes),
            "labels": None if labels is None else as_labels(labels),
            "ids": None if ids is None else as_labels(ids, "ids"),
            "local": as_rows(local, "local features", "[N, P, D]", width),
            "aux_outputs": as_rows(aux_outputs, "auxiliary outputs", "[N, e]"),
            **{name: as_tensor(rows, name) for name, rows in (extras or {}).items()},
        }
        batch = cls(given)
        batch._unchecked.update(batch.arrays.keys() & {*_NAMES, *(extras or {})})
        if head is None or features is None:
            return batch
        made = {"logits": head.logits, "aux_outputs": head.aux_outputs}
        missing = {name: make(batch.features) for name, make in made.items() if given[name] is None}
        whole = replace(batch, arrays={**batch.arrays, **missing})
        whole._unchecked.update(batch._unchecked)
        return whole

    def validate(self) -> Self:
        """Check all numbers that have not been checked yet.

        Raises:
            DataError: If one is NaN or infinite.
        """
        for name in sorted(self._unchecked):
            self._check(name)
        return self

    def _check(self, name: str) -> None:
        if name in self._unchecked and name in self.arrays:
            check_finite(self._present(name), _NAMES.get(name, name))
        self._unchecked.discard(name)

    def _present(self, name: str) -> Tensor:
        tensor = self.arrays.get(name)
        if tensor is None and parted_extra(name)[0]:
            raise missing_extra("this entry", name)
        if tensor is None:
            raise MissingNeedError(
                f"this batch holds no {_NAMES.get(name, name)}; give {_SOURCES.get(name, name)} "
                f"(a new entry must list {name!r} in `arrays`)."
            )
        return tensor

    def _read(self, name: str) -> Tensor:
        """An array that must be there, float32, checked and without its gradients."""
        self._check(name)
        # Features fresh from a network may drag its gradients along; no score needs them.
        return self._present(name).detach().float()

    def __len__(self) -> int:
        """Number of rows N."""
        return next(len(tensor) for tensor in self.arrays.values() if tensor is not None)

    @property
    def features(self) -> Features:
        """Pooled penultimate features, [N, D] float32."""
        return self._read("features")

    @property
    def logits(self) -> Logits:
        """Class logits, [N, C] float32."""
        return self._read("logits")

    @property
    def labels(self) -> Labels:
        """Class labels, [N] int64; -1 for OOD rows."""
        return self._present("labels")

    @property
    def ids(self) -> Ids:
        """Row numbers in the dataset, [N] int64."""
        return self._present("ids")

    @property
    def local(self) -> LocalFeatures:
        """Local features of each patch, [N, P, D] float32."""
        return self._read("local")

    @property
    def aux_outputs(self) -> Tensor:
        """Auxiliary outputs of the head, such as that of a detector node, [N, e] float32."""
        return self._read("aux_outputs")

    def column(self, name: str) -> Tensor:
        """Another array of the batch as it is, [N, ...]; one that a method has added to it."""
        return self._present(name)

    def extra(self, name: str) -> Tensor:
        """An extra array by its name, such as "odin/features", [N, ...] float32.

        Raises:
            MissingNeedError: If the batch does not hold it.
        """
        return self._read(name)

    def slice(self, start: int, stop: int) -> "FeatureBatch":
        """Rows `start` to `stop` as views of the same memory; see `validate`."""
        self.validate()
        cut = {n: None if t is None else t[start:stop] for n, t in self.arrays.items()}
        return FeatureBatch(cut)

    def knows(self, key: object) -> bool:
        """Whether `cached` would find a value ready."""
        return key in self._shared

    def cached(self, key: object, compute: Callable[[], T]) -> T:
        """Compute a value of this batch once and share it among methods.

        Args:
            key: Names the value and everything it depends on.
            compute: Gives the value; called at most once per key.
        """
        if key not in self._shared:
            self._shared[key] = compute()
        shared: T = self._shared[key]
        return shared


#: Arrays whose numbers must be finite, and what they are called in messages.
_NAMES = {
    "features": "features",
    "logits": "logits",
    "local": "local features",
    "aux_outputs": "auxiliary outputs",
}

#: What a caller gives so that an array is there, where it is not the array alone.
_SOURCES = {
    "logits": "logits, or features and a head",
    "aux_outputs": "features and a head with extra_weight and extra_bias",
}


class FeatureSource(Protocol):
    """Rows that can be read again and again, in batches: a stored split or tensors."""

    @property
    def dim(self) -> int:
        """Feature width D."""

    @property
    def num_classes(self) -> int:
        """Number of classes C."""

    @property
    def has_local(self) -> bool:
        """Whether rows hold local features."""

    def __len__(self) -> int:
        """Number of rows N."""

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield all rows in order, at most `rows` at a time, holding only `arrays`."""


class WrappedSource:
    """Base of sources that show the rows of another one in their own way, batch by batch."""

    def __init__(self, source: FeatureSource) -> None:
        """Wrap a source."""
        self._source = source

    @property
    def dim(self) -> int:
        """Feature width D."""
        return self._source.dim

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self._source.num_classes

    @property
    def has_local(self) -> bool:
        """Whether rows hold local features."""
        return self._source.has_local

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self._source)


class TensorSource:
    """Rows held in memory as tensors; what plain Python callers pass to `fit`."""

    def __init__(self, batch: FeatureBatch, num_classes: int) -> None:
        """Wrap one batch; `num_classes` is the number of classes C."""
        self._batch = batch
        self._num_classes = num_classes

    @property
    def dim(self) -> int:
        """Feature width D; 0 where there are no features."""
        return self.width("features")

    def width(self, name: str) -> int:
        """Last size of the array `name`; 0 where it was not given."""
        rows = self._batch.arrays.get(name)
        return 0 if rows is None else rows.shape[-1]

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self._num_classes

    @property
    def has_local(self) -> bool:
        """Whether rows hold local features."""
        return self.width("local") > 0

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self._batch)

    def batches(
        self, rows: int = BATCH_ROWS, arrays: Sequence[str] = ("features", "logits", "labels")
    ) -> Iterator[FeatureBatch]:
        """Yield slices (views) of the tensors in order; `arrays` is only a lower bound."""
        del arrays
        for start in range(0, len(self._batch), rows):
            yield self._batch.slice(start, start + rows)
