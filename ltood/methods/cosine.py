"""Cosine: cosine to the closest class prototype.

Source: Techapanurak, Suganuma and Okatani, "Hyperparameter-Free Out-of-Distribution Detection
Using Cosine Similarity", ACCV 2020 (arXiv:1905.10628), whose score is the largest cosine
between a feature and a class vector. Departures: no training with a cosine softmax, so the
class vectors are the class means of the training features; classes without training rows are
left out; `centre` is ours.

Formula:
    score = -max_c cos(f, m_c)
    m_c mean training feature of class c; with centre both less the mean of all rows
"""

from dataclasses import dataclass
from typing import Self

from torch.nn.functional import normalize

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.lengths import unit
from ltood.ops.statistics import class_statistics


@dataclass(frozen=True)
class Config(Settings):
    """Settings of the cosine score.

    Attributes:
        centre: Subtract the mean of all training rows from features and prototypes first.
            It helps where all features share a large common part, as after a ReLU.
    """

    centre: bool = False


class Cosine(Method[Config]):
    """Scores rows by the negative of their largest cosine to a class mean."""

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("centre_", 0)

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the directions of the means of the classes with rows.

        Raises:
            DataError: If only one class has rows and `centre` is set.
        """
        classes = class_statistics(inputs)
        means = classes.means[classes.present]
        if self.config.centre and len(means) == 1:
            raise DataError(
                "only one class has training rows, so its mean is the mean of all rows and has "
                "no direction once centred; set methods.cosine.centre to false."
            )
        # Zero where nothing is subtracted, so that scoring is the same either way.
        centre = classes.mean * float(self.config.centre)
        self.centre_ = centre.float()
        self.prototypes_ = normalize(means - centre, dim=1).float()
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-1, 1]; 0 for a zero feature; higher means more OOD."""
        prototypes = self.learned("prototypes_")
        directions = unit(batch.features - self.learned("centre_"))
        return -(directions @ prototypes.T).amax(dim=1)


Entry = Cosine
