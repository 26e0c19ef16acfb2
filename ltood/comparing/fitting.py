"""Fit everything that is compared: calibrator by calibrator, all methods on the same inputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ltood.comparing.plan import Combination, Sections
from ltood.comparing.timing import TimedInputs, Timer, Timing
from ltood.core.building import EntrySpec, Slot, build_calibrator, build_method, build_normaliser
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.holding import HOLDS
from ltood.core.inputs import FitInputs
from ltood.core.outcomes import Failed, attempt
from ltood.core.registry import constant
from ltood.core.slots import Method, Normaliser
from ltood.ops.held_methods import offer_fitted
from ltood.runtime.console import progress
from ltood.scoring.session import ScoringSession, calibrate

D = TypeVar("D", Method, Normaliser)

#: What an entry raises that needs something which the store does not hold.
UNFIT = (MissingNeedError,)

Failures = dict[Combination, Failed]


@dataclass(frozen=True)
class FittedRow:
    """One row behind a fitted method.

    Attributes:
        combination: Its entries by name.
        slot: Its normaliser, fitted.
        time: What the normaliser took.
    """

    combination: Combination
    slot: Slot[Normaliser]
    time: Timing = field(default_factory=Timing)


@dataclass(frozen=True)
class FittedMethod:
    """A fitted method and the rows that start from its scores.

    Attributes:
        slot: The method, fitted.
        rows: Rows that have not failed.
        fit: What fitting took.
        score: What scoring took.
    """

    slot: Slot[Method]
    rows: Sequence[FittedRow]
    fit: Timing
    score: Timing = field(default_factory=Timing)


@dataclass(frozen=True)
class View:
    """The store as one calibrator shows it, and the fitted methods that look through it.

    Attributes:
        session: The store, seen through the calibrator.
        methods: Methods with a row that has not failed.
        calibration: Settings and derived values of the calibrator, by these two names.
        time: What fitting the calibrator took.
    """

    session: ScoringSession
    methods: Sequence[FittedMethod]
    calibration: dict[str, dict[str, Any]]
    time: Timing

    def without(self, failures: Failures) -> "View":
        """The same without the rows that failed and the methods that no remaining row uses."""
        kept = [
            replace(method, rows=[row for row in method.rows if row.combination not in failures])
            for method in self.methods
        ]
        return replace(self, methods=[method for method in kept if method.rows])

    @property
    def calibrator(self) -> str:
        """Name of the calibrator."""
        return self.combinations[0].calibrator

    @property
    def combinations(self) -> list[Combination]:
        """All rows behind this calibrator that have not failed."""
        return [row.combination for method in self.methods for row in method.rows]

    def settings(self, method: FittedMethod, row: FittedRow) -> dict[str, Any]:
        """All settings of one row, by slot."""
        own = {"normaliser": row.slot.settings, "method": method.slot.settings}
        return {**self.calibration["settings"], **own}

    def derived(self, method: FittedMethod, row: FittedRow) -> dict[str, Any]:
        """Values derived from data while fitting one row, by slot."""
        found = dict(self.calibration["in_use"])
        if not row.slot.is_none:
            found["normaliser"] = row.slot.entry.derived()
        return {**found, "method": method.slot.entry.derived()}

    def needs(self, method: FittedMethod, row: FittedRow) -> list[str]:
        """What the entries of one row need beyond the rows they score, by name."""
        own = self.session.calibrator
        entries = (method.slot.entry, row.slot.entry, *([] if own is None else [own]))
        return sorted({need.name.lower() for entry in entries for need in entry.needs})


def spec_of(settings: Sections, package: str, name: str) -> EntrySpec:
    """An entry with its section of the settings, or its defaults."""
    return EntrySpec(name, settings.get(package, {}).get(name) or {})


def fit_view(
    session: ScoringSession, combinations: Sequence[Combination], settings: Sections, timer: Timer
) -> tuple[View | None, Failures]:
    """Fit a calibrator and all methods and normalisers behind it on the same inputs.

    Args:
        session: The store without a calibrator.
        combinations: Rows with the same calibrator.
        settings: Settings by package and entry.
        timer: Where seconds are counted.

    Returns:
        The view, None where the calibrator or every row failed, and the rows that failed.
    """
    calibrator, time = combinations[0].calibrator, Timing()
    slot = build_calibrator(spec_of(settings, "calibrators", calibrator))
    with timer.add_to(time):
        seen = attempt(UNFIT, calibrate, session, slot)
    if isinstance(seen, Failed):
        return None, dict.fromkeys(combinations, seen)
    view, fitted = seen
    inputs = TimedInputs.of_inputs(view.inputs(), timer)
    rows: dict[str, list[Combination]] = {}
    for combination in combinations:
        rows.setdefault(combination.method, []).append(combination)
    methods: list[FittedMethod] = []
    failures: Failures = {}
    with progress(f"fit behind calibrator {calibrator}", len(rows), "methods") as advance:
        for of_method in sorted(rows.values(), key=_holds_others):
            method, failed = _fit_method(of_method, inputs, view, settings)
            methods += [method] if method else []
            failures |= failed
            advance(1)
    if not methods:
        return None, failures
    calibration: dict[str, dict[str, Any]] = {"settings": {}, "in_use": {}}
    if not slot.is_none:
        calibration["settings"] = {"calibrator": fitted.settings}
        calibration["in_use"] = {"calibrator": fitted.derived}
    return View(view, methods, calibration, time), failures


def _holds_others(combinations: Sequence[Combination]) -> bool:
    """Whether the method of these rows holds others, which it finds fitted if it comes last."""
    return constant("methods", combinations[0].method, HOLDS) is not None


def _fit_method(
    combinations: Sequence[Combination],
    inputs: TimedInputs,
    session: ScoringSession,
    settings: Sections,
) -> tuple[FittedMethod | None, Failures]:
    """Fit the normalisers of a method's rows, then the method itself."""
    slot = build_method(spec_of(settings, "methods", combinations[0].method))
    rows: list[FittedRow] = []
    failures: Failures = {}
    for combination in combinations:
        row = _fit_row(combination, slot, inputs, session, settings)
        if isinstance(row, Failed):
            failures[combination] = row
        else:
            rows.append(row)
    if not rows:
        return None, failures
    time = Timing()
    with inputs.timer.add_to(time):
        fitted = attempt(UNFIT, _fitted, f"method {slot.name}", slot.entry, inputs, session)
    if isinstance(fitted, Failed):
        return None, failures | dict.fromkeys([row.combination for row in rows], fitted)
    return FittedMethod(slot, rows, time), failures


def _fit_row(
    combination: Combination,
    base: Slot[Method],
    inputs: TimedInputs,
    session: ScoringSession,
    settings: Sections,
) -> FittedRow | Failed:
    name = combination.normaliser
    # A normaliser refuses the scores of some methods with a ConfigError.
    spec = spec_of(settings, "normalisers", name)
    slot = attempt((*UNFIT, ConfigError), build_normaliser, spec, base)
    if isinstance(slot, Failed):
        return slot
    row = FittedRow(combination, slot)
    if not slot.is_none:
        with inputs.timer.add_to(row.time):
            fitted = attempt(UNFIT, _fitted, f"normaliser {name}", slot.entry, inputs, session)
        if isinstance(fitted, Failed):
            return fitted
    return row


def _fitted(entry: str, slot: D, inputs: FitInputs, session: ScoringSession) -> D:
    session.check_needs(entry, slot)
    fitted = inputs.crew.agreed(lambda: slot._fit(inputs))
    offer_fitted(fitted, inputs)
    return fitted
