"""Scores of all rows of a comparison on one split, which is read once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.comparing.fitting import Failures, FittedMethod, FittedRow, View
from ltood.comparing.plan import Combination
from ltood.comparing.timing import TimedBatch, Timer, Timing
from ltood.core.batches import FeatureBatch
from ltood.core.crew import Crew
from ltood.core.outcomes import Failed, attempt
from ltood.ops.calibrated import calibrated
from ltood.ops.held_methods import offer_scores
from ltood.ops.pairs import Consumer, PairMethod, read_together
from ltood.ops.shared_banks import read_shared, shared_consumers
from ltood.runtime.console import progress
from ltood.scoring.checks import checked_scores
from ltood.scoring.session import ScoringSession
from ltood.store.scores import ScoreSplit

#: Scores of one row, [N].
Scores = NDArray[np.float32]
#: Rows as a calibrator shows them, and the classes that are predicted for them.
_Rows = tuple[TimedBatch, NDArray[np.int64]]


@dataclass
class _Scored:
    """Columns of some rows of a split, batch by batch.

    Attributes:
        labels: Classes; -1 for OOD rows.
        ids: Row numbers in the dataset.
        predictions: Predicted classes behind each calibrator.
        scores: Scores of each row of the board.
        failures: Rows of the board that failed.
    """

    labels: list[NDArray[np.int64]] = field(default_factory=list)
    ids: list[NDArray[np.int64]] = field(default_factory=list)
    predictions: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    scores: dict[Combination, list[Scores]] = field(default_factory=dict)
    failures: Failures = field(default_factory=dict)

    def add(self, view: View, rows: _Rows | Failed, split: str, timer: Timer) -> None:
        """Score a batch with what looks through one calibrator."""
        predicted, scores = _score_batch(view, rows, split, timer)
        self.predictions.setdefault(view.calibrator, []).append(predicted)
        for row, outcome in scores.items():
            if isinstance(outcome, Failed):
                self.failures[row] = outcome
            else:
                self.scores.setdefault(row, []).append(outcome)

    def join(self, others: "_Scored") -> None:
        """Take the columns of rows that come behind."""
        self.labels += others.labels
        self.ids += others.ids
        for calibrator, predictions in others.predictions.items():
            self.predictions.setdefault(calibrator, []).extend(predictions)
        for row, scores in others.scores.items():
            self.scores.setdefault(row, []).extend(scores)

    def splits(self) -> dict[Combination, ScoreSplit]:
        """The columns of the rows of the board that have not failed."""
        columns = np.concatenate(self.labels), np.concatenate(self.ids)
        rows = [row for row in self.scores if row not in self.failures]
        seen = {
            name: np.concatenate(self.predictions[name])
            for name in {row.calibrator for row in rows}
        }
        return {
            row: ScoreSplit(np.concatenate(self.scores[row]), seen[row.calibrator], *columns)
            for row in rows
        }


def score_split(
    session: ScoringSession, views: Sequence[View], split: str, timer: Timer
) -> tuple[dict[Combination, ScoreSplit], Failures]:
    """Scores of one split for all rows that have not failed, and those that failed on it.

    Several processes score batches of their own, and the first one returns the scores of all.
    """
    source, crew = session.source(split), session.crew
    own = _Scored()
    # Fixed for the split: whoever fails here still reads in step with the others.
    shared = [shared_consumers(m.slot.entry for m in view.methods) for view in views]
    kept = list(views)
    batches: Iterator[FeatureBatch | None] = crew.batches(source, _arrays(views))
    if any(shared):
        batches = crew.in_step(batches)
    with progress(f"score {split}", len(source)) as advance:
        for raw in batches:
            for view, consumers in zip(kept, shared, strict=True):
                found = attempt((), _prepare, view, raw, timer)
                batch = None if found is None or isinstance(found, Failed) else found[0]
                _read(view, batch, consumers, timer)
                if found is not None:
                    own.add(view, found, split, timer)
            if raw is not None:
                own.labels.append(raw.labels.cpu().numpy())
                own.ids.append(raw.ids.cpu().numpy())
                advance(len(raw))
            kept = [view.without(own.failures) for view in kept]
    return _together(crew, own)


@torch.inference_mode()
def _read(
    view: View, batch: TimedBatch | None, shared: Sequence[Consumer[Any]], timer: Timer
) -> None:
    """Take the products of a batch with each bank once for all methods behind one calibrator.

    Args:
        view: What has not failed yet.
        batch: Rows; None to help other processes alone.
        shared: What reads in step with these.
        timer: Where seconds are counted.
    """
    readers = [method for method in view.methods if isinstance(method.slot.entry, PairMethod)]
    with timer.add_to(readers[0].score if readers else Timing()):
        # Where one of them fails, each reads alone later, and the one at fault fails alone.
        if shared:
            attempt((), read_shared, shared, batch)
        if batch is not None and len(readers) > 1:
            attempt((), read_together, [method.slot.entry for method in readers], batch)


def _together(crew: Crew, own: _Scored) -> tuple[dict[Combination, ScoreSplit], Failures]:
    """What all processes have made of a split, on the first one; failures on all."""
    # Of a row that failed in several parts, what is said of the first of them counts.
    for failures in reversed(crew.told(own.failures)):
        own.failures |= failures
    for row in own.failures:
        own.scores.pop(row, None)
    whole = _Scored(failures=own.failures)
    for part in crew.collected([own]):
        whole.join(part)
    return whole.splits() if crew.is_first else {}, own.failures


def _arrays(views: Sequence[View]) -> list[str]:
    """Arrays read by the methods, normalisers and calibrators that have not failed."""
    arrays = {"labels", "ids"}
    for view in views:
        session = view.session
        # Behind a calibrator, the head makes logits of the features.
        arrays.add("features" if session.calibrator is not None else session.predicts_from)
        for method in view.methods:
            arrays |= set(method.slot.entry.arrays)
            for row in method.rows:
                arrays |= set(row.slot.entry.arrays)
    return sorted(arrays)


@torch.inference_mode()
def _score_batch(
    view: View, rows: _Rows | Failed, split: str, timer: Timer
) -> tuple[NDArray[np.int64], dict[Combination, Scores | Failed]]:
    """Predictions of one batch, and what all methods behind one calibrator make of it."""
    if isinstance(rows, Failed):
        return np.empty(0, dtype=np.int64), dict.fromkeys(view.combinations, rows)
    batch, predictions = rows
    scores: dict[Combination, Scores | Failed] = {}
    for method in view.methods:
        scores |= _score_method(method, batch, split, timer)
    return predictions, scores


@torch.inference_mode()
def _prepare(view: View, raw: FeatureBatch | None, timer: Timer) -> _Rows | None:
    """Rows as the calibrator shows them, and the classes that are predicted for them, if any."""
    if raw is None or not view.methods:
        return None
    session = view.session
    batch = TimedBatch.of_batch(calibrated(raw, session.calibrator, session.own_head), timer)
    return batch, session.predict(batch).cpu().numpy()


def _score_method(
    method: FittedMethod, batch: TimedBatch, split: str, timer: Timer
) -> dict[Combination, Scores | Failed]:
    """Scores of one batch for all rows of a method."""

    def score() -> tuple[torch.Tensor, Scores]:
        scores = method.slot.entry._score(batch)
        offer_scores(method.slot.entry, batch, scores)
        return scores, checked_scores(scores, batch, f"method {method.slot.name}", split)

    with timer.add_to(method.score):
        found = attempt((), score)
    if isinstance(found, Failed):
        return dict.fromkeys([row.combination for row in method.rows], found)
    scores, checked = found
    return {
        row.combination: checked
        if row.slot.is_none
        else _normalise(row, scores.float(), batch, split, timer)
        for row in method.rows
    }


def _normalise(
    row: FittedRow, scores: torch.Tensor, batch: TimedBatch, split: str, timer: Timer
) -> Scores | Failed:
    def normalise() -> Scores:
        normalised = row.slot.entry._normalise(scores, batch)
        return checked_scores(normalised, batch, f"normaliser {row.slot.name}", split)

    with timer.add_to(row.time):
        return attempt((), normalise)
