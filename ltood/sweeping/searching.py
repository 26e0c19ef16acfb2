"""Score a validation set with every candidate and choose the best.

All candidates are fitted on one `FitInputs` and score the same batches, so statistics,
neighbours and products that they share are computed once. Candidates are taken in
portions that fit into memory; within a portion each row is read once.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.core.batches import FeatureBatch, FeatureSource
from ltood.core.building import NONE, EntrySpec, build_calibrator, build_method
from ltood.core.errors import ConfigError, UnknownNameError
from ltood.core.extras import extra_arrays, missing_extra
from ltood.core.inputs import FitInputs, Need
from ltood.core.outcomes import Failed, attempt
from ltood.core.slots import Method, check_needs
from ltood.core.streams import refuse_streams
from ltood.metrics import METRICS, ood_rows, rank
from ltood.runtime.console import Advance, progress
from ltood.runtime.devices import scoring_on
from ltood.scoring.session import ScoringSession, calibrate
from ltood.store.features import FeatureStore
from ltood.store.layout import AUX_SPLIT, VAL_SPLIT
from ltood.sweeping.candidates import Settings
from ltood.sweeping.validation import Validation, open_validation

#: Most bytes of the scores, and of what was learned, of one portion of candidates.
SCORE_BYTES = 512 * 2**20
STATE_BYTES = 1024 * 2**20

#: Metrics in every table, in addition to the one to choose by.
SHOWN = ("auroc", "fpr95_ood_pos", "fpr95_id_pos", "ap_out")

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """One setting and what it reached.

    Attributes:
        swept: The settings that the sweep varies.
        section: All settings of the method.
        metrics: Metrics by key, fractions; empty where there is a problem.
        problem: Why there are no metrics, or None.
    """

    swept: Settings
    section: Settings
    metrics: Mapping[str, float]
    problem: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        method: Method name.
        calibrator: Calibrator name and settings.
        metric: Key of the metric to choose by.
        candidates: All candidates, in the order they were given.
        best: Position of the best candidate; of equal ones the first.
        validation: Name of each side's rows, by side (id, ood).
        features_fingerprint: Fingerprint of the feature store.
        warnings: What a reader should know before using the result.
    """

    method: str
    calibrator: EntrySpec
    metric: str
    candidates: Sequence[Candidate]
    best: int
    validation: Mapping[str, str]
    features_fingerprint: str
    warnings: Sequence[str]

    @property
    def winner(self) -> Candidate:
        """The best candidate."""
        return self.candidates[self.best]


