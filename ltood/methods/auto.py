"""Auto: chooses a method from ID rows alone, then scores with it.

Source: holding classes out to tune detectors without OOD data is the idea of arXiv:2602.05935
(2026), whose authors train a network for every draw of classes. Departures: nothing is trained
but the head, on cached features of the remaining classes; far outliers are made of ID rows; ranks
decide and not AUROCs, because the network has seen the classes that are held out, so that they
are easier to tell than outliers are; and of all candidates within one standard error of the best
the cheapest is taken.

Formula:
    r_m = mean over draws and kinds of outliers of the rank of candidate m by AUROC
    best = argmin_m r_m, e its standard error over the draws
    chosen = the cheapest m with r_m <= r_best + e; score = that of the chosen one
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from ltood.choosing.candidates import Candidate
from ltood.choosing.choice import FEWEST, Choice, Plan, choose
from ltood.choosing.findings import findings
from ltood.choosing.material import Material
from ltood.choosing.pseudo import Kind
from ltood.core.batches import FeatureBatch, Ids, Labels, Scores
from ltood.core.errors import ConfigError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Positive, Seed, Share
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.held_methods import HeldMethod

#: A comparison of all methods leaves it out: its row would equal that of the chosen one.
NAMED_ONLY = True

#: Candidates where none are named: families that complement one another, by what they read.
HOLDS = {
    "candidates": (
        "energy",
        "msp",
        "maxlogit",
        "gen",
        "mcm",
        "fdbd",
        "scale",
        "lts",
        "react",
        "himplos",
        "mahalanobis",
        {"method": "mahalanobis", "settings": {"normalise": True}},
        "relative_mahalanobis",
        {"method": "relative_mahalanobis", "settings": {"normalise": True}},
        "vim",
        "residual",
        "class_gaussian",
        "gl_mcm",
        {"method": "energy", "calibrator": "patt"},
        {"method": "energy", "normaliser": "imood"},
        "knn",
        "nnguide",
        "ensemble",
        {"method": "ensemble", "settings": {"combine": "top_half"}, "name": "ensemble(top_half)"},
    )
}


@dataclass(frozen=True)
class Config(Settings):
    """Settings of Auto.

    Attributes:
        candidates: Methods to choose among; null are complementary families, of which those are
            tried that the data allow.
        draws: Draws of classes that are held out; 1 or more. With few, chance decides.
        shares: Shares of the classes that the draws hold out in turn, one class at least.
        pseudo: Far outliers made of ID rows: midpoints of two classes, rows with dimensions of
            different rows, rows with noise.
        outliers: Whether the auxiliary outliers judge, too: half of them, and candidates that
            learn from outliers get the other half.
        head: Head of the remaining classes: "refit" fits it anew, "slice" takes rows of the given
            one. A head made of text is sliced, which is exact for it.
        decay: Weight decay of a head that is fitted anew, above 0.
        share: Share of the held-out ID rows that the choice may learn from; the others stay
            untouched, for thresholds and promises.
        rows: Most rows of each kind that are scored in a draw.
        budget: Most fits of candidates, all draws together; null sets no limit. Candidates are
            tried cheapest first, and the others are named.
        seconds: About how long the choice may take; null sets no limit. What was tried is recorded
            as a budget, which repeats the choice on any machine.
        seed: Seed of all draws.
    """

    candidates: tuple[Candidate, ...] | None = None
    draws: Count = 10
    shares: tuple[Share, ...] = (0.1, 0.3)
    pseudo: tuple[Kind, ...] = ("mixup", "shuffle", "noise")
    outliers: Literal["none", "aux"] = "none"
    head: Literal["refit", "slice"] = "refit"
    decay: Positive = 5e-4
    share: Share = 0.5
    rows: Count = 1000
    budget: Count | None = None
    seconds: Positive | None = None
    seed: Seed = 0

    def check(self) -> None:
        """Refuse what cannot be chosen among, before anything heavy.

        Raises:
            ConfigError: Also on an unknown name or setting of a candidate.
        """
        if max(self.shares, default=1.0) >= 1:
            raise self.fault(
                "shares",
                f"is {list(self.shares)}; give numbers below 1, so that classes remain.",
            )
        if len(set(self.pseudo)) < len(self.pseudo):
            raise self.fault("pseudo", "names a kind twice; name it once.")
        least = FEWEST * self.draws
        if self.budget is not None and self.budget < least:
            raise self.fault(
                "budget",
                f"is {self.budget}, but {FEWEST} candidates in {self.draws} draws take {least} "
                "fits; raise it or lower draws.",
            )
        if self.candidates is None:
            return
        titles = [candidate.title for candidate in self.candidates]
        if len(titles) < FEWEST:
            raise self.fault("candidates", f"is a list of {len(titles)}; name {FEWEST} or more.")
        for title, candidate in zip(titles, self.candidates, strict=True):
            if titles.count(title) > 1:
                raise self.fault("candidates", f"names {title} twice; name it once.")
            try:
                candidate.check()
            except ConfigError as error:
                raise self.fault("candidates", f"has {title}: {error}") from error

    @property
    def members(self) -> tuple[Candidate, ...]:
        """What is chosen among, usable or not."""
        if self.candidates is not None:
            return self.candidates
        return tuple(Candidate.of_setting(written) for written in HOLDS["candidates"])

    @property
    def plan(self) -> Plan:
        """How the choice is made."""
        decay = self.decay if self.head == "refit" else None
        return Plan(self.draws, self.shares, self.pseudo, decay, self.budget, self.seconds)


class Auto(Method[Config]):
    """Scores rows with the method that tells held-out classes and made outliers apart best."""

    needs: frozenset[Need] = frozenset({Need.TRAIN, Need.VAL})
    arrays: tuple[str, ...] = ("features",)
    _held: HeldMethod | None = None
    _choice: Choice | None = None

    def _fit(self, inputs: FitInputs) -> Self:
        """Choose among the candidates, and fit the chosen one on all rows.

        Raises:
            MissingNeedError: If there are no training rows, no held-out rows or no outliers that
                were declared.
            DataError: If there are too few classes or rows, or too few candidates can be used.
        """
        config = self.config
        material = Material.of(
            inputs,
            share=config.share,
            limit=config.rows,
            seed=config.seed,
            declared=inputs.require_aux() if config.outliers == "aux" else None,
        )
        members = config.members
        choice = choose(material, config.plan, members)
        self._choice = choice
        self.chosen_ = torch.tensor(members.index(choice.chosen))
        self.learned_ids_ = torch.unique(material.ids[material.is_used])
        held = HeldMethod(choice.chosen)
        held.fit(inputs)
        return self._use(held)

    def _use(self, held: HeldMethod) -> Self:
        self._held, self.arrays = held, tuple(sorted(held.arrays))
        return self

    @property
    def chosen(self) -> Method:
        """The chosen method, fitted.

        Raises:
            NotFittedError: If `fit` has not run.
        """
        return self._fitted_held().method

    def _fitted_held(self) -> HeldMethod:
        self.learned("chosen_")
        assert self._held is not None
        return self._held

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores of the chosen candidate, [N] float32; higher means more OOD."""
        return self._fitted_held().score(batch)

    def findings(self) -> dict[str, Any]:
        """How the choice came out, under the key `choice`; empty once restored."""
        if self._choice is None:
            return {}
        return {"choice": findings(self._choice, self.config.seed)}

    def derived(self) -> dict[str, float]:
        """What the chosen method derived from data."""
        return self._fitted_held().method.derived()

    def explain(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """What the chosen method says of each row beside its score."""
        held = self._fitted_held()
        return held.method.explain(held.seen(batch))

    def learned_rows(self, ids: Ids, labels: Labels) -> Tensor:
        """Held-out rows that the choice has used, or the chosen candidate has learned from."""
        used = torch.isin(ids, self.learned("learned_ids_").to(ids.device))
        return used | self._fitted_held().learned_rows(ids, labels)

    def state(self) -> dict[str, Tensor]:
        """Which candidate was chosen, and all that it has learned."""
        held = self._held
        return super().state() | ({} if held is None else held.state())

    def restore(self, state: Mapping[str, Tensor]) -> Self:
        """See `Entry.restore`."""
        super().restore({name: tensor for name, tensor in state.items() if "." not in name})
        held = HeldMethod(self.config.members[int(self.learned("chosen_"))])
        held.restore(state)
        return self._use(held)

    def _forget(self) -> None:
        """See `Entry._forget`."""
        super()._forget()
        for name in ("_held", "_choice", "arrays"):
            vars(self).pop(name, None)

    def _learned_widths(self) -> dict[str, int]:
        """Widths that the chosen method knows."""
        return {} if self._held is None else self._held.widths()


Entry = Auto
