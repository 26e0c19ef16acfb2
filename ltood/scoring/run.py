"""From a feature store to a score store: calibrate, fit, score, normalise.

Rows stream through in batches, on the CPU or a GPU; nothing here grows with the
number of rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
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
from ltood.core.crew import numbered_batches
from ltood.core.errors import DataError, StoreError
from ltood.core.slots import Method, Normaliser
from ltood.core.streams import StreamMethod
from ltood.ops.shared_banks import read_shared, shared_consumers
from ltood.runtime.console import Advance, progress
from ltood.runtime.devices import scoring_on
from ltood.runtime.distributed import Ranks
from ltood.runtime.files import temporary_folder
from ltood.scoring.checks import checked_scores
from ltood.scoring.session import (
    ScoringSession,
    calibrate,
    fit_method,
    fit_normaliser,
    shares_banks,
)
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
    ranks: Ranks | None = None,
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
        ranks: This process among those that share the rows; alone if not given. The first one
            writes, where all can read.

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
    shares = shares_banks([method.name])
    opened = ScoringSession.open(store, device, ranks, shares_banks=shares)
    crew = opened.crew
    session, calibration = calibrate(opened, view)
    if correction.is_none:
        return write_scores(session, calibration, base, out, splits=splits, overwrite=overwrite)
    with temporary_folder(out) if crew.is_first else nullcontext(out) as own:
        folder = crew.told(own)[0]
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
    session.meet()
    if not isinstance(detector, StreamMethod):
        parts = partial(score_batches, detector, method.name, session)
        return _write(session, out, rows, attributes, parts, overwrite=overwrite)
    # Rows of a stream follow one another, so one process plays them.
    first = session.crew.is_first
    played = session.crew.agreed(
        lambda: play(session, detector, method.name, names) if first else None
    )
    found = {} if played is None else played.splits
    columns = {name: split.columns for name, split in found.items()}
    attributes["stream"] = None if played is None else played.record

    def whole(name: str) -> Iterator[ScoreSplit]:
        yield from [found[name]] if name in found else []

    return _write(session, out, rows, attributes, whole, columns, overwrite=overwrite)


def _write(
    session: ScoringSession,
    out: Path,
    rows: Mapping[str, int],
    attributes: Mapping[str, Any],
    parts: Callable[[str], Iterator[ScoreSplit]],
    columns: Mapping[str, int] | None = None,
    *,
    verb: str = "score",
    overwrite: bool,
) -> ScoreStore:
    """Write a score store from what this process makes of its rows, and others of theirs.

    Args:
        session: The feature store.
        out: Score store to write.
        rows: Rows of each split.
        attributes: What the store says of itself.
        parts: Gives the scores of consecutive rows of a split, those of this process.
        columns: As `ScoreWriter` takes it.
        verb: What the progress bar calls it.
        overwrite: Replace an existing score store.
    """
    crew = session.crew

    def counted(name: str, advance: Advance) -> Iterator[ScoreSplit]:
        for part in parts(name):
            advance(len(part))
            yield part

    with ExitStack() as stack:
        writer: ScoreWriter | None = None
        if crew.is_first:
            new = ScoreWriter(out, rows, attributes, columns=columns, overwrite=overwrite)
            writer = stack.enter_context(new)
        for name, count in rows.items():
            with progress(f"{verb} {name}", count) as advance:
                for part in crew.collected(counted(name, advance)):
                    assert writer is not None  # The first process alone gets any.
                    writer.append(name, part)
    crew.told(None)  # Now it is there for all.
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
        Scores and predictions of consecutive rows, those of this process.

    Raises:
        LtoodError: If a score is not finite.
    """
    arrays = sorted({*detector.arrays, session.predicts_from, "labels", "ids"})
    batches: Iterator[FeatureBatch | None] = session.crew.batches(session.source(split), arrays)
    shared = shared_consumers([detector])
    if shared:
        batches = session.crew.in_step(batches)
    for batch in batches:
        with scoring_on(session.device), torch.inference_mode():
            if shared:
                read_shared(shared, batch)
            if batch is None:
                continue
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

    def normalised(name: str) -> Iterator[ScoreSplit]:
        split = raw.split(name)
        if len(split) != rows[name]:
            raise DataError(
                f"split {name} has {len(split)} scores and {rows[name]} feature rows; "
                "run the score stage again."
            )
        for start, batch in numbered_batches(session.source(name), session.crew.part, arrays):
            own = slice(start, start + len(batch))
            scores = to_tensor(split.scores[own], session.device)
            with scoring_on(session.device), torch.inference_mode():
                scores = normaliser._normalise(scores, batch)
            predictions = np.asarray(split.predictions[own])
            yield pack_scores(scores, predictions, batch, f"normaliser {slot.name}", name)

    return _write(session, out, rows, attributes, normalised, verb="normalise", overwrite=overwrite)
