"""pNML: regret of a last layer that may fit each class to the row it scores.

Source: Bibas, Feder and Hassner, "Single Layer Predictive Normalized Maximum Likelihood for
Out-of-Distribution Detection", NeurIPS 2021 (arXiv:2110.09246). For every class a genie adds
the row with that label to the training set; the regret is the logarithm of the sum of the
genies' probabilities, in closed form from the eigenbasis of the training features. As in the
authors' code, features have unit length and are extended by a constant 1, the probabilities are
those that the head gives to the unit features, and the part outside the span of the training
rows counts with its square. Departures: the regret is in nats, not to the base C; eigenvalues
below 1e-12 of the largest count as zero; the square of the part outside the span is cut at 1,
beyond which the theorem of the paper gives no genie a way.

Formula:
    q = max(x_out, x_in / (1 + x_in)), at most 1
    x_in = x' (X'X)^+ x,  x_out = squared length of x outside of the span of X
    score = log sum_c p_c / (p_c + (1 - p_c) p_c^q)
    x = (1, f / |f|), X the same of all training rows
    p = softmax(W f / |f| + b)
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, pad

from ltood.core.batches import FeatureBatch, Features, FeatureSource, Scores
from ltood.core.crew import Crew, Seen
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.blas import add_gram, symmetric, times_upper
from ltood.ops.gaussian import is_triangular, triangular_whitening
from ltood.ops.statistics import WIDE_ROWS, prepared


@dataclass(frozen=True)
class Config(Settings):
    """PNML has no settings."""


class PNML(Method[Config]):
    """Scores rows by their regret."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the head; learn the map that gives training rows the identity as Gram matrix.

        Raises:
            DataError: If there is not one training row.
        """
        source, head = inputs.require_train(), inputs.require_head()
        if len(source) == 0:
            raise DataError("the training split has no rows; a method cannot learn from it.")
        seen = inputs.crew.summed(lambda: _gram(inputs.crew, source))
        assert seen is not None
        self.whitening_ = triangular_whitening(symmetric(seen[0]))
        self.weight_, self.bias_ = head.weight, head.bias
        return self

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in nats, 0 to log C; higher means more OOD."""
        whitening_map, triangular = self._map()
        weight, bias = self.learned("weight_").T, self.learned("bias_")
        scores = []
        # Blocks of rows stay in a processor's cache.
        for part in torch.split(batch.features, WIDE_ROWS):
            rows = with_constant(part)
            logits = torch.addmm(bias, rows[:, 1:].float(), weight).double()
            freedom = genie_freedom(rows, whitening_map, triangular)
            scores.append(regret(log_softmax(logits, dim=1), freedom).float())
        return torch.cat(scores)

    def _map(self) -> tuple[Tensor, bool]:
        """The map, and whether it is triangular."""
        whitening_map = self.learned("whitening_")
        return whitening_map, is_triangular(whitening_map)


def with_constant(features: Features) -> Tensor:
    """Unit features with a constant 1 in front, [N, D + 1] float64."""
    return pad(prepared(features, normalise=True), (1, 0), value=1.0)


def genie_freedom(rows: Tensor, whitening_map: Tensor, triangular: bool) -> Tensor:
    """How far a genie can move its prediction for each row, [N] float64 in 0 to 1.

    Args:
        rows: Unit features with their constant, [N, D + 1] float64.
        whitening_map: From `triangular_whitening` of the training Gram matrix, [D + 1, r].
        triangular: Whether it is triangular.
    """
    squares = (times_upper(rows, whitening_map) if triangular else rows @ whitening_map).square_()
    inside = squares.sum(dim=1)
    if triangular:
        return inside / (1 + inside)  # the training rows span everything
    # The columns are orthogonal; divided by their lengths they are a basis of the span.
    outside = rows.square().sum(dim=1) - squares @ whitening_map.square().sum(dim=0).reciprocal()
    return torch.maximum(outside, inside / (1 + inside)).clamp(0, 1)


def regret(log_probabilities: Tensor, freedom: Tensor) -> Tensor:
    """Logarithm of the sum over classes of p / (p + p^f (1 - p)), [N].

    Written as log(1 + what the genies add), which keeps the digits of regrets far below the
    rounding of 1 and divides by no vanishing probability.

    Args:
        log_probabilities: log p, [N, C] float64.
        freedom: f, [N] in 0 to 1.
    """
    exponent = freedom[:, None]
    others = -torch.expm1(log_probabilities)
    gained = -others * torch.expm1(exponent * log_probabilities)
    added = gained / (1 + others * torch.exp((exponent - 1) * log_probabilities))
    return torch.log1p(added.sum(dim=1))


def _gram(crew: Crew, source: FeatureSource) -> Seen:
    """X'X of the rows that this process reads, [D + 1, D + 1] float64."""
    gram: Tensor | None = None
    for batch in crew.batches(source, ("features",)):
        for part in torch.split(batch.features, WIDE_ROWS):
            rows = with_constant(part)
            if gram is None:
                gram = rows.new_zeros(rows.shape[1], rows.shape[1])
            add_gram(gram, rows)
    return None if gram is None else (gram,)


Entry = PNML
