"""Nearest class mean: Euclidean distance to the closest class mean.

Source: Mensink, Verbeek, Perronnin and Csurka, "Distance-Based Image Classification:
Generalizing to New Classes at Near-Zero Cost", TPAMI 2013, whose classifier picks the class
with the nearest mean. It is the Mahalanobis distance of Lee et al. (NeurIPS 2018) with the
identity as covariance. Departures: no learned metric, the distance itself is the score, and
classes without training rows are left out.

Formula:
    score = min_c |f - m_c|
"""

from dataclasses import dataclass
from typing import Self

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.gaussian import min_squared_distance
from ltood.ops.statistics import class_statistics, prepared


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the nearest class mean.

    Attributes:
        normalise: Divide features by their L2 norm before everything else.
    """

    normalise: bool = False


class NearestClassMean(Method[Config]):
    """Scores rows by their distance to the nearest class mean."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("centre_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the means of the classes with rows."""
        classes = class_statistics(inputs, normalise=self.config.normalise)
        # Distances come from differences of squares, which lose digits far from the origin.
        self.centre_ = classes.mean
        self.means_ = classes.means[classes.present] - classes.mean
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in units of features, at least 0; higher means more OOD."""
        centred = prepared(batch.features, self.config.normalise) - self.learned("centre_")
        return min_squared_distance(centred, self.learned("means_")).sqrt().float()


Entry = NearestClassMean