def sweep(
    store: FeatureStore,
    method: str,
    candidates: Sequence[Settings],
    *,
    fixed: Mapping[str, Any] | None = None,
    calibrator: EntrySpec = NONE,
    metric: str = "auroc",
    validation_ood: str = AUX_SPLIT,
    official_sweep_on_test: bool = False,
    device: str = "auto",
) -> Sweep:
    """Try all candidates on validation rows; what `ltood sweep` does.

    Args:
        store: Feature store with a split val.
        method: Method name.
        candidates: Settings to try; all sweep the same keys.
        fixed: Settings that all candidates share; defaults for the others.
        calibrator: Calibrator and settings.
        metric: Key of `metrics.METRICS` to choose by.
        validation_ood: "aux" or the path of an archive, see `open_validation`.
        official_sweep_on_test: See `open_validation`.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        Every candidate with its metrics, and which is best.

    Raises:
        ConfigError: If a setting is wrong, a key is both fixed and swept, or no candidate
            can be scored.
        MissingNeedError: If the store lacks what the method needs.
    """
    if metric not in METRICS:
        raise UnknownNameError(f"No metric {metric!r}. Known: {', '.join(METRICS)}.")
    fixed = fixed or {}
    if both := sorted({key for item in candidates for key in item} & fixed.keys()):
        raise ConfigError(f"{both[0]} is both fixed and swept; give it once.")
    # A wrong setting is refused here, before anything is read.
    slots = [build_method(EntrySpec(method, {**fixed, **swept})) for swept in candidates]
    for slot in slots[:1]:
        refuse_streams(slot.entry, "cannot be swept on validation rows")
    view = build_calibrator(calibrator)
    sections, needs = [slot.settings for slot in slots], [slot.entry.needs for slot in slots]
    may_read = [slot.entry.may_read for slot in slots]
    session, _ = calibrate(ScoringSession.open(store, device), view)
    inputs, has_local = session.inputs(), session.has_local()
    for wanted in set(needs):
        check_needs(f"method {method}", wanted, inputs, has_local)
    for array in extra_arrays(slots[0].entry.arrays):
        if not session.splits_with((array,)):
            raise missing_extra(f"method {method}", array)
    found: list[Candidate] = []
    with (
        scoring_on(session.device),
        open_validation(
            session, validation_ood, official_sweep_on_test=official_sweep_on_test
        ) as validation,
    ):
        total = validation.num_rows * len(slots)
        with progress(f"sweep {method}", total, "scores") as advance:
            keys = tuple(dict.fromkeys((*SHOWN, metric)))
            # Handed over for good: what a portion has learned goes with it.
            pending = deque(slot.entry for slot in slots)
            del slots
            outcomes = _outcomes(pending, inputs, validation, keys, advance)
            for swept, section, outcome in zip(candidates, sections, outcomes, strict=True):
                if isinstance(outcome, Failed):
                    found.append(Candidate(swept, section, {}, outcome.reason))
                else:
                    found.append(Candidate(swept, section, outcome))
    best = _best(found, metric)
    notes = _notes(method, found, best)
    learned = needs[best] | (session.calibrator.needs if session.calibrator else frozenset())
    if validation_ood == AUX_SPLIT and Need.AUX in learned:
        notes.append(
            "the method or its calibrator learns from aux, and the sweep chose on the same rows; "
            "name other outliers with --validation-ood."
        )
    if validation.id_name == VAL_SPLIT and Need.VAL in learned | may_read[best]:
        notes.append(
            "the method learns from val, and the sweep chose on the same rows; metrics on them are "
            "optimistic."
        )
    if validation.id_name == "test":
        notes.append("settings were chosen on test rows; metrics on them are optimistic.")
    return Sweep(
        method, calibrator, metric, found, best, validation.names, store.fingerprint, notes
    )


