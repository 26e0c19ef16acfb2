"""Fit everything once, read every test row once, and score it with every method.

Methods behind the same calibrator are fitted on the same inputs, so that class means,
covariances and neighbours are computed once; then each batch is read once and shared in
the same way. Only the scores of the ID rows and of one OOD set are held at a time.
An entry that fails ends the rows it takes part in, which say why; the others continue.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.comparing.finding import Found
from ltood.comparing.fitting import (
    Failures,
    FittedMethod,
    FittedRow,
    View,
    fit_view,
    spec_of,
)
from ltood.comparing.outcomes import Ok, Outcome, leaderboard, timings, with_intervals
from ltood.comparing.plan import Combination, Config, Sections
from ltood.comparing.scores import ScoreKeeper
from ltood.comparing.streaming import apart, play_all
from ltood.comparing.timing import TimedBatch, Timer
from ltood.core.batches import FeatureBatch
from ltood.core.building import check_settings
from ltood.core.errors import StoreError
from ltood.core.outcomes import Failed, attempt
from ltood.evaluation.absence import without_sets
from ltood.evaluation.binding import bind
from ltood.evaluation.config import SetGroups
from ltood.evaluation.delong import AurocSpread
from ltood.ops.calibrated import calibrated
from ltood.ops.held_methods import offer_scores
from ltood.ops.pairs import PairMethod, read_together
from ltood.runtime.console import progress
from ltood.runtime.devices import scoring_on
from ltood.scoring.checks import checked_scores
from ltood.scoring.session import ScoringSession
from ltood.store.layout import CSID_PREFIX, OOD_PREFIX
from ltood.store.reading import StoreReader
from ltood.store.scores import ScoreSplit

#: Scores of one row, [N].
Scores = NDArray[np.float32]


def compare(
    store: StoreReader,
    config: Config,
    settings: Sections,
    *,
    include: Sequence[Combination] = (),
    groups: SetGroups | None = None,
    keeper: ScoreKeeper | None = None,
    device: str = "auto",
) -> tuple[dict[str, Any], Sequence[dict[str, Any]]]:
    """Score the store with every combination.

    Args:
        store: Feature store with the test split and at least one OOD set.
        config: What to combine.
        settings: Settings by package and entry; an absent entry has its defaults.
        include: Combinations that are always there, such as the pipeline's own.
        groups: OOD sets over which further means are taken.
        keeper: Keeps the scores of all rows in files; memory then holds them until the end.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        The leaderboard, in fractions and the same on every run, best mean AUROC first:
        `{"auroc": {TITLE: ...}, "rows": [...], "left_out": [...]}`, bound to the features; and
        for each row that did not fail its seconds. Combinations that do not fit together or
        need what the store lacks are failures where every entry was named, else they are left out.

    Raises:
        ConfigError: On an unknown setting or one out of range.
        StoreError: If the test split or every OOD set is missing.
        DataError: If labels break a rule, such as an OOD set of ID rows only, or a group names a
            set that is not there.
    """
    chosen = list(config.combinations())
    named = frozenset(include) | frozenset(chosen if config.is_explicit else ())
    combinations = list(dict.fromkeys([*chosen, *include]))
    _check_settings(combinations, settings)
    if "test" not in store.splits or not store.ood_splits:
        advice = "" if store.ood_splits else f" {without_sets(store.provenance)}"
        raise StoreError(
            f"{store.path} has the splits {', '.join(store.splits)}; comparing needs test and "
            f"at least one {OOD_PREFIX}<name>.{advice}"
        )
    groups = (groups or SetGroups()).checked(n.removeprefix(OOD_PREFIX) for n in store.ood_splits)
    session = ScoringSession.open(store, device)
    timer = Timer(session.device)
    views: list[View] = []
    failures: Failures = {}
    with scoring_on(session.device):
        for calibrator in dict.fromkeys(row.calibrator for row in combinations):
            rows = [row for row in combinations if row.calibrator == calibrator]
            view, failed = fit_view(session, rows, settings, timer)
            views += [view] if view else []
            failures |= failed
        views, streams = apart(views)
        spread = AurocSpread[Combination]()
        done, failed = _read(session, views, groups, timer, keeper, spread)
        done = with_intervals(done, spread)
        played, fallen = play_all(streams, groups, timer)
    done, failed = done | played, failed | fallen
    outcomes: dict[Combination, Outcome] = {
        row: done.get(row) or (failures | failed)[row] for row in combinations
    }
    board = bind(leaderboard(outcomes, named), features=store.fingerprint)
    if keeper is not None:
        keeper.write(board, store.fingerprint, store.prior().counts.tolist())
    return board, timings(outcomes)


def nothing_compared(store: StoreReader, keeper: ScoreKeeper) -> dict[str, Any]:
    """The leaderboard of features without an OOD set: no row, as nothing ranks methods.

    Args:
        store: The features.
        keeper: Writes that there are no scores.
    """
    note = without_sets(store.provenance)
    board = bind({**leaderboard({}, frozenset()), "note": note}, features=store.fingerprint)
    keeper.write(board, store.fingerprint, store.prior().counts.tolist())
    return board


def _check_settings(combinations: Sequence[Combination], settings: Sections) -> None:
    """Refuse settings that no entry takes, before the work starts."""
    for package, column in (("calibrators", 0), ("methods", 1), ("normalisers", 2)):
        for name in dict.fromkeys(row[column] for row in combinations):
            check_settings(package, spec_of(settings, package, name))


def _read(
    session: ScoringSession,
    views: list[View],
    groups: SetGroups,
    timer: Timer,
    keeper: ScoreKeeper | None,
    spread: AurocSpread[Combination],
) -> tuple[dict[Combination, Ok], Failures]:
    """Read the test rows and the OOD sets once, and evaluate all rows."""
    store = session.store
    prior = store.prior()
    failed: Failures = {}
    known: dict[str, dict[Combination, ScoreSplit]] = {}
    found: dict[Combination, Found] = {}
    shifted = [name for name in store.splits if name.startswith(CSID_PREFIX)]
    for split in ("test", *shifted, *store.ood_splits) if views else ():
        scores, failed_here = _score_split(session, views, split, timer)
        failed |= failed_here
        if keeper is not None:
            keeper.add(split, scores)
        views = [kept for view in views if (kept := view.without(failed)).methods]
        if split == "test" or split in shifted:
            known[split] = scores
            continue
        spread.add(split, known["test"], scores)
        for combination, rows in scores.items():
            known_rows = {name: of[combination] for name, of in known.items()}
            found.setdefault(combination, Found(known_rows, prior)).add(split, rows)
    done: dict[Combination, Ok] = {}
    for view in views:
        for method in view.methods:
            for row in method.rows:
                done[row.combination] = Ok(
                    view.settings(method, row),
                    view.derived(method, row),
                    found[row.combination].sections(groups),
                    view.needs(method, row),
                    view.time,
                    method.fit,
                    method.score,
                    row.time,
                )
    return done, failed


def _score_split(
    session: ScoringSession, views: Sequence[View], split: str, timer: Timer
) -> tuple[dict[Combination, ScoreSplit], Failures]:
    """Scores of one split for all rows that have not failed, and those that failed on it."""
    source = session.source(split)
    labels: list[NDArray[np.int64]] = []
    ids: list[NDArray[np.int64]] = []
    predictions: dict[str, list[NDArray[np.int64]]] = {}
    parts: dict[Combination, list[Scores]] = {}
    failures: Failures = {}
    views = list(views)
    with progress(f"score {split}", len(source)) as advance:
        for raw in source.batches(arrays=_arrays(views)):
            labels.append(raw.labels.cpu().numpy())
            ids.append(raw.ids.cpu().numpy())
            for view in views:
                predicted, scores = _score_batch(view, raw, split, timer)
                predictions.setdefault(view.calibrator, []).append(predicted)
                for row, outcome in scores.items():
                    if isinstance(outcome, Failed):
                        failures[row] = outcome
                    else:
                        parts.setdefault(row, []).append(outcome)
            views = [kept for view in views if (kept := view.without(failures)).methods]
            advance(len(raw))
    columns = np.concatenate(labels), np.concatenate(ids)
    seen = {view.calibrator: np.concatenate(predictions[view.calibrator]) for view in views}
    done = {
        row: ScoreSplit(np.concatenate(scores), seen[row.calibrator], *columns)
        for row, scores in parts.items()
        if row not in failures
    }
    return done, failures


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
    view: View, raw: FeatureBatch, split: str, timer: Timer
) -> tuple[NDArray[np.int64], dict[Combination, Scores | Failed]]:
    """Predictions of one batch, and what all methods behind one calibrator make of it."""
    prepared = attempt((), _prepare, view, raw, timer)
    if isinstance(prepared, Failed):
        return np.empty(0, dtype=np.int64), dict.fromkeys(view.combinations, prepared)
    batch, predictions = prepared
    readers = [method for method in view.methods if isinstance(method.slot.entry, PairMethod)]
    if len(readers) > 1:
        with timer.add_to(readers[0].score):
            # Where one of them fails, each reads alone below, and the one at fault fails alone.
            attempt((), read_together, [method.slot.entry for method in readers], batch)
    scores: dict[Combination, Scores | Failed] = {}
    for method in view.methods:
        scores |= _score_method(method, batch, split, timer)
    return predictions, scores


def _prepare(view: View, raw: FeatureBatch, timer: Timer) -> tuple[TimedBatch, NDArray[np.int64]]:
    """Rows as the calibrator shows them, and the classes that are predicted for them."""
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
