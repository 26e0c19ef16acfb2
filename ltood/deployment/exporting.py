"""From a feature store to a deployed detector: fit all slots, then set the threshold.

The threshold is the smallest score seen on ID rows at which at least the wanted share of
them is accepted (`score <= threshold` is ID). It is read off held-out ID rows, never off
OOD rows: those of split val, or of another split that is named on purpose.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ltood.core.beside import stores_of
from ltood.core.building import (
    NONE,
    EntrySpec,
    Slot,
    build_calibrator,
    build_method,
    build_normaliser,
)
from ltood.core.entry import Entry
from ltood.core.errors import ConfigError, DataError, MissingNeedError, StoreError
from ltood.core.extras import extra_arrays
from ltood.core.inputs import Need
from ltood.core.slots import Calibrator, Method, Normaliser
from ltood.core.streams import refuse_streams
from ltood.deployment.calibration import CalibrationRows
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.examples import PathsOf
from ltood.deployment.training_images import with_training_images
from ltood.ops.statistics import class_statistics
from ltood.runtime.console import progress
from ltood.runtime.devices import scoring_on
from ltood.runtime.provenance import library_versions
from ltood.scoring.kept import restore_method
from ltood.scoring.session import (
    ScoringSession,
    calibrate,
    fit_method,
    fit_normaliser,
    reads_logits,
    restore_calibrator,
)
from ltood.store.fitted import FittedEntry
from ltood.store.layout import ID_SPLITS, VAL_SPLIT
from ltood.store.reading import StoreReader, head_remedy

DEFAULT_TPR = 0.95
#: Recalls are counted in millionths, so that 0.95 of 20 rows is 19 and never 20.
_MILLION = 10**6


class NoRowsLeftError(DataError):
    """A method has learned from all rows that were to set the threshold."""


def fit_detector(
    store: StoreReader,
    method: EntrySpec,
    calibrator: EntrySpec = NONE,
    normaliser: EntrySpec = NONE,
    *,
    tpr: float = DEFAULT_TPR,
    threshold_split: str | None = None,
    examples: int = 0,
    paths: PathsOf | None = None,
    device: str = "auto",
) -> DeployedDetector:
    """Fit all slots on a store and set the threshold.

    Args:
        store: Feature store with a training split.
        method: Method and settings.
        calibrator: Calibrator and settings.
        normaliser: Normaliser and settings.
        tpr: Share of the ID rows of the threshold split to accept, above 0 up to 1.
        threshold_split: ID split for the threshold; val if not given.
        examples: Training images to keep, which verdicts name as the most similar.
        paths: Image files of ids of the split train, if that is known.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        ConfigError: If a name, a setting or `tpr` is wrong.
        StoreError: If the store lacks the training or the threshold split.
        MissingNeedError: If an entry needs what the store does not hold.
        DataError: If the data break a rule of an entry.
    """
    _check_tpr(tpr)
    split = choose_threshold_split(store, threshold_split)
    # All settings are checked before the work starts.
    base = build_method(method)
    slots = base, build_calibrator(calibrator), build_normaliser(normaliser, base)
    plain = ScoringSession.open(store, device)
    with scoring_on(plain.device):
        found = with_threshold_of(fit_slots(plain, *slots), plain, split, tpr)
        return with_training_images(found, plain, examples, paths)


def check_deployable(store: StoreReader, method: Slot[Method]) -> None:
    """Refuse features and methods of which no detector can be made.

    Raises:
        StoreError: If there is no training split.
        ConfigError: If the method reads more than features of one network.
    """
    if "train" not in store.splits:
        raise StoreError(
            f"{store.path} has no split train; a detector learns from training features and names "
            "the nearest training classes. Import or extract that split too."
        )
    if others := stores_of(method.entry.arrays):
        raise ConfigError(
            f"method {method.name} has members that see {others[0]}; a detector is applied to "
            "features of one network, so leave these members out, or deploy one detector of each "
            "store."
        )
    refuse_streams(method.entry, "cannot be deployed as a detector")
    if extras := extra_arrays(method.entry.arrays):
        raise ConfigError(
            f"method {method.name} reads the extra array {extras[0]}, which extraction computes "
            "from images, and a detector is applied to features alone; choose another method."
        )


def fit_slots(
    plain: ScoringSession,
    method: Slot[Method],
    calibrator: Slot[Calibrator],
    normaliser: Slot[Normaliser],
    *,
    calibration: FittedEntry | None = None,
    kept: FittedEntry | None = None,
) -> DeployedDetector:
    """Fit all slots on features; the detector has no threshold yet.

    Args:
        plain: The features without a calibrator.
        method: Method, not fitted.
        calibrator: Calibrator, not fitted.
        normaliser: Normaliser, not fitted, built for the scores of the method.
        calibration: The calibrator as it was fitted on these features before, if it was.
        kept: The method as it was fitted before, if it was; counts where all else is the same.

    Raises:
        StoreError: If there is no training split.
        MissingNeedError: If an entry needs what is not there.
        DataError: If the data break a rule of an entry.
    """
    store = plain.store
    check_deployable(store, method)
    if calibration is None:
        session, calibration = calibrate(plain, calibrator)
    else:
        session = restore_calibrator(plain, calibration)
    _refuse_stored_logits(session, f"method {method.name}", method.entry)
    made = method.record
    if kept is not None and restore_method(session, method, kept, calibration):
        made = kept.record
    else:
        fit_method(session, method)
    if not normaliser.is_none:
        _refuse_stored_logits(session, f"normaliser {normaliser.name}", normaliser.entry)
        fit_normaliser(session, normaliser)
    classes = class_statistics(session.inputs())
    description = {
        "method": made(),
        "calibrator": calibration.record(),
        "normaliser": normaliser.record(),
        "has_head": session.own_head is not None,
        "class_names": store.class_names,
        "class_counts": store.prior().counts.tolist(),
        "num_features": session.head.dim,
        "features_fingerprint": store.fingerprint,
        "preprocessing": store.provenance.get("preprocessing"),
        "provenance": store.provenance,
        "versions": library_versions(),
    }
    return DeployedDetector(
        method.entry,
        session.calibrator,
        None if normaliser.is_none else normaliser.entry,
        session.head,
        classes.means.float(),
        classes.counts,
        math.inf,
        description,
    )


def _refuse_stored_logits(session: ScoringSession, what: str, entry: Entry) -> None:
    """Refuse an entry that would learn from logits which no head makes for new rows."""
    if session.own_head is None and session.has_logits and reads_logits(entry):
        remedy = session.store.remedies.get(Need.HEAD) or head_remedy(session.store)
        raise MissingNeedError(
            f"a detector with {what} needs the classifier head, which makes logits of new rows; "
            f"{remedy}."
        )


def threshold_at(scores: ArrayLike, tpr: float) -> float:
    """Smallest score at which at least the share `tpr` of ID rows is accepted.

    Args:
        scores: Scores of ID rows, [N]; higher means more OOD.
        tpr: Share to accept (`score <= threshold`), above 0 up to 1; six decimals count.

    Raises:
        ConfigError: If `tpr` is out of range.
        DataError: If there are no scores or one is not finite.

    Example:
        >>> threshold_at([0.1, 0.4, 0.2, 0.3], 0.75)
        0.3
    """
    _check_tpr(tpr)
    values = np.sort(np.asarray(scores).ravel())
    if len(values) == 0 or not np.isfinite(values).all():
        raise DataError(
            f"a threshold needs finite scores of ID rows; got {len(values)} scores, "
            f"{int((~np.isfinite(values)).sum())} of them not finite."
        )
    accepted = -(-round(tpr * _MILLION) * len(values) // _MILLION)
    return float(values[accepted - 1])


def choose_threshold_split(
    store: StoreReader, named: str | None, option: str = "--threshold-split"
) -> str:
    """The ID split that sets the threshold: the one named, else val.

    Args:
        store: The features.
        named: Name of a split, if the user gave one.
        option: Where the user names it, for messages.

    Raises:
        StoreError: If there is no val and none is named, or the named one is not an ID split of
            the store.
    """
    present = [split for split in store.splits if split in ID_SPLITS]
    if named is None:
        if "val" in present:
            return "val"
        raise StoreError(
            f"{store.path} has no split val to set the threshold on. Give such a split, or name "
            f"another one with {option}: test (metrics on that split are then optimistic), or "
            "train, whose rows the method has seen, so that fewer new ID rows than wanted will be "
            f"accepted (the store has {', '.join(store.splits)})."
        )
    if named not in present:
        raise StoreError(
            f"{named!r} cannot set the threshold of {store.path}: it takes rows of the ID classes, "
            f"and the store's ID splits are {', '.join(present) or 'none'}."
        )
    return named


def _check_tpr(tpr: float) -> None:
    if not 1 / _MILLION <= tpr <= 1:
        raise ConfigError(
            f"tpr is {tpr}; it is the share of ID rows to accept, a fraction above 0 up to 1, "
            "such as 0.95."
        )


def with_threshold_of(
    fitted: DeployedDetector, plain: ScoringSession, split: str, tpr: float
) -> DeployedDetector:
    """The same detector with its threshold, found by scoring `split` as new rows are scored.

    Rows that `fit` has learned from set no threshold: they score lower than new ones.

    Args:
        fitted: Detector, with or without a threshold.
        plain: The features it was fitted on.
        split: ID split that sets the threshold.
        tpr: Share of its rows to accept, above 0 up to 1.

    Raises:
        ConfigError: If `tpr` is out of range.
        NoRowsLeftError: If it has learned from all.
    """
    source = plain.source(split)
    arrays = ["features", "ids", "labels", *(["local"] if fitted.needs_local else [])]
    parts = []
    with progress(f"score {split}", len(source)) as advance:
        for batch in source.batches(arrays=arrays):
            new: Tensor | slice = slice(None)
            if split == VAL_SPLIT:
                new = ~fitted.learned_rows(batch.ids, batch.labels)
            local = batch.arrays.get("local")
            rows = batch.features[new], batch.labels[new]
            held = None if local is None else local[new]
            parts.append(fitted.calibration_rows(*rows, local=held))
            advance(len(batch))
    found = CalibrationRows.of(parts)
    if not len(found):
        raise NoRowsLeftError(
            f"method {fitted.description['method']['name']} has learned from all {len(source)} "
            f"rows of {split}, so that none is left for the threshold; lower its share of these "
            "rows, or name another split for the threshold."
        )
    return with_threshold(fitted, found, tpr, split)


def with_threshold(
    fitted: DeployedDetector, rows: CalibrationRows, tpr: float, split: str
) -> DeployedDetector:
    """The same detector with the threshold that `threshold_at` finds, and calibration rows.

    The rows are kept as long as no slot has learned from them.

    Args:
        fitted: Detector, with or without a threshold.
        rows: What it says about held-out ID rows.
        tpr: Share of them to accept, above 0 up to 1.
        split: Where the rows come from, as the description records it.

    Raises:
        ConfigError: If `tpr` is out of range.
        DataError: If there are no scores or one is not finite.
    """
    values = rows.scores.cpu().numpy()
    threshold = threshold_at(values, tpr)
    chosen = {
        "value": threshold,
        "rule": "a row is ID where score <= value, else OOD",
        "split": split,
        "rows": len(values),
        "tpr": tpr,
        "accepted": float((values <= threshold).mean()),
    }
    learned = {"train", fitted.calibrator.train_split if fitted.calibrator else "train"}
    kept = None
    if split not in learned:
        kept = {"split": split, "rows": len(rows), "labelled": len(rows) - rows.num_unlabelled}
    return dataclasses.replace(
        fitted,
        threshold=threshold,
        description={**fitted.description, "threshold": chosen, "calibration": kept},
        calibration=rows if kept else None,
        rule=None,
    )
