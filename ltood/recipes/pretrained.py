"""Take published weights as they are: nothing is trained.

Source: no single paper; DICE, HIMPLoS and most detectors of the OOD literature are applied to
classifiers that others trained, such as Huang, Liu, van der Maaten and Weinberger,
"Densely Connected Convolutional Networks", CVPR 2017 (arXiv:1608.06993).

The weights come from `training.weights` or, where the backbone can fetch its own, from its
settings. The checkpoint depends on nothing else but the number of detector nodes.
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
    """

    num_aux_outputs: Annotated[int, Limits(at_least=0, at_most=10_000)] = 0


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


Entry = Pretrained
