"""From any torch model and any batches of images to a feature store."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from torch import nn

from ltood.core.errors import DataError
from ltood.library.borrowing import borrowed, identity_of, place_of
from ltood.library.features import Features
from ltood.library.loading import Loader, by_split, read_batch, rewindable
from ltood.library.opening import open_features
from ltood.library.storing import Storing
from ltood.library.tapping import Tap
from ltood.library.targets import target_of
from ltood.runtime.devices import resolve_precision
from ltood.store.pooling import Pool

#: Rows of the first batch that show which layer gives the logits.
_PROBED = 4


def extract(
    model: nn.Module,
    loader: Loader | Mapping[str, Loader],
    store: Path | str = "features.zarr",
    *,
    layer: str | None = None,
    pool: Pool | None = None,
    transform: Callable[[Any], Any] | None = None,
    class_names: Sequence[str] | None = None,
    class_counts: Sequence[int] | None = None,
    device: str = "auto",
    amp: Literal["auto", "off", "bf16"] = "off",
    dtype: Literal["float32", "float16"] = "float32",
    overwrite: bool = False,
    take_over: bool = False,
) -> Features:
    """Write the features of all images to a store, with the model's last linear layer as head.

    Features are the input of the linear layer whose output the model returns. Images are read in
    order and memory stays bounded. A run that was killed continues: start it again with the
    same arguments, and images whose features are there are read and compared, but not sent
    through the model. The same holds for a finished store, so that another OOD set costs little
    more than its own images.

    Args:
        model: Any network; its modes, device and parameters are left as they were.
        loader: Batches of the training images, or a mapping of batches by split: train, val,
            test, aux, and OOD sets as ood_<name> or <name>. A batch is images, (images, labels)
            or a mapping with them, such as {"pixel_values": ..., "labels": ...}. Labels count
            for train, val and test, where they must be classes of the model.
        store: Folder to write, or an address such as "s3://bucket/folder".
        layer: Name of another module, as in `model.named_modules()`, whose first input becomes
            the features. Where it is a linear layer it is the head; otherwise the store has no
            head and no logits.
        pool: How a layer's input becomes one vector per image where it is a map [N, D, H, W]
            or tokens [N, T, D]: "mean" or "max" over places, "cls" for the first token. An
            input of [N, H, W, D] is a map for linear layers.
        transform: Function applied to the images of a batch before the model, such as scaling and
            normalisation; for loaders that give uint8.
        class_names: C names in label order; if not given, those of the training data set where
            its `classes` are as many, else "0", "1" and so on.
        class_counts: C training counts; needed where there is no split train.
        device: "auto" is the GPU that the model is on, or else a GPU if there is one.
        amp: "bf16" computes in bfloat16, "auto" does so on GPUs that can.
        dtype: Number format of stored features.
        overwrite: Replace a store that was made from something else; splits of the same images
            are kept.
        take_over: Write to an address where a run of another model began that is known to have been
            killed.

    Returns:
        The finished store.

    Raises:
        ConfigError: If there is no such layer, pooling or device.
        DataError: If no layer gives the logits, or images, labels or features break a rule.
        FingerprintError: If a killed run read other images.
        StoreError: If the store is there and was made from something else, or that of another model
            is being written there.
        TransferError: If an address refuses or cannot be reached.
    """
    loaders = by_split(loader)
    if "train" not in loaders and class_counts is None:
        raise DataError("there is no split train to count classes in; give it, or class_counts=.")
    with target_of(store, take_over=take_over) as target:
        old = target.opened()
        first = next(iter(loaders))
        loaders, probe = rewindable(loaders, first)
        images = read_batch(first, 0, probe, transform).images[:_PROBED]
        with borrowed(model, place_of(model, device)) as at_work:
            precision = resolve_precision(amp, at_work.place)
            with at_work.computing(precision):
                tap = Tap(model, at_work.placed(images), layer, pool)
                with tap.reading() as reader:
                    probed = at_work.features(reader, images)
            head = {name: values.numpy() for name, values in tap.head().items()}
            made = {
                "model": identity_of(model),
                "layer": tap.layer,
                "pool": pool,
                "precision": precision,
                "dtype": dtype,
            }
            names = _class_names(class_names, loaders.get("train"), head)
            job = Storing(target, loaders, transform, made, head, names)
            if old is not None:
                job.keep(old, first, probed, overwrite=overwrite)
            with at_work.computing(precision), tap.reading() as reader:
                read = functools.partial(at_work.features, reader)
                job.gather(first, probed, read, images.float().cpu().numpy())
        job.finish(class_counts, overwrite=overwrite)
    return open_features(target.place)


def _class_names(
    given: Sequence[str] | None, train: Loader | None, head: Mapping[str, NDArray[Any]]
) -> list[str] | None:
    """Class names in label order; None if the number of classes is unknown."""
    classes = len(head["bias"]) if head else None
    if given is None:
        given = getattr(getattr(train, "dataset", None), "classes", None)
        if given is None or classes not in (None, len(given)):
            return [str(label) for label in range(classes)] if classes is not None else None
    elif classes not in (None, len(given)):
        raise DataError(
            f"there are {len(given)} class names but the model has {classes} classes; give one "
            "name for each output, in the order of the labels."
        )
    return [str(name) for name in given]
