"""Base of methods that compare rows with the texts of the classes."""

from typing import Self

from torch import Tensor

from ltood.core.entry import C
from ltood.core.inputs import FitInputs, Need
from ltood.core.slots import Method
from ltood.ops.cosines import FrozenTexts, class_directions, frozen_texts


class TextMethod(Method[C]):
    """A method that keeps the directions of the classes, and of frozen texts beside them."""

    needs: frozenset[Need] = frozenset({Need.HEAD})
    dim_axis: tuple[str, int] = ("directions_", 1)
    classes_axis: tuple[str, int] = ("directions_", 0)

    directions_: Tensor
    frozen_directions_: Tensor
    frozen_copies_: Tensor

    #: Whether frozen texts count where the head has some.
    counts_frozen: bool = True

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the directions of the classes, and the frozen texts."""
        self.directions_ = class_directions(inputs)
        frozen = frozen_texts(inputs) if self.counts_frozen else None
        if frozen is not None:
            self.frozen_directions_, self.frozen_copies_ = frozen.directions, frozen.copies
        return self

    def frozen(self) -> FrozenTexts | None:
        """The frozen texts that count, or None."""
        if "frozen_directions_" not in vars(self):
            return None
        return FrozenTexts(self.frozen_directions_, self.frozen_copies_)
