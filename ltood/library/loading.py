"""Batches of images and labels out of whatever a person iterates over."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, SubsetRandomSampler
from torch.utils.data import WeightedRandomSampler as Weighted
from torch.utils.data.distributed import DistributedSampler

from ltood.core.arrays import as_labels, as_tensor
from ltood.core.errors import DataError
from ltood.store.layout import check_split_name, full_split_name, in_order, is_id_split

#: Any iterable of batches: images, (images, labels, ...), or a mapping with both.
Loader = Iterable[Any]
_IMAGES = ("pixel_values", "images", "image", "pixels", "x")
_LABELS = ("labels", "label", "targets", "target", "y")
#: Names that people give to splits, by what we call them.
_NEARLY = {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "dev": "val",
    "testing": "test",
    "outliers": "aux",
    "auxiliary": "aux",
}
_SHUFFLING = (RandomSampler, SubsetRandomSampler, Weighted)


@dataclass(frozen=True)
class Batch:
    """Images of one batch as the network takes them.

    Attributes:
        images: [N, ...], on the CPU or where the loader put them.
        labels: [N], or None where the loader gives none.
    """

    images: Tensor
    labels: NDArray[np.int64] | None


def by_split(loader: Loader | Mapping[str, Loader]) -> dict[str, Loader]:
    """Loaders by split; one alone is that of the training images.

    Raises:
        DataError: If one cannot be used, or its name may mean several splits.
        StoreError: If a name is not that of a split.
    """
    given = dict(loader) if isinstance(loader, Mapping) else {"train": loader}
    found: dict[str, Loader] = {}
    for name, value in given.items():
        if name in _NEARLY:
            raise DataError(
                f"{name!r} may mean a split or an OOD set: name it {_NEARLY[name]!r}, or "
                f"'ood_{name}' if it is an OOD set."
            )
        split = full_split_name(name)
        check_split_name(split)
        if split in found:
            raise DataError(f"there are two loaders for {split}; give each set one name.")
        _check_loader(split, value)
        found[split] = value
    if not found:
        raise DataError("there are no loaders; give one for each split.")
    return {name: found[name] for name in in_order(found)}


def _check_loader(split: str, loader: Loader) -> None:
    """Refuse what gives no batches, or gives them in another order each time.

    Raises:
        DataError: With the split and the way out.
    """
    if isinstance(loader, Dataset) or not isinstance(loader, Iterable):
        raise DataError(
            f"the loader of {split} is a {type(loader).__name__}; give an iterable of batches, "
            "such as torch.utils.data.DataLoader(dataset, batch_size=64)."
        )
    if isinstance(loader, DataLoader) and _shuffles(loader.sampler):
        raise DataError(
            f"the loader of {split} shuffles ({type(loader.sampler).__name__}); ids of rows and "
            "going on after an interruption need one order: make it with shuffle=False."
        )


def _shuffles(sampler: Sampler[Any] | Iterable[Any]) -> bool:
    distributed = isinstance(sampler, DistributedSampler) and sampler.shuffle
    return isinstance(sampler, _SHUFFLING) or distributed


def num_images(loader: Loader) -> int | None:
    """Number of images that a loader announces; for the progress bar only."""
    try:
        return len(loader.sampler) if isinstance(loader, DataLoader) else None  # type: ignore[arg-type]
    except TypeError:
        return None


def starts_again(loader: Loader) -> bool:
    """Whether a loader can be iterated over more than once; a generator cannot."""
    return not isinstance(loader, Iterator)


def rewindable(loaders: Mapping[str, Loader], first: str) -> tuple[dict[str, Loader], Any]:
    """Peek at the first batch of a loader: loaders that still yield it, and the batch.

    Args:
        loaders: By split.
        first: Split whose first batch is returned.

    Raises:
        DataError: If it gives none.
    """
    found = dict(loaders)
    stream = iter(loaders[first])
    try:
        batch = next(stream)
    except StopIteration:
        raise DataError(f"the loader of {first} gives no images; leave the split out.") from None
    if stream is loaders[first]:  # A generator cannot start again.
        found[first] = itertools.chain([batch], stream)
    return found, batch


def labelled(
    split: str,
    loader: Loader,
    transform: Callable[[Any], Any] | None = None,
    classes: int | None = None,
) -> Iterator[Batch]:
    """Batches of a loader in one form; those of ID splits have labels.

    Args:
        split: Name of the split.
        loader: Any iterable of batches.
        transform: Makes of a loader's images what the network takes.
        classes: C; None for any number.

    Raises:
        DataError: If a batch is not understood, or a label is missing or not a class.
    """
    row = 0
    for given in loader:
        batch = read_batch(split, row, given, transform)
        if is_id_split(split):
            _check_labels(split, row, batch.labels, classes)
        row += len(batch.images)
        yield batch


def _check_labels(
    split: str, row: int, labels: NDArray[np.int64] | None, classes: int | None
) -> None:
    if labels is None:
        raise DataError(
            f"the loader of {split} gives no labels in its batch from row {row} on; splits of "
            "known classes need them, as (images, labels)."
        )
    bad = (labels < 0) | (labels >= (np.iinfo(np.int64).max if classes is None else classes))
    if bad.any():
        at = int(np.argmax(bad))
        most = "" if classes is None else f" to {classes - 1}, the classes of the model"
        raise DataError(
            f"image {row + at} of {split} has the label {labels[at]}; labels are 0{most}."
        )


def read_batch(
    split: str, row: int, given: object, transform: Callable[[Any], Any] | None
) -> Batch:
    """One batch in one form; `row` is its first row.

    Raises:
        DataError: If it is not understood.
    """
    where = f"the batch of {split} from row {row} on"
    images, labels = _parts(where, given)
    if transform is not None:
        images = transform(images)
    tensor = as_tensor(images, f"images of {where}")
    if tensor.ndim < 2 or len(tensor) == 0:
        raise DataError(
            f"{where} holds images of shape {list(tensor.shape)}; they must be [N, ...] with at "
            "least one image."
        )
    if not tensor.is_floating_point():
        raise DataError(
            f"{where} holds images of {tensor.dtype}, and networks take floats that were "
            "normalised as in training: do so in the data set, or give transform= a function "
            "such as lambda images: (images / 255 - mean) / std."
        )
    if not is_id_split(split) or labels is None:
        return Batch(tensor, None)
    found = np.array(as_labels(_as_list(labels), f"labels of {where}").cpu().numpy())
    if len(found) != len(tensor):
        raise DataError(
            f"{where} holds {len(tensor)} images but {len(found)} labels; give one label for "
            "each image, and batches rather than single images."
        )
    return Batch(tensor, found)


def _as_list(labels: object) -> Any:  # noqa: ANN401 - what as_labels takes
    """Labels; one number is shown as such by the message about its shape."""
    return np.asarray(labels) if isinstance(labels, int) else labels


def _parts(where: str, given: object) -> tuple[Any, Any]:
    """Images and labels of one batch."""
    if isinstance(given, Mapping):
        images = [key for key in _IMAGES if key in given]
        if not images:
            raise DataError(
                f"{where} has {', '.join(map(str, given))}; images are looked for under "
                f"{', '.join(_IMAGES)}."
            )
        labels = [given[key] for key in _LABELS if key in given]
        return given[images[0]], labels[0] if labels else None
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        if not given:
            raise DataError(f"{where} is empty; give images, or (images, labels).")
        return given[0], given[1] if len(given) > 1 else None
    return given, None
