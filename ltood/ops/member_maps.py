"""Maps from the scores of several methods to conformal p-values, one for each, or each group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ltood.core.prior import GROUPS, ClassPrior
from ltood.ops.conformal import RankMap
from ltood.ops.fusion import below_one
from ltood.ops.mondrian import GroupedMap

#: Fewest held-out rows of a group with a map of its own: p-values then go down to 1 %.
FEWEST_ROWS = 99


@dataclass(frozen=True, eq=False)
class MemberMaps:
    """One map for each of K members.

    Attributes:
        maps: Maps, all with groups or all without.
        means: Mean score of each member over the calibration rows, [K] float64.
        deviations: Standard deviation of these scores, [K] float64.
    """

    maps: Sequence[RankMap | GroupedMap]
    means: Tensor
    deviations: Tensor

    @classmethod
    def fit(cls, scores: Tensor, groups: Tensor | None) -> Self:
        """Take scores of calibration rows.

        Args:
            scores: [K, n] float64.
            groups: Group of each row, [n], places in `GROUPS`; None for one map of all rows.

        Raises:
            DataError: If there are no rows or a score is not finite.
        """
        maps: list[RankMap | GroupedMap] = []
        for row in scores:
            if groups is None:
                maps.append(RankMap.fit(row))
            else:
                maps.append(GroupedMap.fit(row, groups, len(GROUPS), minimum=FEWEST_ROWS))
        return cls(maps, scores.mean(dim=1), scores.std(dim=1, correction=0))

    @property
    def rows(self) -> int:
        """Calibration rows n."""
        return len(self.maps[0].scores)

    def p_values(self, scores: Tensor, groups: Tensor | None, *, two_sided: bool) -> Tensor:
        """Conformal p-values, [K, N] float64, of scores [K, N] and groups [N] of new rows."""
        found = []
        for one, row in zip(self.maps, scores, strict=True):
            if isinstance(one, GroupedMap):
                assert groups is not None
                found.append(one.p_values(row, groups, two_sided=two_sided))
            else:
                found.append(one.p_values(row, two_sided=two_sided))
        return torch.stack(found)

    def log_p(
        self, scores: Tensor, groups: Tensor | None, *, two_sided: bool, tail: bool
    ) -> Tensor:
        """Logarithms of p-values below 1 for ranking, [K, N] float64.

        Args:
            scores: Scores of new rows, [K, N].
            groups: Their groups, [N], where the maps have groups.
            two_sided: Whether rows that score unusually low are rare as well.
            tail: Whether they fall further beyond the calibration scores.
        """
        if not tail:
            found = self.p_values(scores, groups, two_sided=two_sided).log()
            return below_one(found, self.rows)
        rows = []
        for one, row in zip(self.maps, scores, strict=True):
            if isinstance(one, GroupedMap):
                assert groups is not None
                rows.append(one.log_p(row, groups, two_sided=two_sided))
            else:
                rows.append(one.log_p(row, two_sided=two_sided))
        return below_one(torch.stack(rows), self.rows)

    def parts(self) -> list[dict[str, Any]]:
        """Groups that share a map, and its calibration rows; none where there are no groups."""
        first = self.maps[0]
        if not isinstance(first, GroupedMap):
            return []
        return [
            {
                "groups": [
                    name
                    for name, own in zip(GROUPS, first.parts.tolist(), strict=True)
                    if own == part
                ],
                "rows": rows,
            }
            for part, rows in enumerate(first.counts.tolist())
        ]

    def state(self) -> dict[str, Tensor]:
        """Learned tensors by name."""
        found = {"means": self.means, "deviations": self.deviations}
        for place, one in enumerate(self.maps):
            found |= {f"{place}.{name}": tensor for name, tensor in one.state().items()}
        return found

    @classmethod
    def restore(cls, state: Mapping[str, Tensor]) -> Self:
        """The maps whose `state()` is given."""
        maps: list[RankMap | GroupedMap] = []
        while own := {
            name.partition(".")[2]: tensor
            for name, tensor in state.items()
            if name.partition(".")[0] == str(len(maps))
        }:
            maps.append(GroupedMap.restore(own) if "parts" in own else RankMap.restore(own))
        return cls(maps, state["means"], state["deviations"])


def group_of_classes(prior: ClassPrior) -> Tensor:
    """Place in `GROUPS` of each class, [C] int64."""
    places = {name: place for place, name in enumerate(map(str, GROUPS))}
    return torch.tensor([places[name] for name in prior.groups().tolist()])
