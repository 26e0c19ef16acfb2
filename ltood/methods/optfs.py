"""OptFS: activations times the factor of their size that suits training rows best.

Source: Zhao, Xu, Gupta, Asthana, Zheng and Gould, "Towards Optimal Feature-Shaping Methods for
Out-of-Distribution Detection", ICLR 2024 (arXiv:2402.00865), in closed form from ID rows; their
code is the repository Qinyu-Allen-Zhao/OptFSOOD. `scorer: energy` is their variant (E), as it is
mostly quoted; `logit` is (V), what their command runs when nothing is given. Departures: the
bins are exactly as many as are asked for, where steps of rounded width give one more at times;
one pass over the rows fills all bins; among more than 2^26 training activations the ends
of the range are those of a histogram, at most one part in 2^11 off.

Formula:
    bins of equal width from the low to the high percentile of all training activations
    t_k = mean over training rows of sum of w_yd f_d over f_d in bin k,  y = argmax z
    t = norm * t / |t|;  g_d = t_k f_d for f_d in bin k, 0 outside of all bins
    score = -logsumexp(W g + b) for energy, -w_y g for logit
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import linear

from ltood.core.batches import FeatureBatch, Features, FeatureSource, Scores
from ltood.core.crew import Crew
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Limits, Positive
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.logits import energy
from ltood.ops.statistics import WIDE_ROWS, activations


@dataclass(frozen=True)
class Config(Settings):
    """Settings of OptFS.

    Attributes:
        bins: Bins of equal width, each with a factor of its own; 1 or more.
        tail: Share of the training activations left out at either end of the range, 0 or more
            and below 0.5.
        norm: Length of the vector of all factors, above 0. It acts as an inverse temperature of
            the energy.
        scorer: What scores the shaped features: the energy of their logits, or the logit of
            the class that the unshaped ones predict, without its bias.
    """

    bins: Annotated[int, Limits(at_least=1, at_most=100_000)] = 100
    tail: Annotated[float, Limits(at_least=0, below=0.5)] = 0.001
    norm: Positive = 1000.0
    scorer: Literal["energy", "logit"] = "energy"


class OptFS(Method[Config]):
    """Scores rows after multiplying each activation by the factor of its bin."""

    needs: frozenset[Need] = frozenset({Need.HEAD, Need.TRAIN})
    arrays: tuple[str, ...] = ("features", "logits")

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the range and the factors, in two passes; memory does not grow with the rows."""
        head, config = inputs.require_head(), self.config
        self.weight_, self.bias_ = head.weight, head.bias
        found = activations(inputs)
        ends = [found.percentile(100 * share) for share in (config.tail, 1 - config.tail)]
        self.range_ = torch.tensor(ends, dtype=torch.float64, device=head.weight.device)
        key = ("optfs contributions", config.bins, config.tail)
        contributions = inputs.cached(key, lambda: self._contributions(inputs))
        length = torch.linalg.vector_norm(contributions)
        if not length > 0:
            raise DataError(
                "optfs found no activation of the training rows that adds to the logit of their "
                "predicted class within its bins; lower methods.optfs.tail, or use another method."
            )
        self.factors_ = (config.norm * contributions / length).float()
        return self

    def _contributions(self, inputs: FitInputs) -> Tensor:
        """Mean contribution of each bin to the largest logit, [bins] float64."""
        source = inputs.require_train()
        return inputs.crew.total(lambda: self._total(inputs.crew, source)) / len(source)

    def _total(self, crew: Crew, source: FeatureSource) -> Tensor:
        """Contributions of each bin of the rows that this process reads, [bins] float64."""
        weight = self.weight_
        total = weight.new_zeros(self.config.bins, dtype=torch.float64)
        for batch in crew.batches(source, ("features", "logits")):
            predictions = batch.logits.argmax(dim=1)
            blocks = zip(
                torch.split(batch.features, WIDE_ROWS),
                torch.split(predictions, WIDE_ROWS),
                strict=True,
            )
            for rows, classes in blocks:
                bins, is_inside = self._bins(rows)
                parts = (weight[classes] * rows).double()[is_inside]
                # bincount with weights adds in any order on a GPU, which torch refuses.
                total += torch.zeros_like(total).index_add_(0, bins[is_inside], parts)
        return total

    def _bins(self, rows: Features) -> tuple[Tensor, Tensor]:
        """Bin of each activation, and whether it is within the range, [n, D] each."""
        low, high = self.learned("range_").tolist()
        last = self.config.bins - 1
        # In float64, so that no activation changes its bin with the way that it is computed.
        wide = rows.double()
        is_inside = (wide >= low) & (wide < high)
        steps = (wide - low) * (self.config.bins / max(high - low, torch.finfo().tiny))
        return steps.clamp_(0, last).long(), is_inside

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        weight = self.learned("weight_")
        predictions = batch.logits.argmax(dim=1)
        blocks = zip(
            torch.split(batch.features, WIDE_ROWS), torch.split(predictions, WIDE_ROWS), strict=True
        )
        scores = [weight.new_zeros(0)]
        for rows, classes in blocks:
            shaped = self._shaped(rows)
            if self.config.scorer == "logit":
                scores.append(-(weight[classes] * shaped).sum(dim=1))
            else:
                scores.append(energy(linear(shaped, weight, self.learned("bias_"))))
        return torch.cat(scores)

    def _shaped(self, rows: Features) -> Features:
        """Activations times the factors of their bins, [n, D] float32."""
        bins, is_inside = self._bins(rows)
        return torch.where(is_inside, rows * self.learned("factors_")[bins], 0)

    def derived(self) -> dict[str, float]:
        """The range that the bins cover."""
        low, high = self.learned("range_").tolist()
        return {"low": low, "high": high}


Entry = OptFS
