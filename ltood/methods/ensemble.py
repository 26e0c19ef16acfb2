"""Ensemble: conformal p-values of several detectors, fused into one statistic per row.

Source: Magesh, Veeravalli, Roy and Jha, "Principled OOD Detection via Multiple Testing",
JMLR 2023 (arXiv:2206.09522), who test one row by p-values of several statistics. Departure: no
correction for how members depend on one another. Instead a second conformal map, on rows that
neither members nor first maps have seen, makes the level exact whatever the dependence.

Held-out ID rows are cut in two by a keyed hash of their ids, class by class. Part A maps the
score of each member to p-values and leaves members out, part B maps the fused statistic to a
p-value; training rows and test rows do neither. docs/results/ensembles.md says where the default
members, their combination and the screen come from.

Formula:
    p_m = (1 + #{rows of A with score of member m >= s_m}) / (rows of A + 1)
    score = mean_m (s_m - mean of A) / (standard deviation of A) for z_mean, or
        -log min_i p_(i) M / i for simes, p_(1) the smallest of the M members, and so on
    decision: p = (1 + #{rows of B with score >= score}) / (rows of B + 1)
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import torch
from torch import Tensor

from ltood.core.arrays import Rows
from ltood.core.batches import FeatureBatch, FeatureSource, Ids, Labels, Scores
from ltood.core.errors import ConfigError, DataError, NotFittedError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Limits, Seed
from ltood.core.members import Member
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.conformal import RankMap
from ltood.ops.fusion import P_VALUE_RULES, mean_softmax, mean_standardised
from ltood.ops.held_methods import HeldMethod, score_together, under
from ltood.ops.held_out import first_part, ids_and_strata
from ltood.ops.member_maps import MemberMaps, group_of_classes
from ltood.ops.screening import error_aurocs, kept, wrong_rows

#: Members by setting; read without importing this file, so that their code counts with a stage's.
HOLDS = {
    "members": (
        "mahalanobis",
        "class_gaussian",
        "relative_mahalanobis",
        "cosine",
        {"method": "vim", "calibrator": "logit_adjustment", "name": "vim"},
        {"method": "fdbd", "calibrator": "logit_adjustment", "name": "fdbd"},
        {"method": "scale", "calibrator": "logit_adjustment", "name": "scale"},
    )
}

Rule = Literal[
    "simes", "min_p", "fisher", "stouffer", "cauchy", "top_half", "z_mean", "softmax_mean"
]


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the ensemble.

    Attributes:
        members: Methods to combine; each its name or a mapping with method and any of settings,
            calibrator, calibrator_settings, normaliser, normaliser_settings, store and name.
            What is not set has the default of that entry, whatever params.yaml says of it.
        combine: How members become one statistic. z_mean is the mean of standardised scores. Of
            p-values there are simes, min_p, fisher, stouffer, cauchy and top_half (mean normal
            score of the rarer half); softmax_mean is the mean softmax of the members' logits.
        groups: Maps for all rows ("none"), or for each group of predicted classes, many, medium
            and few training rows ("class_group"); groups with few held-out rows are merged.
        share: Share of the held-out rows for the maps of members, above 0 up to 1; the others
            are for decisions.
        two_sided: Whether a row that a member scores unusually low counts as rare as well.
        tail: Whether rows beyond all held-out ones are ranked by an exponential tail. Without it
            they tie, and no increasing map of a member's scores changes anything.
        screen: Least probability that a member scores a held-out row that the head misclassifies
            above one that it gets right; members below it are left out, unless all are. 0 keeps
            all. Judged on the rows for the maps where these have 20 labelled rows of either kind.
        seed: Of the cut of the held-out rows, 0 or more.
    """

    members: tuple[Member, ...] = HOLDS["members"]  # type: ignore[assignment]
    combine: Rule = "z_mean"
    groups: Literal["none", "class_group"] = "none"
    share: Annotated[float, Limits(above=0, at_most=1)] = 0.5
    two_sided: bool = False
    tail: bool = True
    screen: Annotated[float, Limits(at_least=0, at_most=1)] = 0.55
    seed: Seed = 0

    def check(self) -> None:
        """Refuse members that do not work, and settings without effect."""
        if not self.members:
            raise self.fault("members", "is empty; name at least one method.")
        titles = [member.title for member in self.members]
        for place, member in enumerate(self.members):
            if titles.count(titles[place]) > 1:
                raise self.fault(
                    "members", f"names {titles[place]} twice; give one of them a name of its own."
                )
            try:
                member.build()
            except ConfigError as error:
                raise self.fault("members", f"has {titles[place]}: {error}") from error
        for key, usual in {"groups": "none", "two_sided": False, "tail": True}.items():
            if self.combine not in P_VALUE_RULES and getattr(self, key) != usual:
                raise self.fault(
                    key,
                    f"is {getattr(self, key)}, which has no effect with combine: {self.combine}, "
                    f"since that takes no p-values; leave it at {usual} or change combine.",
                )

    def in_full(self) -> dict[str, Any]:
        """Plain values with all settings of the members, as results record them."""
        names = ("combine", "groups", "share", "two_sided", "tail", "screen", "seed")
        members = [member.in_full() for member in self.members]
        return {"members": members, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What is known of V held-out rows.

    Attributes:
        ids: Ids, [V].
        strata: Classes by which they are cut, [V].
        scores: Scores of all members, [K, V] float64.
        groups: Groups of the predicted classes, [V], or None.
        wrong: Whether the head misclassifies them, [V]; see `wrong_rows`.
    """

    ids: Ids
    strata: Labels
    scores: Tensor
    groups: Tensor | None
    wrong: Tensor


class Ensemble(Method[Config]):
    """Scores rows by how rare they are for several methods together."""

    learned_ids_: Tensor
    error_aurocs_: Tensor
    kept_: Tensor
    groups_: Tensor
    _held: list[HeldMethod]
    _maps: MemberMaps | None = None
    _decision: RankMap | None = None

    def _configure(self) -> None:
        """Build the members; what they need and read is needed and read."""
        self._held = self._built()
        needs, arrays = {Need.VAL}, set[str]()
        for held in self._held:
            needs |= held.needs
            arrays |= held.arrays
        if self.config.groups != "none":
            needs |= {Need.HEAD, Need.PRIOR}
            arrays |= {"logits"}
        if self.config.combine == "softmax_mean" and "logits" in arrays:
            needs |= {Need.HEAD}
        self.needs, self.arrays = frozenset(needs), tuple(sorted(arrays))

    def _built(self) -> list[HeldMethod]:
        logits = self.config.combine == "softmax_mean"
        return [HeldMethod(member, reads_logits=logits) for member in self.config.members]

    def _fit(self, inputs: FitInputs) -> Self:
        """Fit the members, then both maps, with one pass over the held-out rows.

        Raises:
            DataError: If no held-out row is left for the maps.
        """
        for held in self._held:
            held.fit(inputs)
        if self.config.groups != "none":
            device = inputs.require_head().weight.device
            self.groups_ = group_of_classes(inputs.require_prior()).to(device)
        rows = self._held_out(inputs.require_val())
        first = first_part(rows.ids, rows.strata, self.config.share, self.config.seed)
        if not first.any():
            raise DataError(
                f"methods.ensemble.share is {self.config.share}, which leaves none of "
                f"{len(first)} held-out rows for the maps of members; raise it."
            )
        for held in self._held:  # Of what a member has learned from no promise can be made.
            first = first | held.learned_rows(rows.ids, rows.strata)
        # Rows of one id stay together, whatever the hash says.
        self.learned_ids_ = torch.unique(rows.ids[first])
        first = self.learned_rows(rows.ids, rows.strata)
        judged = first & (rows.wrong >= 0)
        self.error_aurocs_ = error_aurocs(rows.scores[:, judged], rows.wrong[judged] > 0)
        self.kept_ = kept(self.error_aurocs_, self.config.screen)
        scores, groups = rows.scores[self.kept_], rows.groups
        self._maps = MemberMaps.fit(scores[:, first], None if groups is None else groups[first])
        if first.all():
            return self
        if self.config.combine == "softmax_mean":
            fused = self._fused_again(inputs.require_val())[~first]
        else:
            fused = self._fused(scores[:, ~first], None if groups is None else groups[~first])
        self._decision = RankMap.fit(fused)
        return self

    def _held_out(self, source: FeatureSource) -> HeldOut:
        """What the maps rest on, of all held-out rows."""
        ids, strata = ids_and_strata(source)
        scores, groups, wrong = [], [], []
        for batch in source.batches(arrays=sorted({*self.arrays, "labels", "logits"})):
            with torch.inference_mode():
                scores.append(score_together(self._held, batch))
                groups.append(self._groups(batch))
                wrong.append(wrong_rows(batch))
        present = [part for part in groups if part is not None]
        return HeldOut(
            ids,
            strata,
            torch.cat(scores, dim=1).double(),
            torch.cat(present) if present else None,
            torch.cat(wrong),
        )

    def _fused_again(self, source: FeatureSource) -> Tensor:
        """Fused statistic of all held-out rows, read once more, [V] float32."""
        with torch.inference_mode():
            parts = [self._score(batch) for batch in source.batches(arrays=self.arrays)]
        return torch.cat(parts)

    def _members(self) -> dict[str, HeldMethod]:
        """Members that were not left out, by what they are called."""
        titles = [member.title for member in self.config.members]
        flags = self.learned("kept_").tolist()
        return {
            title: held for title, held, flag in zip(titles, self._held, flags, strict=True) if flag
        }

    def _groups(self, batch: FeatureBatch) -> Tensor | None:
        """Group of the predicted class of each row, [N]; None where there are no groups."""
        if self.config.groups == "none":
            return None
        groups: Tensor = self.learned("groups_")[batch.logits.argmax(dim=1)]
        return groups

    def _fused(self, scores: Tensor, groups: Tensor | None) -> Tensor:
        """Fused statistic, [N] float32; higher means more OOD.

        Args:
            scores: Scores of the members, [K, N] float64.
            groups: Groups of the rows, [N], or None.
        """
        maps, rule = self._fitted_maps(), self.config.combine
        if rule == "z_mean":
            return mean_standardised(scores, maps.means, maps.deviations).float()
        log_p = maps.log_p(scores, groups, two_sided=self.config.two_sided, tail=self.config.tail)
        return P_VALUE_RULES[rule](log_p).float()

    def _fitted_maps(self) -> MemberMaps:
        self.learned("kept_")
        assert self._maps is not None
        return self._maps

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        members = self._members().values()
        if self.config.combine == "softmax_mean":
            logits = torch.stack([held.seen(batch).logits for held in members])
            return mean_softmax(logits.double().log_softmax(dim=2)).float()
        return self._fused(score_together(members, batch).double(), self._groups(batch))

    def explain(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """Conformal p-value of each member, `p_<name>`, [N] float64; small means OOD."""
        members, maps = self._members(), self._fitted_maps()
        scores = score_together(members.values(), batch).double()
        found = maps.p_values(scores, self._groups(batch), two_sided=self.config.two_sided)
        return {f"p_{title}": row for title, row in zip(members, found, strict=True)}

    def p_values(
        self,
        features: FeatureBatch | Rows | None = None,
        *,
        logits: Rows | None = None,
        local: Rows | None = None,
    ) -> Any:  # noqa: ANN401 - the kind of array that was given
        """Conformal p-value of the ensemble for each row, [N] float64; small means OOD.

        A new ID row has a p-value of u or less with probability u or less, whatever the members
        have in common: the map rests on held-out rows that nothing was learned from.

        Args:
            features: As `score` takes them.
            logits: As `score` takes them.
            local: As `score` takes them.

        Raises:
            NotFittedError: If `fit` has not run, or has left no held-out rows for decisions.
        """
        self._fitted_maps()
        if self._decision is None:
            raise NotFittedError(
                "ensemble has no held-out rows for decisions: set share below 1, or fit it with "
                "more of them."
            )
        score: Callable[..., Any] = self.score
        found = score(features, logits=logits, local=local)
        if isinstance(found, Tensor):
            return self._decision.p_values(found).to(found.device)
        return self._decision.p_values(torch.from_numpy(found)).cpu().numpy()

    def learned_rows(self, ids: Ids, labels: Labels) -> Tensor:
        """Held-out rows whose scores are in the maps of members, [N] bool."""
        del labels
        known = self.learned("learned_ids_")
        return torch.isin(ids, known.to(ids.device))

    def derived(self) -> dict[str, float]:
        """Members that were not left out, and held-out rows for maps and for decisions."""
        if self._maps is None:
            return {}
        rows = 0 if self._decision is None else len(self._decision.scores)
        return {
            "members": float(self.kept_.sum()),
            "map_rows": float(self._maps.rows),
            "decision_rows": float(rows),
        }

    def findings(self) -> dict[str, Any]:
        """What the screen said of each member, and which groups have a map of their own."""
        if self._maps is None:
            return {}
        titles = [member.title for member in self.config.members]
        columns = (titles, self.error_aurocs_.tolist(), self.kept_.tolist())
        members = [
            {"member": title, "error_auroc": None if math.isnan(auroc) else auroc, "kept": flag}
            for title, auroc, flag in zip(*columns, strict=True)
        ]
        groups = {} if self.config.groups == "none" else {"groups": self._maps.parts()}
        return {"members": members, **groups}

    def state(self) -> dict[str, Tensor]:
        """Learned tensors of members that were not left out, and of maps."""
        found = super().state()
        if self._maps is None:
            return found
        for place, held in enumerate(self._held):
            if self.kept_[place]:
                found |= {f"member{place}.{name}": value for name, value in held.state().items()}
        found |= {f"maps.{name}": value for name, value in self._maps.state().items()}
        if self._decision is not None:
            found |= {f"decision.{k}": value for k, value in self._decision.state().items()}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> Self:
        """Load what `state()` of an ensemble of the same settings gave."""
        super().restore({name: value for name, value in state.items() if name.endswith("_")})
        for place, held in enumerate(self._held):
            if self.kept_[place]:
                held.restore(under(f"member{place}", state))
        self._maps = MemberMaps.restore(under("maps", state))
        decision = under("decision", state)
        self._decision = RankMap.restore(decision) if decision else None
        return self

    def _forget(self) -> None:
        """Members are built anew: those of the last fit may be shared with others."""
        learned = ("learned_ids_", "error_aurocs_", "kept_", "groups_", "_maps", "_decision")
        for name in (*learned, "_head", "_widths"):
            vars(self).pop(name, None)
        self._held = self._built()

    def _learned_widths(self) -> dict[str, int]:
        widths: dict[str, int] = {}
        for held in self._held:
            widths |= held.widths()
        return widths


Entry = Ensemble
