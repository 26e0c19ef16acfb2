"""Split measured seconds into an entry's own and those of values that entries share.

Shared values are computed by the first entry that needs them. If the two were not kept apart, the
first method with class means would look slow and the second one fast.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

import torch

from ltood.core.batches import FeatureBatch
from ltood.core.inputs import FitInputs

T = TypeVar("T")


@dataclass
class Timing:
    """Wall-clock seconds of one step of one entry.

    Attributes:
        own: Spent for this entry alone.
        shared: Spent on values that later entries find ready.
    """

    own: float = 0.0
    shared: float = 0.0


@dataclass
class Timer:
    """Measures entries on one device.

    Attributes:
        device: Where the work is done.
        clock: Gives seconds from any moment on.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    clock: Callable[[], float] = perf_counter
    _shared: float = 0.0
    _depth: int = 0

    def _now(self) -> float:
        if self.device.type == "cuda":  # Kernels run on after the call that starts them.
            torch.cuda.synchronize(self.device)
        return self.clock()

    @contextmanager
    def add_to(self, seconds: Timing) -> Iterator[None]:
        """Add the time of the block to `seconds`, even if the block fails."""
        start, before = self._now(), self._shared
        try:
            yield
        finally:
            shared = self._shared - before
            seconds.own += self._now() - start - shared
            seconds.shared += shared

    def timed(self, compute: Callable[[], T]) -> Callable[[], T]:
        """`compute`, whose time counts as shared; shared values may ask for others."""

        def run() -> T:
            start = self._now()
            self._depth += 1
            try:
                return compute()
            finally:
                self._depth -= 1
                if not self._depth:
                    self._shared += self._now() - start

        return run


@dataclass(frozen=True, eq=False)
class TimedInputs(FitInputs):
    """Inputs whose shared statistics are timed."""

    timer: Timer = field(default_factory=Timer, compare=False, repr=False)

    @classmethod
    def of_inputs(cls, inputs: FitInputs, timer: Timer) -> "TimedInputs":
        """The same inputs, of which nothing is computed yet."""
        parts = (inputs.train, inputs.aux, inputs.head, inputs.prior, inputs.val)
        return cls(*parts, beside=inputs.beside, crew=inputs.crew, timer=timer)

    def cached(self, key: object, compute: Callable[[], T]) -> T:
        """See `FitInputs.cached`."""
        return super().cached(key, self.timer.timed(compute))


@dataclass(frozen=True, eq=False)
class TimedBatch(FeatureBatch):
    """Rows whose shared values are timed."""

    timer: Timer = field(default_factory=Timer, compare=False, repr=False)

    @classmethod
    def of_batch(cls, batch: FeatureBatch, timer: Timer) -> "TimedBatch":
        """The same rows, of which nothing is computed yet."""
        return cls(batch.arrays, timer=timer)

    def cached(self, key: object, compute: Callable[[], T]) -> T:
        """See `FeatureBatch.cached`."""
        return super().cached(key, self.timer.timed(compute))
