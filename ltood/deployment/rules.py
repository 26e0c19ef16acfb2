"""Verdicts that keep a promise: a rule made from calibration rows and applied to new ones.

All rules compare conformal p-values with levels. What they hold for, and what they do not, is in
docs/decisions.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltood.core.errors import ConfigError, DataError
from ltood.core.prior import GROUPS as CLASS_GROUPS
from ltood.core.prior import ClassPrior
from ltood.deployment.calibration import CalibrationRows, class_surprises
from ltood.deployment.promises import Promise, class_shares
from ltood.deployment.wording import Found, group_notes, rate_notes, set_notes
from ltood.ops.conformal import RankMap
from ltood.ops.guarantees import (
    benjamini_hochberg,
    guaranteed_rank,
    rows_for_confidence,
    rows_for_level,
)
from ltood.ops.mondrian import GroupedMap

#: P-values that are found at once, of all rows and classes; bounds memory, not results.
_PAIRS = 2**21


@dataclass(frozen=True)
class Judgement:
    """What a rule says about N rows.

    Attributes:
        p_values: Conformal p-values, [N] float64; small means OOD. None without a rule.
        is_ood: Verdicts, [N] bool; all false where they depend on the other rows of the call.
        thresholds: Largest score of each row's group that counts as ID, [N] float64; None where
            scores alone do not decide.
        sets: Classes that are not ruled out, [N, C] bool; None where no sets were asked for.
    """

    p_values: Tensor | None
    is_ood: Tensor
    thresholds: Tensor | None = None
    sets: Tensor | None = None


class Rule(ABC):
    """Decides new rows by calibration rows.

    Attributes:
        notes: What is promised, by how many rows, and on which assumption; lines.
    """

    notes: tuple[str, ...]

    @abstractmethod
    def judge(self, scores: Tensor, classes: Tensor, logits: Tensor) -> Judgement:
        """Judge rows with scores [N], most likely classes [N] and logits [N, C]."""


@dataclass(frozen=True, eq=False)
class RateRule(Rule):
    """OOD where the p-value of the score is at most the level of the row's group.

    Attributes:
        fitted: Scores to p-values.
        groups: Group of each class, [C]; None where there are no groups.
        levels: Level of each part of the groups, [P] float64, or of all rows, [1].
        fdr: Share of ID rows among those called OOD, where that is the promise.
        notes: See `Rule`.
    """

    fitted: RankMap | GroupedMap
    groups: Tensor | None
    levels: Tensor
    fdr: float | None
    notes: tuple[str, ...]

    @property
    def is_joint(self) -> bool:
        """Whether verdicts depend on all rows of a call, by `cutoff`."""
        return self.fdr is not None

    def judge(self, scores: Tensor, classes: Tensor, logits: Tensor) -> Judgement:
        """See `Rule`."""
        del logits
        if isinstance(self.fitted, RankMap):
            p_values, parts = self.fitted.p_values(scores), torch.zeros_like(classes)
        else:
            assert self.groups is not None
            own = self.groups[classes]
            p_values, parts = self.fitted.p_values(scores, own), self.fitted.parts[own]
        if self.fdr is not None:
            return Judgement(p_values, torch.zeros_like(p_values, dtype=torch.bool))
        return Judgement(p_values, p_values <= self.levels[parts], self._thresholds[parts])

    @cached_property
    def _thresholds(self) -> Tensor:
        """Largest score of each part that counts as ID, [P] float64."""
        if isinstance(self.fitted, GroupedMap):
            return self.fitted.thresholds(self.levels)
        return self.levels.new_tensor([self.fitted.threshold(float(self.levels))])

    @property
    def threshold(self) -> float | None:
        """Largest score that counts as ID; None where there is not one for all rows."""
        return float(self._thresholds) if len(self.levels) == 1 and not self.is_joint else None

    def cutoff(self, counts: Mapping[float, int]) -> float:
        """Largest p-value of a call that is OOD, given how many rows have each; 0 for none."""
        assert self.fdr is not None
        return benjamini_hochberg(counts.items(), self.fdr)


@dataclass(frozen=True, eq=False)
class SetRule(Rule):
    """OOD where every class is ruled out by the p-value of its softmax among rows of that class.

    Attributes:
        fitted: Surprises to p-values, with the classes as groups.
        level: Classes with a p-value of at most this are ruled out.
        notes: See `Rule`.
    """

    fitted: GroupedMap
    level: float
    notes: tuple[str, ...]

    def judge(self, scores: Tensor, classes: Tensor, logits: Tensor) -> Judgement:
        """See `Rule`."""
        del scores, classes
        blocks = torch.split(logits, max(_PAIRS // logits.shape[1], 1))
        p_values = torch.cat([self._p_values(class_surprises(rows)) for rows in blocks])
        sets = p_values > self.level
        return Judgement(p_values.amax(dim=1), ~sets.any(dim=1), sets=sets)

    def _p_values(self, surprises: Tensor) -> Tensor:
        """P-value of each class, [n, C]; most classes surprise more than any row of their own."""
        fitted = self.fitted
        p_values = (1 / (fitted.counts + 1).double()).expand(surprises.shape).clone()
        near = surprises <= fitted.scores[fitted.starts[1:] - 1]
        p_values[near] = fitted.p_values(surprises[near], near.nonzero()[:, 1])
        return p_values


def make_rule(promise: Promise, rows: CalibrationRows, description: Mapping[str, Any]) -> Rule:
    """The rule that keeps a promise.

    Args:
        promise: What was asked for.
        rows: Calibration rows of the detector.
        description: Description of the detector: class names and counts, calibration.

    Raises:
        ConfigError: If there are too few rows for the promise, or a class mix does not fit.
        DataError: If true classes are needed and not known.
    """
    if promise.sets is not None:
        return _set_rule(promise.sets, rows, description)
    if promise.class_mix is not None:
        return _weighted_rule(promise, rows, description)
    return _grouped_rule(promise, rows, description)


def _grouped_rule(
    promise: Promise, rows: CalibrationRows, description: Mapping[str, Any]
) -> RateRule:
    """Plain rows, all in one group or in the groups that were asked for."""
    if promise.confidence is None:
        needed = rows_for_level(promise.level)
    else:
        needed = rows_for_confidence(promise.level, promise.confidence)
    if len(rows) < needed:
        confidence = "" if promise.confidence is None else f" with confidence {promise.confidence}"
        raise ConfigError(
            f"the detector has {len(rows)} calibration rows, and a level of {promise.level}"
            f"{confidence} needs {needed}; calibrate with more held-out ID rows, or ask for less."
        )
    groups, names = groups_of_classes(promise.per_group, description)
    groups = groups.to(rows.classes.device)
    fitted = GroupedMap.fit(rows.scores, groups[rows.classes], len(names), minimum=needed)
    counts = fitted.counts.tolist()
    if promise.confidence is None:
        levels = [promise.level] * len(counts)
    else:
        ranks = [guaranteed_rank(num, promise.level, promise.confidence) for num in counts]
        levels = [rank / (num + 1) for rank, num in zip(ranks, counts, strict=True)]
    found = Found(len(rows), description["calibration"]["split"], promise)
    present = set(groups.tolist())  # With few classes, or equal counts, there may be no "few".
    merged = [
        [names[g] for g in _members(fitted.parts, part) if g in present]
        for part in range(len(counts))
    ]
    notes = group_notes(found, counts, levels, merged, needed)
    held = torch.tensor(levels, dtype=torch.float64, device=rows.scores.device)
    return RateRule(fitted, groups, held, promise.fdr, tuple(notes))


def _members(parts: Tensor, part: int) -> list[int]:
    """Numbers of the groups that make up a part."""
    return (parts == part).nonzero().flatten().tolist()


def groups_of_classes(
    per_group: str | None, description: Mapping[str, Any]
) -> tuple[Tensor, list[str]]:
    """Group of each class, [C], and the names of the groups in the order they are merged in.

    Single classes come in the order of their training rows, most first, so that rare classes
    are merged with rare ones.
    """
    names, counts = list(description["class_names"]), description["class_counts"]
    if per_group is None:
        return torch.zeros(len(names), dtype=torch.int64), ["all rows"]
    if per_group == "class_group":
        found = ClassPrior.of(counts).groups()
        own = [CLASS_GROUPS.index(name) for name in found.tolist()]
        return torch.tensor(own), list(CLASS_GROUPS)
    order = np.argsort(-np.asarray(counts), kind="stable")
    places = torch.tensor(np.argsort(order))
    return places, [names[number] for number in order.tolist()]


def _weighted_rule(
    promise: Promise, rows: CalibrationRows, description: Mapping[str, Any]
) -> RateRule:
    """Rows weighted by how much more frequent their class is at deployment."""
    _check_labelled(rows, "class_mix")
    assert promise.class_mix is not None
    names = description["class_names"]
    shares = torch.tensor(class_shares(promise.class_mix, names, description["class_counts"]))
    counts = torch.bincount(rows.labels, minlength=len(names)).cpu()
    if (absent := (shares > 0) & (counts == 0)).any():
        listed = _listed(names, absent)
        raise ConfigError(
            f"class_mix expects rows of {listed}, of which there are no calibration rows; give "
            "held-out rows of these classes, or use sets or per_group."
        )
    weights = torch.where(counts > 0, shares * len(rows) / counts.clamp(min=1), 0.0)
    # The class of a new row is not known: the largest weight is the safe one.
    fitted = RankMap.fit(
        rows.scores,
        weights=weights.to(rows.labels.device)[rows.labels],
        test_weight=float(weights.max()),
    )
    if fitted.smallest_p > promise.level:
        heaviest = int(weights.argmax())
        raise ConfigError(
            f"with this class_mix no p-value is below {fitted.smallest_p:.3g}, and the level is "
            f"{promise.level}: class {names[heaviest]!r} has {int(counts[heaviest])} calibration "
            f"rows and a share of {float(shares[heaviest]):.3g}; it needs about "
            f"{_rows_of_class(float(shares[heaviest]), promise.level)} rows."
        )
    found = Found(len(rows), description["calibration"]["split"], promise)
    level = torch.tensor([promise.level], dtype=torch.float64, device=rows.scores.device)
    return RateRule(fitted, None, level, None, tuple(rate_notes(found, fitted.smallest_p)))


def _rows_of_class(share: float, level: float) -> int:
    """Calibration rows a class needs so that its share lets p-values fall to a level."""
    # w / (n + w) <= level, where w = n * share / rows and the weights add up to n.
    return int(np.ceil(share * (1 / level - 1)))


def _set_rule(level: float, rows: CalibrationRows, description: Mapping[str, Any]) -> SetRule:
    _check_labelled(rows, "sets")
    names = description["class_names"]
    fitted = GroupedMap.fit(rows.surprises, rows.labels, len(names), minimum=0)
    needed = rows_for_level(level)
    if (few := fitted.counts < needed).any():
        raise ConfigError(
            f"sets of level {level} need {needed} calibration rows of every class, and "
            f"{_listed(names, few)} has fewer (at least {int(fitted.counts.min())}); such a class "
            "could never be ruled out. Calibrate with more rows, or choose a higher level."
        )
    found = Found(len(rows), description["calibration"]["split"], Promise(sets=level))
    notes = set_notes(found, fitted.counts.tolist())
    return SetRule(fitted, level, tuple(notes))


def _check_labelled(rows: CalibrationRows, option: str) -> None:
    if rows.num_unlabelled:
        raise DataError(
            f"{option} needs the true class of every calibration row, and {rows.num_unlabelled} of "
            f"{len(rows)} have none; calibrate with labelled rows."
        )


def _listed(names: Sequence[str], chosen: Tensor) -> str:
    """The first of the chosen classes, and how many more there are."""
    numbers = chosen.nonzero().flatten().tolist()
    more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
    return f"class {names[numbers[0]]!r}{more}"
