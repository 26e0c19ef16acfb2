"""RankFeat: energy of the last feature map without its largest rank-1 part.

Source: Song, Sebe and Wang, "RankFeat: Rank-1 Feature Removal for Out-of-distribution Detection",
NeurIPS 2022 (arXiv:2209.08590); code https://github.com/KingJamesSong/RankFeat. Extraction stores
the last feature map, the extra array maps/features. The paper scores the last block, the one
before it, or the mean of their logits; this is the last block.

Departures: singular vectors are exact and in float64, where the code may take power iterations from
a random start; a map of one place has rank 1, so that nothing is left of it and all rows tie.

Formula:
    M [P, D], the features of P places; s, u, v its largest singular value and their vectors
    h = mean over places of M - s u v'
    score = S(W h + b)
    S(z) = -T logsumexp(z / T) for energy, -max softmax(z / T) for msp,
           -max z for maxlogit
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.core.batches import Features
from ltood.core.limits import Positive
from ltood.core.settings import Settings
from ltood.ops.logits import Scorer
from ltood.ops.maps import MapMethod

#: Groups of extra arrays, for extraction; read without importing this file.
EXTRAS = ("maps",)


@dataclass(frozen=True)
class Config(Settings):
    """Settings of RankFeat.

    Attributes:
        scorer: What scores the logits: energy, msp or maxlogit.
        temperature: Divides the logits. Unitless, above 0.
    """

    scorer: Scorer = "energy"
    temperature: Positive = 1.0


class RankFeat(MapMethod[Config]):
    """Scores rows by what is left of their maps; nothing is learned but the head."""

    def _pooled(self, maps: Tensor) -> Features:
        return without_rank_one(maps)


def without_rank_one(maps: Tensor) -> Features:
    """Mean over places of maps without their largest rank-1 part, [N, D] float32.

    Args:
        maps: [N, P, D].
    """
    wide = maps.double()
    means = wide.mean(dim=1)
    places, width = wide.shape[1:]
    # A singular vector is an eigenvector of the smaller of the two products.
    if places <= width:
        vector = torch.linalg.eigh(wide @ wide.mT).eigenvectors[..., -1]
        part = (vector[:, None] @ wide)[:, 0] * vector.mean(dim=1, keepdim=True)
    else:
        vector = torch.linalg.eigh(wide.mT @ wide).eigenvectors[..., -1]
        part = (means * vector).sum(dim=1, keepdim=True) * vector
    left: Features = (means - part).float()
    return left


Entry = RankFeat
