"""GROOD: nearest training gradient of a prototype loss with one prototype for outliers.

Source: ElAraby, Sahoo, Pequignot, Novello and Paull, "GROOD: GRadient-Aware Out-of-Distribution
Detection", TMLR 2025 (arXiv:2312.14427); their code is in OpenOOD. A row is classified by its
distances to the class means and to one prototype of outliers; the score is how far the gradient
of the cross entropy by that prototype is from those of the training rows. The gradient is known in
closed form and needs no backward pass. Departures: the prototype comes from features alone, where
the authors mix images' early maps or run noise through the network: see `prototype`; the search
is exact, theirs visits 4 cells; `k` counts, which theirs ignores for 1; the distance is not
squared; classes without training rows are left out, where theirs have the prototype 0. Their
switch `use_direct_grad`, which takes every outlier probability for 1, is left out.

Formula:
    s_c = -|f - m_c|, s_o = -|f - o|;  p = softmax of all
    h(f) = p_o (f - o) / |f - o|, the gradient of the cross entropy by o
    score = distance of h(f) to the k-th nearest h of the training rows that are classified well
    o for mixup: mean over training rows of lam f + (1 - lam) m_y, y the second likeliest class
    o for mean: mean of the m_c;  o for aux: mean of the auxiliary outliers
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Features, Scores
from ltood.core.crew import Seen
from ltood.core.errors import ConfigError, DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Limits, Share
from ltood.core.settings import Settings
from ltood.core.slots import Method
from ltood.ops.distances import pair_distances
from ltood.ops.lengths import SMALLEST_LENGTH
from ltood.ops.neighbours import Neighbours
from ltood.ops.pairs import SimilarityBank
from ltood.ops.spaced import spaced_share
from ltood.ops.statistics import WIDE_ROWS, class_statistics
from ltood.runtime.large import room_for


@dataclass(frozen=True)
class Config(Settings):
    """Settings of GROOD.

    Attributes:
        prototype: The outlier prototype: the mean of training features mixed with the mean of
            their second likeliest class ("mixup"), of the class means ("mean", a switch of the
            authors'), or of the auxiliary outliers ("aux").
        lam: Weight of a row in its mixture, 0 to 1; 0.5 as in the authors' code.
        k: Rank of the neighbour whose distance is the score; 1 or more.
        fraction: Share of the training rows whose gradients are kept, evenly spaced, above 0 and
            at most 1.
    """

    prototype: Literal["mixup", "mean", "aux"] = "mixup"
    lam: Annotated[float, Limits(at_least=0, at_most=1)] = 0.5
    k: Count = 1
    fraction: Share = 1.0


class GROOD(Method[Config]):
    """Scores rows by how far their gradient is from those of the training rows.

    Keeps the gradients of the training rows, which are as large as their features.
    """

    needs: frozenset[Need] = frozenset({Need.TRAIN})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("means_", 1)
    _searcher: Neighbours | None = None

    def _configure(self) -> None:
        """Only the mean of auxiliary outliers needs some."""
        if self.config.prototype == "aux":
            self.needs = frozenset({Need.TRAIN, Need.AUX})

    def _fit(self, inputs: FitInputs) -> Self:
        """Learn the prototypes, then the gradients of the training rows, in three passes.

        Raises:
            DataError: If no training row is predicted as its label.
            ConfigError: If there are fewer of them than `k`.
        """
        classes = class_statistics(inputs)
        self.means_ = classes.means[classes.present]
        self.prototype_ = self._prototype(inputs, classes.means)
        source = spaced_share(inputs.require_train(), self.config.fraction)
        # Filled in place: a list of parts and what joins them would take the memory twice.
        shape, what = (len(source), source.dim), "the gradients of the training rows"
        bank, num = room_for(shape, torch.float32, self.means_.device, what), 0
        for batch in source.batches(arrays=("features", "logits", "labels")):
            is_right = batch.logits.argmax(dim=1) == batch.labels
            rows = self._gradients(batch.features[is_right])
            bank[num : num + len(rows)] = rows
            num += len(rows)
        bank = bank[:num]
        if not len(bank):
            raise DataError(
                "the head predicts no training row as its label, so grood has nothing to compare "
                "with; check that head and features belong to the same network."
            )
        self.bank_ = bank
        self._search()
        return self

    def _prototype(self, inputs: FitInputs, means: Tensor) -> Tensor:
        """The prototype of outliers, [D] float64."""
        if self.config.prototype == "mean":
            return self.means_.mean(dim=0)
        if self.config.prototype == "aux":
            outliers = inputs.require_aux()
            if not len(outliers):
                raise DataError("there is no auxiliary outlier; give some, or another prototype.")

            def of_own() -> Seen:
                batches = inputs.crew.batches(outliers, ("features",))
                sums = [batch.features.sum(dim=0, dtype=torch.float64) for batch in batches]
                return (torch.stack(sums).sum(dim=0),) if sums else None

            seen = inputs.crew.summed(of_own)
            assert seen is not None
            return seen[0] / len(outliers)
        if means.shape[0] < 2:
            raise ConfigError(
                "methods.grood.prototype is 'mixup', but there is one class, so none is second; "
                "set it to mean or aux."
            )
        return self._mixture(inputs, means)

    def _mixture(self, inputs: FitInputs, means: Tensor) -> Tensor:
        """Mean of the mixed rows, [D] float64; needs no mixture of any single row."""
        source = inputs.require_train()
        present = class_statistics(inputs).present

        def of_own() -> Tensor:
            counts = means.new_zeros(len(means))
            for batch in inputs.crew.batches(source, ("features", "logits")):
                # A class without training rows has no mean to mix with.
                logits = batch.logits.masked_fill(~present, -torch.inf)
                second = logits.topk(min(2, int(present.sum())), dim=1).indices[:, -1]
                counts += torch.bincount(second, minlength=len(means))
            return counts

        counts = inputs.crew.total(of_own)
        overall = class_statistics(inputs).mean
        return self.config.lam * overall + (1 - self.config.lam) * (counts @ means) / len(source)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32, at least 0; higher means more OOD."""
        return self._search().distances(FeatureBatch.of(self._gradients(batch.features)))

    def _gradients(self, features: Features) -> Tensor:
        """Gradients of the loss by the outlier prototype, [N, D] float32."""
        means, outlier = self.learned("means_"), self.learned("prototype_")
        rows = torch.split(features, WIDE_ROWS)
        return torch.cat([gradients(block.double(), means, outlier).float() for block in rows])

    def _search(self) -> Neighbours:
        if self._searcher is None:
            bank = SimilarityBank(self.learned("bank_"), normalise=False)
            self._searcher = Neighbours(bank, self.config.k, "methods.grood.k")
        return self._searcher

    def _forget(self) -> None:
        """See `Entry._forget`; the next search is in what is learned then."""
        super()._forget()
        self._searcher = None


def gradients(rows: Tensor, means: Tensor, outlier: Tensor) -> Tensor:
    """Gradients of the cross entropy over negative distances by the outlier prototype, [n, D].

    With s_o = -|f - o| the loss -s_y + logsumexp(s) has the gradient p_o ds_o/do, and
    ds_o/do = (f - o) / |f - o|; y drops out, as long as it is a class.

    Args:
        rows: [n, D] float64.
        means: Class means, [C, D] float64.
        outlier: Outlier prototype, [D] float64.
    """
    to_classes = pair_distances(rows, means)
    gap = rows - outlier
    to_outlier = torch.linalg.vector_norm(gap, dim=1, keepdim=True)
    distances = torch.cat([to_classes, to_outlier], dim=1)
    share = torch.softmax(-distances, dim=1)[:, -1:]
    found: Tensor = share * gap / to_outlier.clamp(min=SMALLEST_LENGTH)
    return found


Entry = GROOD
