"""The choice: every candidate in every draw, where each stands, and what is found.

No OOD test set is among the inputs, so none can be read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ltood.choosing.candidates import Candidate
from ltood.choosing.held_classes import Draw, draws
from ltood.choosing.material import Material
from ltood.choosing.pseudo import Kind
from ltood.choosing.ranking import Standing, standing
from ltood.choosing.trial import DECLARED, HELD_OUT, Trial
from ltood.core.errors import DataError
from ltood.core.outcomes import Failed
from ltood.core.prior import ClassPrior

#: Candidates that a choice is between, at least.
FEWEST = 2


@dataclass(frozen=True)
class Plan:
    """How a choice is made.

    Attributes:
        num_draws: Number of draws of held-out classes.
        shares: Shares of the classes that they hold out in turn.
        kinds: Kinds of outliers that are made of ID rows.
        decay: Weight decay of heads that are fitted anew; None slices the given one.
        budget: Most fits of candidates, all draws together, or None.
        seconds: About how long the draws may take, or None.
    """

    num_draws: int
    shares: tuple[float, ...]
    kinds: tuple[Kind, ...]
    decay: float | None
    budget: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Choice:
    """What was tried and how it came out.

    Attributes:
        plan: How the choice was made.
        draws: Classes held out.
        kinds: Kinds of outliers, [K].
        tried: Candidates with a result, [M].
        aurocs: AUROC of each draw, kind and candidate, [R, K, M].
        standing: Where each stands.
        left_out: Candidates that cannot be used or failed, and why.
        untried: Candidates for which the budget was too small.
        rows: Held-out ID rows that decided.
        repeat: Budget that gives the same choice again; None where all were tried.
    """

    plan: Plan
    draws: Sequence[Draw]
    kinds: Sequence[str]
    tried: Sequence[Candidate]
    aurocs: NDArray[np.float64]
    standing: Standing
    left_out: Sequence[tuple[Candidate, str]]
    untried: Sequence[Candidate]
    rows: int
    repeat: int | None

    @property
    def chosen(self) -> Candidate:
        """The chosen candidate."""
        return self.tried[self.standing.chosen]


def choose(material: Material, plan: Plan, candidates: Sequence[Candidate]) -> Choice:
    """Try the candidates and choose one.

    Args:
        material: Rows.
        plan: How the choice is made.
        candidates: What is chosen among.

    Raises:
        DataError: If there are too few classes, or fewer than two candidates can be used.
    """
    usable, left_out = _usable(material, candidates)
    _check_enough(usable, left_out)
    all_draws = _draws(material, plan)
    tried, untried = _within(usable, plan)
    trials = [Trial(material, draw, plan.kinds, plan.decay) for draw in all_draws]
    first = trials[0].run(tried, until=_until(plan))
    tried, untried = tried[: len(first)], [*tried[len(first) :], *untried]
    outcomes = [first, *(trial.run(tried) for trial in trials[1:])]
    failed = {
        place: found.reason
        for outcome in reversed(outcomes)
        for place, found in enumerate(outcome)
        if isinstance(found, Failed)
    }
    left_out += [(tried[place], failed[place]) for place in sorted(failed)]
    places = [place for place in range(len(tried)) if place not in failed]
    _check_enough([tried[place] for place in places], left_out)
    aurocs = np.array([[outcome[place] for place in places] for outcome in outcomes])
    aurocs = aurocs.transpose(0, 2, 1)
    ranked = [tried[place] for place in places]
    kinds = trials[0].all_kinds
    return Choice(
        plan,
        all_draws,
        kinds,
        ranked,
        aurocs,
        standing(aurocs, weights(kinds), [candidate.cost for candidate in ranked]),
        left_out,
        untried,
        int(material.is_used.sum()),
        len(tried) * len(trials) if untried else None,
    )


def weights(kinds: Sequence[str]) -> list[float]:
    """Weight of each kind of outliers.

    Held-out classes count as much as all made outliers together, and a declared set, which is
    real, as much as all others.
    """
    made = sum(kind not in (HELD_OUT, DECLARED) for kind in kinds)
    near = float(max(1, made))
    special = {HELD_OUT: near, DECLARED: near + made}
    return [special.get(kind, 1.0) for kind in kinds]


def _usable(
    material: Material, candidates: Sequence[Candidate]
) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
    """Candidates that the data allow, cheapest first, and the others with the reason."""
    usable: list[Candidate] = []
    left_out: list[tuple[Candidate, str]] = []
    for candidate in candidates:
        reason = candidate.misfit(material.inputs, material.has_local)
        if reason:
            left_out.append((candidate, reason))
        else:
            usable.append(candidate)
    return sorted(usable, key=lambda candidate: candidate.cost), left_out


def _check_enough(usable: Sequence[Candidate], left_out: Sequence[tuple[Candidate, str]]) -> None:
    if len(usable) >= FEWEST:
        return
    why = "; ".join(f"{candidate.title}: {reason}" for candidate, reason in left_out[:3])
    raise DataError(
        f"auto chooses among {FEWEST} candidates or more and can use {len(usable)} of "
        f"{len(usable) + len(left_out)} ({why}). Name others in methods.auto.candidates, or name "
        "a method."
    )


def _draws(material: Material, plan: Plan) -> list[Draw]:
    counts = material.train_counts
    prior = material.inputs.prior or ClassPrior(counts)
    rows = material.used_counts
    return draws(prior.groups(), rows, plan.shares, plan.num_draws, material.seed)


def _within(usable: list[Candidate], plan: Plan) -> tuple[list[Candidate], list[Candidate]]:
    """Candidates that the budget allows to be fitted in every draw, and the others."""
    if plan.budget is None:
        return usable, []
    number = max(FEWEST, plan.budget // plan.num_draws)
    return usable[:number], usable[number:]


def _until(plan: Plan) -> Callable[[], bool] | None:
    """Whether the first draw has had its share of the seconds, half of it for scoring."""
    if plan.seconds is None:
        return None
    end = perf_counter() + plan.seconds / plan.num_draws / 2
    return lambda: perf_counter() > end
