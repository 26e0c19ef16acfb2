"""ASH before pooling: drop most activations of the last feature map, then take the mean.

Source: Djurisic, Bozanic, Ashok and Liu, "Extremely Simple Activation Shaping for
Out-of-Distribution Detection", ICLR 2023 (arXiv:2209.09858). Extraction stores the last feature
map, the extra array maps/features. The percentile counts over all channels and places of a row, as
the authors' function does where it is given maps.

Departures: their networks shape the mean over places, as method ash does. Besides, those of ash.

Formula:
    m [P D], all activations of a map in one row
    t = smallest of the P D - round(P D percentile / 100) largest of m
    g = m where m >= t, else 0
    p:  a = g
    b:  a = sum(m) / #{g != 0} where g != 0, else 0
    s:  a = g exp(r), r = sum(m) / sum(g) of positive numbers
    h = mean over places of a
    score = S(W h + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

from dataclasses import dataclass

from torch import Tensor

from ltood.core.batches import Features
from ltood.core.limits import Percent, Positive
from ltood.core.settings import Settings
from ltood.ops.logits import Scorer
from ltood.ops.maps import MapMethod
from ltood.ops.shaping import Variant, shape_largest

#: Groups of extra arrays, for extraction; read without importing this file.
EXTRAS = ("maps",)


@dataclass(frozen=True)
class Config(Settings):
    """Settings of ASH before pooling.

    Attributes:
        variant: What becomes of the activations that stay: p leaves them, b sets each to
            the map's sum over their number, s multiplies them by the exponential of the
            map's sum over theirs.
        percentile: Percent of each map's activations to drop, 0 to 100.
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    variant: Variant = "s"
    percentile: Percent = 90.0
    scorer: Scorer = "energy"
    temperature: Positive = 1.0


class ASHMap(MapMethod[Config]):
    """Scores rows after shaping their maps; nothing is learned but the head."""

    def _pooled(self, maps: Tensor) -> Features:
        config = self.config
        shaped = shape_largest(maps.flatten(1), config.variant, config.percentile)
        return shaped.reshape(maps.shape).mean(dim=1)


Entry = ASHMap
