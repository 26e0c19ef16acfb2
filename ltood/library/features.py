"""Features of a store, of files or of arrays, read as NumPy arrays."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import MissingNeedError, StoreError
from ltood.core.prior import ClassPrior
from ltood.library.columns import Column, linear
from ltood.store.head import output_layer
from ltood.store.layout import OOD_PREFIX, in_order

if TYPE_CHECKING:
    from ltood.core.head import ClassifierHead


class Split:
    """Rows of one split; arrays are read on first access.

    Attributes:
        name: Name of the split.
        columns: Arrays by name.
    """

    def __init__(self, name: str, columns: Mapping[str, Column]) -> None:
        """Take the arrays of a split, all with the same number of rows."""
        self.name, self.columns = name, dict(columns)

    def __len__(self) -> int:
        return len(self.columns["features"])

    def without(self, array: str) -> "Split":
        """The same without one of its arrays."""
        return Split(self.name, {k: v for k, v in self.columns.items() if k != array})

    @property
    def features(self) -> Column:
        """Features, [N, D]."""
        return self._column("features")

    @property
    def logits(self) -> Column:
        """Outputs of the head, [N, C + e]; computed where they are not stored."""
        return self._column("logits")

    @property
    def labels(self) -> Column:
        """Classes, [N]; -1 for rows without one."""
        return self._column("labels")

    @property
    def ids(self) -> Column:
        """Row numbers in the data set, [N]."""
        return self._column("ids")

    @property
    def local(self) -> Column:
        """Features of patches, [N, P, D]."""
        return self._column("local")

    def _column(self, name: str) -> Column:
        if name not in self.columns:
            raise MissingNeedError(
                f"split {self.name} has no {name}; it has {', '.join(sorted(self.columns))}."
            )
        return self.columns[name]

    def __repr__(self) -> str:
        return f"<split {self.name}: {len(self):,} x {self.features.shape[1]}>"


class Features(Mapping[str, Split]):
    """Features by split, with the head and the classes that belong to them.

    Attributes:
        path: Where they lie, for commands; None for arrays.
        class_names: C names in label order.
        head_arrays: Arrays of the head by name; none where there is no head.
        counts: C training counts, or None if they are unknown.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        head: Mapping[str, NDArray[Any]],
        class_names: Sequence[str],
        class_counts: NDArray[np.int64] | None,
        path: Path | str | None = None,
    ) -> None:
        """Take splits whose arrays were checked; use `open_features`.

        Args:
            splits: Rows by split.
            head: Arrays of the head by name; none where there is no head.
            class_names: C names.
            class_counts: C training counts, or None if they are unknown.
            path: Store that they were read from.
        """
        self.path, self.class_names = path, list(class_names)
        self.head_arrays, self.counts = dict(head), class_counts
        self._stored = {name for name, split in splits.items() if "logits" in split.columns}
        self._splits = {name: _with_logits(splits[name], head) for name in in_order(splits)}

    @property
    def splits(self) -> list[str]:
        """Names of the splits."""
        return list(self._splits)

    @property
    def head(self) -> "ClassifierHead":
        """The classifier head.

        Raises:
            MissingNeedError: If there is none.
        """
        from ltood.core.head import ClassifierHead

        if not self.head_arrays:
            raise MissingNeedError(
                f"{self._where()} without a head; give head=, the network's last linear layer or "
                "its (weight, bias), to open_features."
            )
        return ClassifierHead.from_arrays(self.head_arrays)

    @property
    def prior(self) -> ClassPrior:
        """Class counts of the training set.

        Raises:
            MissingNeedError: If they are unknown.
        """
        if self.counts is None:
            raise MissingNeedError(f"{self._where()} without a split train to count classes in.")
        return ClassPrior(self.counts)

    def bare(self, name: str) -> Split:
        """A split as it is stored: without logits that follow from its features and the head."""
        split = self[name]
        return split if split.name in self._stored else split.without("logits")

    def replaced(
        self,
        splits: Mapping[str, Split],
        head: Mapping[str, NDArray[Any]] | None,
        class_names: Sequence[str] | None,
    ) -> "Features":
        """The same with other splits, and with another head or names where they are given."""
        return Features(
            splits,
            self.head_arrays if head is None else head,
            self.class_names if class_names is None else [str(name) for name in class_names],
            self.counts,
        )

    def save(self, store: "Path | str") -> "Features":
        """Write a feature store of these features, which all commands read.

        Args:
            store: Folder to write; must not exist.

        Returns:
            The features of the store.

        Raises:
            StoreError: If it exists or cannot be written.
            MissingNeedError: If the class counts are unknown.
        """
        from ltood.library.saving import save_features

        return save_features(self, Path(store))

    def __getitem__(self, name: str) -> Split:
        full = name if name in self._splits else f"{OOD_PREFIX}{name}"
        if full not in self._splits:
            raise StoreError(f"{self._where()} without {name!r}: {', '.join(self._splits)}.")
        return self._splits[full]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)

    def __contains__(self, name: object) -> bool:
        return name in self._splits or f"{OOD_PREFIX}{name}" in self._splits

    def _where(self) -> str:
        return f"the features {'in memory' if self.path is None else f'of {self.path}'} are"

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {len(split):,}" for name, split in self._splits.items())
        width = next(iter(self._splits.values())).features.shape[1]
        head = "with head" if self.head_arrays else "no head"
        return f"<features: {rows}; {width} wide, {len(self.class_names)} classes, {head}>"


def _with_logits(split: Split, head: Mapping[str, NDArray[Any]]) -> Split:
    """The split, with logits computed by the head if it has none of its own."""
    if not head or "logits" in split.columns:
        return split
    logits = linear(f"logits of {split.name}", split.features, *output_layer(head))
    return Split(split.name, {**split.columns, "logits": logits})
