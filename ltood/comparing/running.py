"""Fit everything once, read every test row once, and score it with every method.

Methods behind the same calibrator are fitted on the same inputs, so that class means,
covariances and neighbours are computed once; then each batch is read once and shared in
the same way. Only the scores of the ID test rows and of one OOD set are held at a time.
An entry that fails ends the rows it takes part in, which say why; the others go on.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.comparing.leaderboard import mean_of
from ltood.comparing.plan import Combination, Config, Settings
from ltood.comparing.timing import Meter, MeteredBatch, MeteredInputs, Seconds
from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, LtoodError, MissingNeedError, StoreError
from ltood.core.registry import load
from ltood.core.settings import parse
from ltood.core.slots import Method, Normaliser, check_needs
from ltood.evaluation.measures import evaluate, false_alarms
from ltood.ops.pairs import PairMethod, read_together
from ltood.runtime.console import progress
from ltood.scoring.run import pack_scores
from ltood.scoring.session import ScoringSession, fit_calibrator, restore_calibrator
from ltood.scoring.slots import NONE, EntrySpec, build_method, build_normaliser
from ltood.store.features import FeatureStore
from ltood.store.layout import OOD_PREFIX
from ltood.store.scores import ScoreSplit


@dataclass
class _Row:
    """One row of the leaderboard while it is made."""

    combination: Combination
    settings: dict[str, Any] = field(default_factory=dict)
    in_use: dict[str, Any] = field(default_factory=dict)
    normaliser: Normaliser | None = None
    seconds: Seconds = field(default_factory=Seconds)  # Of the normaliser.
    error: str = ""
    is_left_out: bool = False
    parts: list[NDArray[np.float32]] = field(default_factory=list)  # Of the split being read.
    test: ScoreSplit | None = None
    of_id: dict[str, Any] = field(default_factory=dict)
    of_sets: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class _Method:
    """A fitted method and the rows that start from its scores."""

    name: str
    rows: list[_Row]
    calibrate: Seconds  # The same for all methods behind one calibrator.
    detector: Method | None = None
    fit: Seconds = field(default_factory=Seconds)
    score: Seconds = field(default_factory=Seconds)

    @property
    def open_rows(self) -> list[_Row]:
        """Rows that have not failed."""
        return [row for row in self.rows if not row.error]


@dataclass
class _View:
    """The store as one calibrator shows it, and the methods that look through it."""

    session: ScoringSession
    methods: list[_Method]
    predictions: list[NDArray[np.int64]] = field(default_factory=list)

    @property
    def pair_seconds(self) -> Seconds:
        """Whose time it is that products with a bank take: that of the first who reads them."""
        readers = [m for m in self.open_methods if isinstance(m.detector, PairMethod)]
        return readers[0].score if readers else Seconds()

    @property
    def open_methods(self) -> list[_Method]:
        """Methods with a row that has not failed."""
        return [method for method in self.methods if method.open_rows]

    @property
    def open_rows(self) -> list[_Row]:
        """Rows behind this calibrator that have not failed."""
        return [row for method in self.methods for row in method.open_rows]

    def batch(self, raw: FeatureBatch, meter: Meter) -> MeteredBatch:
        """Rows as the calibrator shows them, with the head's logits for them."""
        arrays = dict(raw.arrays)
        if self.session.calibrator is not None:
            features = self.session.calibrator._transform(raw.features)
            arrays["features"] = features
            arrays["logits"] = self.session.head.logits(features)
            arrays["extra"] = self.session.head.extra_logits(features)
            if "local" in arrays:
                arrays["local"] = self.session.calibrator._transform_local(raw.local)
        return MeteredBatch(arrays, meter=meter)


@dataclass(frozen=True)
class _Held:
    """Scores in memory, as evaluation reads them."""

    held: dict[str, ScoreSplit]
    attributes: Mapping[str, Any]

    @property
    def splits(self) -> list[str]:
        return list(self.held)

    def split(self, name: str, /) -> ScoreSplit:
        return self.held[name]


def check_settings(config: Config, settings: Settings) -> None:
    """Refuse settings that no entry takes, before the work starts.

    Raises:
        ConfigError: On an unknown setting or one out of range.
    """
    for package in ("calibrators", "methods", "normalisers"):
        for name in config.names(package):
            section = settings.get(package, {}).get(name)
            parse(section, load(package, name).Config, f"{package}.{name}")


