"""Take published weights as they are: nothing is trained.

Source: no single paper; DICE, HIMPLoS and most detectors of the OOD literature are applied to
classifiers that somebody else trained, such as Huang, Liu, van der Maaten and Weinberger,
"Densely Connected Convolutional Networks", CVPR 2017 (arXiv:1608.06993).

The weights come from `training.weights` or, where the backbone can fetch its own, from its
settings. The checkpoint depends on nothing else but the number of detector nodes.
"""

from dataclasses import dataclass

from ltood.core.errors import ConfigError
from ltood.core.prior import ClassPrior
from ltood.recipes._base import FrozenRecipe


@dataclass(frozen=True)
class Config:
    """Settings of published weights.

    Attributes:
        num_extra: Detector nodes that the head of the file has beside the classes, such as the
            one of BinDisc.
    """

    num_extra: int = 0

    def __post_init__(self) -> None:
        """Check the range."""
        if self.num_extra < 0:
            raise ConfigError(
                f"recipes.pretrained.num_extra is {self.num_extra}; it counts detector nodes, so "
                "set it to 0 or more."
            )


class Pretrained(FrozenRecipe):
    """The backbone with the weights that it is given."""

    def __init__(self, config: Config, prior: ClassPrior) -> None:
        """Take settings and the class counts, which it does not use."""
        super().__init__(prior)
        self.config = config

    @property
    def num_extra(self) -> int:
        """Detector nodes that the file has."""
        return self.config.num_extra


Entry = Pretrained
