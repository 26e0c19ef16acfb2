"""Fit everything once, read every test row once, and score it with every method.

Methods behind the same calibrator are fitted on the same inputs, so that class means,
covariances and neighbours are computed once; then each batch is read once and shared in
the same way. Only the scores of the ID rows and of one OOD set are held at a time.
An entry that fails ends the rows it takes part in, which say why; the others continue.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ltood.comparing.finding import Found
from ltood.comparing.fitting import (
    Failures,
    View,
    fit_view,
    spec_of,
)
from ltood.comparing.outcomes import Ok, Outcome, leaderboard, timings, with_intervals
from ltood.comparing.plan import Combination, Config, Sections
from ltood.comparing.scores import ScoreKeeper
from ltood.comparing.splits import score_split
from ltood.comparing.streaming import apart, play_all
from ltood.comparing.timing import Timer
from ltood.core.building import check_settings
from ltood.core.errors import StoreError
from ltood.core.prior import ClassPrior
from ltood.evaluation.absence import without_sets
from ltood.evaluation.binding import bind
from ltood.evaluation.config import SetGroups
from ltood.evaluation.delong import AurocSpread
from ltood.runtime.devices import scoring_on
from ltood.runtime.distributed import Ranks
from ltood.scoring.session import ScoringSession, shares_banks
from ltood.store.layout import CSID_PREFIX, OOD_PREFIX
from ltood.store.reading import StoreReader
from ltood.store.scores import ScoreSplit


def compare(
    store: StoreReader,
    config: Config,
    settings: Sections,
    *,
    include: Sequence[Combination] = (),
    groups: SetGroups | None = None,
    keeper: ScoreKeeper | None = None,
    device: str = "auto",
    ranks: Ranks | None = None,
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
        ranks: This process among those that share the rows; alone if not given. The first one
            evaluates and keeps the scores, and all return what it has found.

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
    shares = shares_banks(row.method for row in combinations)
    session = ScoringSession.open(store, device, ranks, shares_banks=shares)
    timer = Timer(session.device)
    views: list[View] = []
    failures: Failures = {}
    with scoring_on(session.device):
        for calibrator in dict.fromkeys(row.calibrator for row in combinations):
            rows = [row for row in combinations if row.calibrator == calibrator]
            view, failed = fit_view(session, rows, settings, timer)
            views += [view] if view else []
            failures |= failed
        for view in views:
            view.session.meet()
        views, streams = apart(views)
        spread = AurocSpread[Combination]()
        read, failed = _read(session, views, groups, timer, keeper, spread)

        def judged() -> tuple[dict[str, Any], Sequence[dict[str, Any]]]:
            played, fallen = play_all(streams, groups, timer)
            done = with_intervals(read, spread) | played
            outcomes: dict[Combination, Outcome] = {
                row: done.get(row) or (failures | failed | fallen)[row] for row in combinations
            }
            board = bind(leaderboard(outcomes, named), features=store.fingerprint)
            if keeper is not None:
                keeper.write(board, store.fingerprint, store.prior().counts.tolist())
            return board, timings(outcomes)

        return session.crew.on_first(judged)


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


def _evaluate(
    split: str,
    scores: Mapping[Combination, ScoreSplit],
    known: Mapping[str, Mapping[Combination, ScoreSplit]],
    found: dict[Combination, Found],
    prior: ClassPrior,
    spread: AurocSpread[Combination],
) -> None:
    """Add what an OOD set says of each row to what was found."""
    spread.add(split, known["test"], scores)
    for combination, rows in scores.items():
        known_rows = {name: of[combination] for name, of in known.items()}
        found.setdefault(combination, Found(known_rows, prior)).add(split, rows)


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
        scores, failed_here = score_split(session, views, split, timer)
        failed |= failed_here
        views = [kept for view in views if (kept := view.without(failed)).methods]
        if keeper is not None:
            keeper.add(split, scores)
        if split == "test" or split in shifted:
            known[split] = scores
            continue
        evaluate = partial(_evaluate, split, scores, known, found, prior, spread)
        session.crew.on_first(evaluate)
    done: dict[Combination, Ok] = {}
    for view in views if session.crew.is_first else ():
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
