"""From a feature store to a score store: calibrate, fit, score, normalise.

Rows stream through in batches, on the CPU or a GPU; nothing here grows with the
number of rows.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.batches import FeatureBatch
from ltood.core.building import (
    NONE,
    EntrySpec,
    Slot,
    build_calibrator,
    build_method,
    build_normaliser,
)
from ltood.core.errors import DataError, StoreError
from ltood.core.slots import Method, Normaliser
from ltood.core.streams import StreamMethod
from ltood.runtime.console import progress
from ltood.runtime.devices import scoring_on
from ltood.runtime.files import temporary_folder
from ltood.scoring.checks import checked_scores
from ltood.scoring.session import ScoringSession, calibrate, fit_method, fit_normaliser
from ltood.scoring.sources import to_tensor
from ltood.scoring.streams import play
from ltood.store.features import FeatureStore
from ltood.store.fitted import FittedEntry
from ltood.store.scores import ScoreSplit, ScoreStore, ScoreWriter

_CARRIED = (
    "method",
    "calibrator",
    "class_counts",
    "class_names",
    "features_fingerprint",
    "provenance",
)


def score_store(
    store: FeatureStore,
    out: Path,
    method: EntrySpec,
    calibrator: EntrySpec = NONE,
    normaliser: EntrySpec = NONE,
    *,
    splits: Sequence[str] | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> ScoreStore:
    """Run all three slots on a feature store; what `ltood score` does.

    Args:
        store: Feature store.
        out: Score store to write.
        method: Method and settings.
        calibrator: Calibrator and settings.
        normaliser: Normaliser and settings.
        splits: Splits to score; by default all of the store whose rows hold what the method reads:
            extra arrays may be there for rows that are tested alone.
        device: "auto", "cpu", "cuda" or "cuda:1".
        overwrite: Replace an existing score store.

    Returns:
        The final score store.

    Raises:
        StoreError: If `out` exists and `overwrite` is off.
    """
    if out.exists() and not overwrite:
        raise StoreError(f"{out} exists already; pass --overwrite or another path.")
    # All settings are checked before the work starts.
    base, view = build_method(method), build_calibrator(calibrator)
    correction = build_normaliser(normaliser, base)
    session, calibration = calibrate(ScoringSession.open(store, device), view)
    if correction.is_none:
        return write_scores(session, calibration, base, out, splits=splits, overwrite=overwrite)
    with temporary_folder(out) as folder:
        raw = write_scores(session, calibration, base, folder / "raw.zarr", splits=splits)
        return normalise_scores(session, raw, correction, out, overwrite=overwrite)


def write_scores(
    session: ScoringSession,
    calibration: FittedEntry,
    method: Slot[Method],
    out: Path,
    *,
    splits: Sequence[str] | None = None,
    overwrite: bool = False,
) -> ScoreStore:
    """Fit a method and score every row of `splits`.

    Args:
        session: The store, seen through the calibrator of `calibration`.
        calibration: The fitted calibrator, recorded with the scores.
        method: The method, not fitted.
        out: Score store to write.
        splits: Splits to score; all of the store by default.
        overwrite: Replace an existing score store.

    Returns:
        The score store.

    Raises:
        LtoodError: If the method gives a score that is not finite.
    """
    names = list(splits) if splits is not None else _scored_splits(session, method.entry)
    rows = {name: len(session.split(name)) for name in names}
    detector = fit_method(session, method)
    attributes: dict[str, Any] = {
        "method": method.record(),
        "calibrator": calibration.record(),
        "normaliser": {"name": NONE.name, "settings": {}, "in_use": {}},
        "class_counts": session.store.prior().counts.tolist(),
        "class_names": session.store.class_names,
        "features_fingerprint": session.store.fingerprint,
        "provenance": session.store.provenance,
    }
    if isinstance(detector, StreamMethod):
        played = play(session, detector, method.name, names)
        columns = {name: split.columns for name, split in played.splits.items()}
        attributes["stream"] = played.record
        with ScoreWriter(out, rows, attributes, columns=columns, overwrite=overwrite) as writer:
            for name in names:
                writer.append(name, played.splits[name])
        return ScoreStore.open(out)
    with ScoreWriter(out, rows, attributes, overwrite=overwrite) as writer:
        for name in names:
            with progress(f"score {name}", rows[name]) as advance:
                for part in score_batches(detector, method.name, session, name):
                    writer.append(name, part)
                    advance(len(part))
    return ScoreStore.open(out)


def _scored_splits(session: ScoringSession, method: Method) -> list[str]:
    """Splits that are scored where none are named."""
    store = session.store
    if isinstance(method, StreamMethod):
        return [name for name in store.splits if name == "test" or name in store.ood_splits]
    return session.splits_with(method.arrays)


def score_batches(
    detector: Method, method: str, session: ScoringSession, split: str
) -> Iterator[ScoreSplit]:
    """Score a split batch by batch.

    Args:
        detector: A fitted method.
        method: Its name, for messages.
        session: The store, seen through the calibrator that the method was fitted behind.
        split: Split to score.

    Yields:
        Scores and predictions of consecutive rows.

    Raises:
        LtoodError: If a score is not finite.
    """
    arrays = sorted({*detector.arrays, session.predicts_from, "labels", "ids"})
    for batch in session.source(split).batches(arrays=arrays):
        with scoring_on(session.device), torch.inference_mode():
            scores = detector._score(batch)
        predictions = session.predict(batch).cpu().numpy()
        yield pack_scores(scores, predictions, batch, f"method {method}", split)


def pack_scores(
    scores: Tensor, predictions: NDArray[np.int64], batch: FeatureBatch, entry: str, split: str
) -> ScoreSplit:
    """Scores of one batch as NumPy rows with their predictions; see `checked_scores`."""
    return ScoreSplit(
        checked_scores(scores, batch, entry, split),
        predictions,
        batch.labels.cpu().numpy(),
        batch.ids.cpu().numpy(),
    )


def base_of(raw: ScoreStore) -> Slot[Method]:
    """The method that made the scores, as `build_normaliser` takes it."""
    method = raw.attributes["method"]
    return build_method(EntrySpec(method["name"], method["settings"]))


def normalise_scores(
    session: ScoringSession,
    raw: ScoreStore,
    slot: Slot[Normaliser],
    out: Path,
    *,
    overwrite: bool = False,
) -> ScoreStore:
    """Apply a normaliser to a score store.

    Args:
        session: The feature store, seen through the calibrator the scores were made with.
        raw: Scores to normalise.
        slot: The normaliser, not fitted, built for the method of `raw`; see `base_of`.
        out: Score store to write.
        overwrite: Replace an existing score store.

    Returns:
        The normalised score store.

    Raises:
        StoreError: If the scores were made from other features.
    """
    if raw.attributes["features_fingerprint"] != session.store.fingerprint:
        raise StoreError(
            f"{raw.path} was made from features {raw.attributes['features_fingerprint'][:12]} but "
            f"{session.store.path} has {session.store.fingerprint[:12]}; run the score stage again."
        )
    normaliser = fit_normaliser(session, slot)
    arrays = sorted({*normaliser.arrays, "labels", "ids"})
    attributes = {
        **{key: raw.attributes[key] for key in _CARRIED},
        "normaliser": slot.record(),
    }
    rows = {name: len(session.split(name)) for name in raw.splits}
    with ScoreWriter(out, rows, attributes, overwrite=overwrite) as writer:
        for name in raw.splits:
            split, done = raw.split(name), 0
            if len(split) != rows[name]:
                raise DataError(
                    f"split {name} has {len(split)} scores and {rows[name]} feature rows; "
                    "run the score stage again."
                )
            with progress(f"normalise {name}", rows[name]) as advance:
                for batch in session.source(name).batches(arrays=arrays):
                    stop = done + len(batch)
                    scores = to_tensor(split.scores[done:stop], session.device)
                    with scoring_on(session.device), torch.inference_mode():
                        scores = normaliser._normalise(scores, batch)
                    predictions = np.asarray(split.predictions[done:stop])
                    entry = f"normaliser {slot.name}"
                    writer.append(name, pack_scores(scores, predictions, batch, entry, name))
                    done = stop
                    advance(len(batch))
    return ScoreStore.open(out)