def compare(
    store: FeatureStore, config: Config, settings: Settings, *, device: str = "auto"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score the store with every combination.

    Args:
        store: Feature store with the test split and at least one OOD set.
        config: What to combine.
        settings: Settings by package and entry; an absent entry has its defaults.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        The leaderboard, in fractions and the same on every run, best mean AUROC first:
        `{"auroc": {TITLE: ...}, "rows": [...], "left_out": [...]}`; and for each row that
        did not fail its seconds. Combinations that do not fit together or need what the
        store lacks are failures where every entry was named, else they are left out.

    Raises:
        ConfigError: On an unknown setting or one out of range.
        StoreError: If the test split or every OOD set is missing.
        DataError: If labels break a rule, such as an OOD set of ID rows only.
    """
    check_settings(config, settings)
    if "test" not in store.splits or not store.ood_splits:
        raise StoreError(
            f"{store.path} has the splits {', '.join(store.splits)}; comparing needs test and "
            f"at least one {OOD_PREFIX}<name>."
        )
    session = ScoringSession.open(store, device)
    meter = Meter(session.device)
    methods: list[_Method] = []
    views: list[_View] = []
    for name in config.names("calibrators"):
        made, view = _fit_view(session, config, settings, name, meter)
        methods += made
        views += [view] if view else []
    _read(store, session, views, meter)
    return _leaderboard(methods), _timings(methods)


def _fit_view(
    session: ScoringSession, config: Config, settings: Settings, calibrator: str, meter: Meter
) -> tuple[list[_Method], _View | None]:
    """Fit a calibrator and all methods behind it on the same inputs."""
    rows: dict[str, list[_Row]] = {}
    for combination in config.combinations():
        if combination.calibrator == calibrator:
            rows.setdefault(combination.method, []).append(_Row(combination))
    seconds = Seconds()
    methods = [_Method(name, of_method, seconds) for name, of_method in rows.items()]
    everything = [row for of_method in rows.values() for row in of_method]
    left_out = () if config.is_explicit else (MissingNeedError,)
    seen = session
    with _failing(everything, left_out), meter.add_to(seconds):
        if calibrator != NONE.name:
            fitted = fit_calibrator(session, _spec(settings, "calibrators", calibrator))
            seen = restore_calibrator(session, fitted)
            for row in everything:
                row.settings["calibrator"] = fitted.settings
                row.in_use["calibrator"] = fitted.in_use
    if everything[0].error:
        return methods, None
    plain = seen.inputs()
    inputs = MeteredInputs(plain.train, plain.aux, plain.head, plain.prior, meter=meter)
    with progress(f"fit behind calibrator {calibrator}", len(methods), "methods") as advance:
        for method in methods:
            _fit(method, inputs, seen.has_local(), settings, left_out)
            advance(1)
    return methods, _View(seen, methods)


def _fit(
    method: _Method,
    inputs: MeteredInputs,
    has_local: bool,
    settings: Settings,
    left_out: tuple[type[Exception], ...],
) -> None:
    """Fit the normalisers of a method's rows, then the method itself."""
    for row in method.rows:
        name = row.combination.normaliser
        spec = _spec(settings, "normalisers", name)
        # A normaliser refuses the scores of some methods with a ConfigError.
        with _failing([row], (*left_out, ConfigError) if left_out else ()):
            normaliser, row.settings["normaliser"] = build_normaliser(
                spec, _spec(settings, "methods", method.name)
            )
        if row.error or name == NONE.name:
            continue
        with _failing([row], left_out), inputs.meter.add_to(row.seconds):
            check_needs(f"normaliser {name}", normaliser.needs, inputs, has_local)
            row.normaliser = normaliser._fit(inputs)
            row.in_use["normaliser"] = normaliser.derived()
    if not method.open_rows:
        return
    with _failing(method.open_rows, left_out), inputs.meter.add_to(method.fit):
        detector, chosen = build_method(_spec(settings, "methods", method.name))
        check_needs(f"method {method.name}", detector.needs, inputs, has_local)
        method.detector = detector._fit(inputs)
        for row in method.open_rows:
            row.settings["method"] = chosen
            row.in_use["method"] = detector.derived()


def _read(store: FeatureStore, session: ScoringSession, views: list[_View], meter: Meter) -> None:
    """Read the test rows and the OOD sets once and fill in all rows."""
    attributes = {"class_counts": store.prior().counts, "class_names": store.class_names}
    for split in ("test", *store.ood_splits):
        source = session.source(split)
        labels: list[NDArray[np.int64]] = []
        ids: list[NDArray[np.int64]] = []
        with progress(f"score {split}", len(source)) as advance:
            for raw in source.batches(arrays=_arrays(views)):
                labels.append(raw.labels.cpu().numpy())
                ids.append(raw.ids.cpu().numpy())
                for view in views:
                    _score(view, raw, split, meter)
                advance(len(raw))
        for view in (view for view in views if view.open_methods):
            columns = [np.concatenate(parts) for parts in (view.predictions, labels, ids)]
            view.predictions.clear()
            for method in view.open_methods:
                for row in method.open_rows:
                    held = ScoreSplit(np.concatenate(row.parts), *columns)
                    row.parts.clear()
                    _evaluate(row, split, held, attributes)


def _arrays(views: list[_View]) -> list[str]:
    """Everything that a method or calibrator which is still at work reads."""
    arrays = {"logits", "labels", "ids"}
    for view in views:
        arrays |= {"features"} if view.session.calibrator is not None else set()
        for method in view.open_methods:
            arrays |= set(method.detector.arrays if method.detector else ())
    return sorted(arrays)


def _score(view: _View, raw: FeatureBatch, split: str, meter: Meter) -> None:
    """Score one batch with all methods behind one calibrator."""
    with torch.inference_mode():
        with _failing(view.open_rows):
            batch = view.batch(raw, meter)
            view.predictions.append(batch.logits.argmax(dim=1).cpu().numpy())
        with suppress(Exception), meter.add_to(view.pair_seconds):
            # Where one of them fails, each reads alone below, and it fails alone.
            read_together([method.detector for method in view.open_methods], batch)
        for method in view.open_methods:
            with _failing(method.open_rows), meter.add_to(method.score):
                assert method.detector is not None
                scores = method.detector._score(batch)
                raw_part = pack_scores(scores, batch, f"method {method.name}", split).scores
            for row in method.open_rows:
                part = raw_part
                if row.normaliser is not None:
                    name = f"normaliser {row.combination.normaliser}"
                    with _failing([row]), meter.add_to(row.seconds):
                        normalised = row.normaliser._normalise(scores.float(), batch)
                        part = pack_scores(normalised, batch, name, split).scores
                row.parts.append(part)


def _evaluate(row: _Row, split: str, held: ScoreSplit, attributes: Mapping[str, Any]) -> None:
    """Keep the ID scores, or turn those of an OOD set into numbers."""
    if split == "test":
        row.test = held
        return
    assert row.test is not None
    name = split.removeprefix(OOD_PREFIX)
    scores = _Held({"test": row.test, split: held}, attributes)
    metrics = evaluate(scores)
    row.of_id = metrics["id"]
    row.of_sets[name] = {**metrics["ood"][name], "false_alarms": false_alarms(scores)[name]}


@contextmanager
def _failing(rows: list[_Row], left_out: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Note a failure of the block in `rows` and go on; `left_out` are no failures."""
    try:
        yield
    except Exception as error:  # A fault of one entry must not cost the results of the others.
        reason = " ".join(str(error).split())
        if not isinstance(error, LtoodError):
            reason = f"{type(error).__name__}: {reason}"
        for row in rows:
            row.error, row.is_left_out = reason, isinstance(error, left_out)
            row.parts.clear()
            row.test = None


def _spec(settings: Settings, package: str, name: str) -> EntrySpec:
    return EntrySpec(name, settings.get(package, {}).get(name) or {})


def _leaderboard(methods: list[_Method]) -> dict[str, Any]:
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for row in (row for method in methods for row in method.rows):
        names = {"title": row.combination.title, **row.combination._asdict()}
        if row.error:
            status = "left out" if row.is_left_out else "failed"
            line = {**names, "status": status, "reason": row.error}
            (left_out if row.is_left_out else failed).append(line)
            continue
        done.append(
            {
                **names,
                "status": "ok",
                "id": row.of_id,
                "mean": mean_of(row.of_sets),
                "ood": row.of_sets,
                "settings": row.settings,
                "in_use": row.in_use,
            }
        )
    done.sort(key=lambda line: -line["mean"]["auroc"])
    return {
        "auroc": {line["title"]: line["mean"]["auroc"] for line in done},
        "rows": [*done, *failed],
        "left_out": left_out,
    }


def _timings(methods: list[_Method]) -> list[dict[str, Any]]:
    return [
        {
            "title": row.combination.title,
            **row.combination._asdict(),
            "calibrate_seconds": method.calibrate.own + method.calibrate.shared,
            "fit_seconds": method.fit.own,
            "fit_shared_seconds": method.fit.shared,
            "score_seconds": method.score.own + row.seconds.own,
            "score_shared_seconds": method.score.shared + row.seconds.shared,
        }
        for method in methods
        for row in method.open_rows
    ]
