"""OODD: nearness to training rows less nearness to the most OOD-like test rows so far.

Source: Yang, Zhu, Sun, Liu, Gu and Ye, "OODD: Test-time Out-of-Distribution Detection with
Dynamic Dictionary", CVPR 2025 (arXiv:2503.10468; zxk1212/OODD, no licence). A transductive method:
its memory keeps the test rows that are least like the training rows. The training rows are those
with the largest softmax, from each class in turn.

Departures: a row is scored before it may enter the memory (official_update_first), so that it is
never its own neighbour; the softmax is that of the stored features, where the authors take the best
of several random crops; where they make outliers of training images for the first rows of a stream,
midpoints of training rows of different classes fill the memory, which `stabilise` switches off, as
their shipped settings do; and lengths get no constant added after the division.

Formula:
    score = k_memory-th largest cos(f, m) - k_train-th largest cos(f, t)
    t a kept training row, m a row of the memory: the `queue` rows of the stream whose k_train-th
    largest cos(m, t) is smallest; without enough of these the first term is 0
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.errors import DataError
from ltood.core.inputs import FitInputs, Need
from ltood.core.limits import Count, Share
from ltood.core.streams import Memory, StreamMethod, StreamSettings
from ltood.ops.lengths import unit
from ltood.ops.neighbours import Neighbours
from ltood.ops.pairs import SimilarityBank
from ltood.runtime.large import room_for

#: Column of a batch: cosine to the k_train-th nearest training row, [N] float32.
NEARNESS = "nearness"
#: Scores depend on the other test rows.
TRANSDUCTIVE = True
#: Only where it is named: it is not comparable with methods that see one row at a time.
NAMED_ONLY = True


@dataclass(frozen=True)
class Config(StreamSettings):
    """Settings of OODD.

    Attributes:
        k_train: Rank of the training row; the authors take 10 on CIFAR-100, 5 on CIFAR-10 and 100
            on ImageNet-200.
        k_memory: Rank of the row of the memory.
        queue: Rows that the memory keeps; the authors take 512 on CIFAR-100, 128 on CIFAR-10 and
            2048 on ImageNet-200.
        share: Share of the training rows to compare with, above 0 and at most 1.
        stabilise: Start with midpoints of training rows of different classes in the memory.
    """

    batch: Count = 512
    k_train: Count = 10
    k_memory: Count = 5
    queue: Count = 512
    share: Share = 0.5
    stabilise: bool = True


class OODD(StreamMethod[Config]):
    """Scores rows by their nearness to training rows and to a memory of OOD-like rows."""

    needs: frozenset[Need] = frozenset({Need.TRAIN, Need.HEAD})
    arrays: tuple[str, ...] = ("features",)
    dim_axis: tuple[str, int] = ("bank_", 1)
    once: tuple[str, ...] = (NEARNESS,)
    _searcher: Neighbours | None = None

    def _fit(self, inputs: FitInputs) -> Self:
        """Keep the training rows with the largest softmax; they stay in memory.

        Raises:
            ConfigError: If there are fewer of them than `k_train`.
            DataError: If there is not one training row.
        """
        source = inputs.require_train()
        inputs.require_head()
        places = _places(inputs, self.config.share)
        shape, what = (int((places >= 0).sum()), source.dim), "the most certain training rows"
        bank, done = None, 0
        for batch in source.batches(arrays=("features",)):
            own = places[done : done + len(batch)]
            kept = own >= 0
            if bank is None:
                bank = room_for(shape, torch.float32, batch.features.device, what)
            bank[own[kept]] = unit(batch.features[kept.to(bank.device)])
            done += len(batch)
        assert bank is not None  # `_places` refuses a split without rows.
        self.bank_ = bank
        self.searcher()  # It refuses a bank that is too small.
        return self

    def _forget(self) -> None:
        """See `Entry._forget`; the next search is made of what is learned then."""
        super()._forget()
        self._searcher = None

    def searcher(self) -> Neighbours:
        """Search for the k_train-th training row."""
        if self._searcher is None:
            bank = SimilarityBank(self.learned("bank_"), normalise=True)
            self._searcher = Neighbours(bank, self.config.k_train, "methods.oodd.k_train")
        return self._searcher

    def _once(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """Nearness to the training rows."""
        return {NEARNESS: 1 - self.searcher().distances(batch).square() / 2}

    def start(self) -> "Dictionary":
        """A memory without test rows."""
        bank = self.searcher().bank
        memory = Dictionary(bank, self.config)
        if self.config.stabilise and len(bank) > 1:
            # Neighbours in the bank are of different classes; see `_places`.
            first = bank.rows[: self.config.queue + 1]
            memory.learn(self.prepared(FeatureBatch({"features": first[:-1] + first[1:]})))
        return memory


class Dictionary(Memory):
    """The rows of a stream that are least like training rows."""

    def __init__(self, bank: SimilarityBank, config: Config) -> None:
        """Begin with none."""
        self._bank, self._config = bank, config
        self._rows, self._nearness = bank.rows[:0], bank.rows.new_empty(0)

    def rate(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in [-2, 2]; higher means more OOD."""
        nearness = batch.column(NEARNESS)
        if len(self._rows) < self._config.k_memory:
            return -nearness
        cosines = self._bank.prepare(batch) @ self._rows.T
        return cosines.topk(self._config.k_memory, dim=1).values[:, -1] - nearness

    def learn(self, batch: FeatureBatch) -> None:
        """Keep the rows that are least like training rows; of equal ones the first."""
        rows = torch.cat([self._rows, self._bank.prepare(batch)])
        nearness = torch.cat([self._nearness, batch.column(NEARNESS)])
        kept = torch.argsort(nearness, stable=True)[: self._config.queue].sort().values
        self._rows, self._nearness = rows[kept], nearness[kept]


def _places(inputs: FitInputs, share: float) -> Tensor:
    """Place of each training row in the bank, [N]; -1 where it is left out.

    The rows of each class are ranked by their largest softmax; first come the first rows of all
    classes, the most confident one in front, then the second ones.
    """
    confidences, labels = [], []
    for batch in inputs.require_train().batches(arrays=("logits", "labels")):
        logits = batch.logits.double()
        # The largest log softmax: probabilities near 1 would tie.
        confidences.append((logits.amax(dim=1) - torch.logsumexp(logits, dim=1)).cpu())
        labels.append(batch.labels.cpu())
    if not labels:
        raise DataError("the training split has no rows; a method cannot learn from it.")
    confidence, label = torch.cat(confidences), torch.cat(labels)
    falling = torch.argsort(confidence, descending=True, stable=True)
    by_class = falling[torch.argsort(label[falling], stable=True)]
    counts = torch.bincount(label)
    starts = (counts.cumsum(0) - counts)[label[by_class]]
    ranks = torch.arange(len(label)) - starts
    # By rank, and of one rank by confidence, so that the order of the classes does not matter.
    place_in_fall = torch.empty_like(falling).scatter_(0, falling, torch.arange(len(falling)))
    turn = by_class[torch.argsort(ranks * len(label) + place_in_fall[by_class])]
    kept = turn[: max(1, int(share * len(turn)))]
    places = torch.full((len(label),), -1)
    places[kept] = torch.arange(len(kept))
    return places


Entry = OODD