def _outcomes(
    pending: deque[Method],
    inputs: FitInputs,
    validation: Validation,
    keys: Sequence[str],
    advance: Advance,
) -> Iterator[dict[str, float] | Failed]:
    """Metrics of each candidate in order, or why there are none; empties `pending`."""
    most = max(1, SCORE_BYTES // (4 * validation.num_rows))
    while pending:
        portion = _fit_portion(pending, inputs, most)
        fitted = [item for item in portion if not isinstance(item, Failed)]
        scored = iter(_score_portion(fitted, validation, keys, advance) if fitted else ())
        for item in portion:
            yield item if isinstance(item, Failed) else next(scored)
        del portion, fitted, scored  # Before the next one learns as much.


def _fit_portion(pending: deque[Method], inputs: FitInputs, most: int) -> list[Method | Failed]:
    """Fit candidates from the left of `pending`, at most `most`, until memory is used up."""
    portion: list[Method | Failed] = []
    held: dict[int, int] = {}
    while pending and len(portion) < most and sum(held.values()) <= STATE_BYTES:
        fitted = attempt((), pending.popleft()._fit, inputs)
        portion.append(fitted)
        if not isinstance(fitted, Failed):
            # Tensors that candidates share lie at one address and count once.
            held |= {tensor.data_ptr(): tensor.nbytes for tensor in fitted.state().values()}
    return portion


def _score_portion(
    detectors: Sequence[Method],
    validation: Validation,
    keys: Sequence[str],
    advance: Advance,
) -> Iterator[dict[str, float] | Failed]:
    """Score both sides with all candidates at once, then rank one after the other."""
    id_scores, _, failed = _score_side(detectors, validation.id_rows, advance)
    ood_scores, labels, also_failed = _score_side(detectors, validation.ood_rows, advance)
    is_ood = ood_rows(labels, validation.ood_name)
    failures = also_failed | failed
    for place, (known, unknown) in enumerate(zip(id_scores, ood_scores, strict=True)):
        if place in failures:
            yield failures[place]
            continue
        bad = int((~np.isfinite(known)).sum() + (~np.isfinite(unknown)).sum())
        if bad:
            yield Failed(f"{bad} scores are not finite")
            continue
        ranking = rank(np.concatenate([known, unknown[~is_ood]]), unknown[is_ood])
        yield {key: METRICS[key].function(ranking) for key in keys}


def _score_side(
    detectors: Sequence[Method], source: FeatureSource, advance: Advance
) -> tuple[Scores, NDArray[np.int64], dict[int, Failed]]:
    """Scores of all rows, [S, N], their labels, [N], and the candidates that failed, by place."""
    scores = np.empty((len(detectors), len(source)), dtype=np.float32)
    labels = np.empty(len(source), dtype=np.int64)
    failures: dict[int, Failed] = {}
    arrays = sorted({array for detector in detectors for array in detector.arrays} | {"labels"})
    done = 0
    for batch in source.batches(arrays=arrays):
        stop = done + len(batch)
        failures |= _score_batch(detectors, batch, scores[:, done:stop], failures)
        labels[done:stop] = batch.labels.cpu().numpy()
        advance(len(detectors) * len(batch))
        done = stop
    return scores, labels, failures


@torch.inference_mode()
def _score_batch(
    detectors: Sequence[Method],
    batch: FeatureBatch,
    scores: Scores,
    failures: Mapping[int, Failed],
) -> dict[int, Failed]:
    """Fill in the scores of one batch, [S, n], and give the candidates that fail on it."""
    places = [place for place in range(len(detectors)) if place not in failures]
    if not places:
        return {}
    many = attempt((), type(detectors[0]).score_many, [detectors[i] for i in places], batch)
    if not isinstance(many, Failed):
        scores[places] = many.cpu().numpy()
        return {}
    # One by one, to see who is at fault.
    found: dict[int, Failed] = {}
    for place in places:
        alone = attempt((), detectors[place]._score, batch)
        if isinstance(alone, Failed):
            found[place] = alone
        else:
            scores[place] = alone.cpu().numpy()
    return found


def _best(candidates: Sequence[Candidate], metric: str) -> int:
    sign = 1 if METRICS[metric].higher_is_better else -1
    usable = [place for place, item in enumerate(candidates) if item.problem is None]
    if not usable:
        raise ConfigError(f"no candidate could be scored: {candidates[0].problem}")
    return max(usable, key=lambda place: sign * candidates[place].metrics[metric])


def _notes(method: str, candidates: Sequence[Candidate], best: int) -> list[str]:
    """Warnings about the best candidate."""
    notes = []
    failed = [item for item in candidates if item.problem is not None]
    if failed:
        notes.append(
            f"{len(failed)} of {len(candidates)} candidates could not be scored; the first, "
            f"{described(failed[0].swept)}: {failed[0].problem}"
        )
    winner = candidates[best]
    notes += [
        f"the best {key} is {winner.section[key]}, at the edge of what was tried; try values "
        "beyond it."
        for key in winner.swept
        if _is_edge(method, key, winner, candidates)
    ]
    if winner.metrics["auroc"] < 0.5:
        notes.append(
            f"the best candidate has an AUROC of {winner.metrics['auroc']:.3f}, worse than "
            "guessing: the method ranks these outliers below known rows. Do not use it on them."
        )
    return notes


def described(settings: Mapping[str, Any]) -> str:
    """Settings as one line, `percentile=60 clip=1.6`."""
    return " ".join(f"{key}={plain(value)}" for key, value in settings.items())


def plain(value: object) -> str:
    """A setting's value as `params.yaml` writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_edge(method: str, key: str, winner: Candidate, candidates: Sequence[Candidate]) -> bool:
    """Whether the winner's value is the outermost one tried and the method takes others."""
    tried = {item.section[key] for item in candidates if is_number(item.section[key])}
    value = winner.section[key]
    if not is_number(value) or len(tried) < 2 or min(tried) < value < max(tried):
        return False
    step = 1 if isinstance(value, int) else (max(tried) - min(tried)) / 100
    beyond = value + step if value == max(tried) else value - step
    try:
        build_method(EntrySpec(method, {**winner.section, key: beyond}))
    except ConfigError:
        return False  # A percentile of 100 has no further values.
    return True


def is_number(value: object) -> bool:
    """Whether a setting's value has a place on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)
