"""Take published weights as they are: nothing is trained.

Source: no single paper; DICE, HIMPLoS and most detectors of the OOD literature are applied to
classifiers that others trained, such as Huang, Liu, van der Maaten and Weinberger,
"Densely Connected Convolutional Networks", CVPR 2017 (arXiv:1608.06993).

The weights come from `training.weights` or, where the backbone can fetch its own, from its
settings. The checkpoint depends on nothing else but the numbers of outputs.
"""

from dataclasses import dataclass
from typing import Annotated

from ltood.core.limits import Limits
from ltood.core.prior import ClassPrior
from ltood.core.settings import Settings
from ltood.recipes._base import FrozenRecipe


@dataclass(frozen=True)
class Config(Settings):
    """Settings of published weights.

    Attributes:
        num_aux_outputs: Auxiliary outputs that the head in the file has, such as BinDisc's
            detector node.
        outlier_classes: How many of them, the last ones, are classes of outliers, such as COCL's.
    """

    num_aux_outputs: Annotated[int, Limits(at_least=0, at_most=10_000)] = 0
    outlier_classes: Annotated[int, Limits(at_least=0, at_most=10_000)] = 0

    def check(self) -> None:
        """Refuse more classes of outliers than outputs."""
        if self.outlier_classes > self.num_aux_outputs:
            raise self.fault(
                "outlier_classes",
                f"is {self.outlier_classes}, but num_aux_outputs is {self.num_aux_outputs}; "
                "classes of outliers are auxiliary outputs too, so name at most as many.",
            )


class Pretrained(FrozenRecipe):
    """The backbone with the weights that it is given."""

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and the class counts, which it does not use."""
        super().__init__(prior)
        self.config = config

    @property
    def num_aux_outputs(self) -> int:
        """Detector nodes that the file has."""
        return self.config.num_aux_outputs

    @property
    def num_outlier_classes(self) -> int:
        """Classes of outliers that the file has."""
        return self.config.outlier_classes


Entry = Pretrained
