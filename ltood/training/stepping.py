"""Parts of a step: micro-batches and averaged weights."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from ltood.recipes import StepBatch


def micro_batches(batch: StepBatch, num: int) -> Iterator[tuple[StepBatch, float]]:
    """Parts of a batch, each with its share of the ID images.

    Args:
        batch: What one step sees.
        num: Parts; fewer where there are fewer images or outliers. Outliers are shared out as
            images are, so that a mean over the outliers of a part has the weight of its images.
    """
    num = min(num, len(batch.labels))
    if batch.aux is not None:
        num = min(num, max(1, len(batch.aux)))
    if num == 1:
        yield batch, 1.0
        return
    views = [view.tensor_split(num) for view in batch.views]
    labels = batch.labels.tensor_split(num)
    aux: Sequence[Tensor | None] = [None] * num
    if batch.aux is not None:
        ends = accumulate(len(part) for part in labels[:-1])
        shares = [end * len(batch.aux) // len(batch.labels) for end in ends]
        # Of few outliers some part might get none so.
        aux = batch.aux.tensor_split(shares if len(batch.aux) >= len(batch.labels) else num)
    for part in range(num):
        piece = replace(
            batch, views=tuple(view[part] for view in views), labels=labels[part], aux=aux[part]
        )
        yield piece, len(labels[part]) / len(batch.labels)


class ExponentialMovingAverage:
    """Exponential averages of the weights of some modules; buffers are those of the last step.

    Attributes:
        decay: Share of the old average that a step keeps, 0 to below 1; 0 averages nothing.
        weights: Averages by module number and name.
    """

    def __init__(self, modules: Sequence[nn.Module], decay: float) -> None:
        """Start from the weights as they are."""
        self._modules, self.decay = modules, decay
        self.weights = {
            name: parameter.detach().clone() for name, parameter in self._named() if decay
        }

    def update(self) -> None:
        """Take in the weights after a step."""
        if self.decay:
            with torch.no_grad():
                for name, parameter in self._named():
                    self.weights[name].lerp_(parameter, 1 - self.decay)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Take over saved averages."""
        for name, value in weights.items():
            self.weights[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the place of the weights while the block runs."""
        if not self.decay:
            yield
            return
        kept = {name: parameter.detach().clone() for name, parameter in self._named()}
        self._set(self.weights)
        try:
            yield
        finally:
            self._set(kept)

    def apply(self) -> None:
        """Put the averages in the place of the weights for good."""
        if self.decay:
            self._set(self.weights)

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._named():
            parameter.copy_(values[name])

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for number, module in enumerate(self._modules):
            for name, parameter in module.named_parameters():
                yield f"{number}.{name}", parameter
