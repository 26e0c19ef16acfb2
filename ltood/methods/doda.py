"""DODA: energy of logits that are compared with those of the rows around them.

Source: Miao, Pang, Zheng and Bai, "Long-Tailed Out-of-Distribution Detection via Normalized
Outlier Distribution Adaptation", NeurIPS 2024 (AdaptOD; arXiv:2410.20807; mala-lab/AdaptOD,
Apache-2.0): the rule of the released code, which differs from the paper's and says so. A
transductive method: the exponential of each logit is divided by those that the same class gets from
other rows of the stream, so that a class for which many test rows are taken counts less.

Departures: a row is compared with the last `window` rows that came before it, where the code
compares it with its own batch (official_update_first, with a batch as long as the window); the
mean over these rows takes the place of the sum, because the code's last, shorter batch gets larger
values than the others; and the logarithm is taken, which ranks alike. The first batch of a stream,
before which nothing came, is compared with itself.

Formula:
    score = -log sum_c e^{z_c} / mean over remembered rows j of e^{z_jc}
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.limits import Count
from ltood.core.streams import Memory, StreamMethod, StreamSettings

#: Scores depend on the other test rows.
TRANSDUCTIVE = True
#: Only where it is named: it is not comparable with methods that see one row at a time.
NAMED_ONLY = True


@dataclass(frozen=True)
class Config(StreamSettings):
    """Settings of DODA.

    Attributes:
        window: Rows that a row is compared with; the authors take 100.
    """

    batch: Count = 100
    window: Count = 100


class DODA(StreamMethod[Config]):
    """Scores rows by their energy relative to that of the rows before them."""

    arrays: tuple[str, ...] = ("logits",)

    def start(self) -> "Window":
        """A memory without rows."""
        return Window(self.config.window)


class Window(Memory):
    """The logits of the last rows of a stream."""

    def __init__(self, rows: int) -> None:
        """Begin with none."""
        self._rows = rows
        self._logits: Tensor | None = None

    def rate(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32; higher means more OOD."""
        logits = batch.logits.double()
        around = logits if self._logits is None else self._logits
        shares = torch.logsumexp(around, dim=0) - math.log(max(1, len(around)))
        return -torch.logsumexp(logits - shares, dim=1).float()

    def learn(self, batch: FeatureBatch) -> None:
        """Remember the rows that came last."""
        logits = batch.logits.double()
        before = logits[:0] if self._logits is None else self._logits
        self._logits = torch.cat([before, logits])[-self._rows :]


Entry = DODA
