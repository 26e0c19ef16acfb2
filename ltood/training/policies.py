"""Settings of the augmentations autoaugment and randaugment; no torch."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ltood.core.limits import Limits, NonNegative
from ltood.core.settings import Settings

Operations = Literal["torchvision", "patt"]
Fill = Literal["black", "grey", "mean"]


@dataclass(frozen=True)
class Policies(Settings):
    """How autoaugment and randaugment change an image.

    Attributes:
        operations: Whose operations and ranges: "torchvision", or those of "patt", the code of
            PATT, in Pillow's arithmetic (`ltood/training/augmentation/published.py`).
        fill: What comes in from outside of an image that is moved, sheared or turned: "black",
            "grey" (128), or the "mean" that the backbone subtracts, rounded to whole pixel values.
        steps: Operations that randaugment draws for each image.
        strength: Of them, as a share of the largest, 0 to 1.
        deviation: Standard deviation of the strength from one operation to the next; what
            leaves 0 to 1 is cut off.
        probability: Share of the drawn operations of randaugment that are carried out.
        jitter: Before randaugment, change brightness, contrast and saturation of every image, in
            random order, by a factor of up to 1 plus or minus this; 0 leaves them.
        cutout: Side of the black square that both end with, as a share of the width; 0 for none.
    """

    section: ClassVar[str] = "training.policies"

    operations: Operations = "torchvision"
    fill: Fill = "black"
    steps: Annotated[int, Limits(at_least=0, at_most=100)] = 2
    strength: Annotated[float, Limits(at_least=0, at_most=1)] = 0.3
    deviation: NonNegative = 0.0
    probability: Annotated[float, Limits(at_least=0, at_most=1)] = 1.0
    jitter: Annotated[float, Limits(at_least=0, at_most=1)] = 0.0
    cutout: Annotated[float, Limits(at_least=0, at_most=1)] = 0.5
