"""Splits of one store that a model fills: kept from an older store, or computed."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError, FingerprintError, StoreError
from ltood.core.prior import ClassPrior
from ltood.library.gathering import Gathered, Read, content_of
from ltood.library.loading import Batch, Loader, labelled, num_images, starts_again
from ltood.library.targets import Target
from ltood.runtime.console import Advance, progress
from ltood.runtime.provenance import digest, library_versions
from ltood.store.chunks import SplitFiles
from ltood.store.features import FeatureStore
from ltood.store.layout import SplitSpec, StoreSpec, is_id_split
from ltood.store.writer import StoreInputs, what_differs

#: Largest relative difference between features that were stored and those of the model now.
_TOLERANCE = 1e-2


class Storing:
    """Splits of one store: those that an older store has, and those to be computed."""

    def __init__(
        self,
        target: Target,
        loaders: Mapping[str, Loader],
        transform: Callable[[Any], Any] | None,
        made: Mapping[str, Any],
        head: Mapping[str, NDArray[Any]],
        names: list[str] | None,
    ) -> None:
        self._target, self._loaders, self._transform = target, loaders, transform
        self._made, self._head, self._names = made, head, names
        self._specs: dict[str, SplitSpec] = {}
        self._labels: dict[str, NDArray[np.int64]] = {}
        self._contents: dict[str, str] = {}
        self._kept: dict[str, SplitFiles] = {}
        self._gathered: dict[str, Gathered] = {}

    def _batches(self, split: str) -> Iterator[Batch]:
        classes = None if self._names is None else len(self._names)
        return labelled(split, self._loaders[split], self._transform, classes)

    def keep(self, old: FeatureStore, first: str, probed: NDArray[Any], *, overwrite: bool) -> None:
        """Take over splits of the store that is there, where model and images are the same.

        Args:
            old: The store.
            first: Split whose first features were computed.
            probed: These features, [n, D].
            overwrite: Whether the store may be replaced.

        Raises:
            StoreError: If one is not and `overwrite` is off.
        """
        provenance = old.provenance
        known = provenance.get("images", {}) if provenance.get("made") == self._made else {}
        for name, loader in self._loaders.items():
            # What can be read only once is read for the network.
            if name in known and (starts_again(loader) or not overwrite):
                content = content_of(self._batches(name))
                if content == known[name]:
                    files = old.files(name)
                    labels = old.split(name).load(("labels",))["labels"]
                    self._add(name, files.spec, content, labels)
                    self._kept[name] = files
        if first in self._kept and not _same(old.split(first).read("features", 0, 1), probed):
            self._kept.clear()  # The model's code has changed.
        if not overwrite and self._kept.keys() != self._loaders.keys():
            changed = next(name for name in self._loaders if name not in self._kept)
            raise StoreError(
                f"{self._target.place} was made from another model, other settings or other images "
                f"(of {changed}, for one). Pass overwrite=True, which takes over the splits that "
                "are the same, or another path."
            )

    def gather(
        self, first: str, probed: NDArray[Any], read: Read, images: NDArray[Any] | None = None
    ) -> None:
        """Compute the features of all splits that were not kept.

        Args:
            first: Split whose first features were computed.
            probed: These features, [n, D].
            read: The network.
            images: The images that they are of, which tell writers of one address apart.

        Raises:
            FingerprintError: If a killed run had another network or read other images.
            DataError: If images, labels or features break a rule.
        """
        for name, loader in self._loaders.items():
            if name in self._kept:
                continue
            key = digest({"made": self._made, "split": name})[:32]
            seen = None if images is None else hashlib.sha256(images.tobytes()).hexdigest()
            self._target.begin(digest({"made": self._made, "images": seen}))
            gatherer = self._target.gatherer(key, name, self._made["dtype"], probed.shape[1])
            if name == first and gatherer.rows and not _same(gatherer.first_row(), probed):
                raise FingerprintError(
                    f"the first image of {name} has other features than in the run that began "
                    f"{self._target.work}: the loader gives other images, or the model's code has "
                    "changed. Remove that to start again."
                )
            with progress(f"extract {name}", num_images(loader), "images") as advance:
                rows = gatherer.gather(_counted(self._batches(name), advance), read)
            spec = SplitSpec(
                rows.rows, rows.arrays, digest({"made": self._made, "content": rows.content})
            )
            self._add(name, spec, rows.content, rows.labels)
            self._gathered[name] = rows

    def finish(self, counts: Sequence[int] | None, *, overwrite: bool) -> None:
        """Make the store of all splits.

        Raises:
            DataError: If a label is not a valid class, or a class has no training image.
            StoreError: If another store is there and `overwrite` is off.
        """
        names = self._names or _numbered(self._labels, counts)
        _check_labels(self._labels, len(names))
        inputs = StoreInputs(
            StoreSpec(self._specs),
            {
                "source": "model",
                "made": self._made,
                "images": self._contents,
                "libraries": library_versions(),
            },
            self._head,
            names,
            _class_counts(counts, self._labels.get("train"), len(names)),
        )
        inputs.bound()  # Refuses what does not fit before anything is marked.
        if not overwrite and self._target.opened() is not None:
            if differing := what_differs(self._target.place, inputs):
                found = "; ".join(differing[:3])
                raise StoreError(
                    f"{self._target.place} was made from other inputs ({found}). Pass "
                    "overwrite=True or another path."
                )
            return
        self._target.finish(inputs, self._kept, self._gathered)

    def _add(self, name: str, spec: SplitSpec, content: str, labels: NDArray[np.int64]) -> None:
        self._specs[name], self._contents[name], self._labels[name] = spec, content, labels


def _counted(found: Iterable[Batch], advance: Advance) -> Iterator[Batch]:
    for batch in found:
        yield batch
        advance(len(batch.images))


def _same(stored: NDArray[Any], probed: NDArray[Any]) -> bool:
    """Whether the first stored features, [1, D], are those of the model, but for rounding."""
    if stored.shape[1:] != probed.shape[1:]:
        return False
    difference = np.abs(stored[0].astype(np.float32) - probed[0]).max()
    return bool(difference <= _TOLERANCE * np.abs(probed[0]).max())


def _numbered(labels: Mapping[str, NDArray[np.int64]], counts: Sequence[int] | None) -> list[str]:
    """Numbers for names, as many as there are counts or training labels."""
    classes = int(labels["train"].max()) + 1 if counts is None else len(counts)
    return [str(label) for label in range(classes)]


def _class_counts(
    given: Sequence[int] | None, train: NDArray[np.int64] | None, classes: int
) -> NDArray[np.int64]:
    """Training counts: given ones win, else counted from the training labels."""
    if given is not None:
        counts = ClassPrior.of(given).counts
    else:
        assert train is not None  # extract asks for counts where there is no train
        counts = np.bincount(train, minlength=classes)
    if len(counts) != classes:
        raise DataError(f"class_counts has {len(counts)} numbers for {classes} classes.")
    if (counts == 0).any():
        empty = np.flatnonzero(counts == 0)[:10].tolist()
        raise DataError(
            f"classes {empty} have no training images; every class of the model needs at least "
            "one. Give class_counts= where train holds only some of the images."
        )
    return counts


def _check_labels(labels: Mapping[str, NDArray[np.int64]], classes: int) -> None:
    """Refuse labels of ID splits that are not valid classes; the model does not give C."""
    for name in filter(is_id_split, labels):
        if (largest := labels[name].max()) >= classes:
            raise DataError(
                f"{name} has the label {largest}; there are {classes} classes, so labels are 0 "
                f"to {classes - 1}."
            )
