"""Methods that learn while they score: test rows arrive as a stream and enter a memory.

Their scores depend on the rows that came before, so they are *transductive*: a score has no
meaning apart from a stream. Such a method scores no single row; the protocol of
`ltood.scoring.streams` plays declared streams to it, and `score` takes its rows as one stream.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from ltood.core.arrays import Rows
from ltood.core.batches import FeatureBatch, Scores
from ltood.core.errors import ConfigError
from ltood.core.inputs import Need
from ltood.core.limits import Count, Limits, Seed
from ltood.core.settings import Settings
from ltood.core.slots import Method, first_given


@dataclass(frozen=True)
class StreamSettings(Settings):
    """Settings of the protocol, the same for every method that scores streams.

    Attributes:
        orders: Random orders in which the rows arrive; metrics are means over them.
        order_seed: Seed of the orders; they are the same on every machine.
        batch: Rows that arrive at once. They are scored together, before any of them enters
            the memory.
        mix: "per_set" mixes the ID test rows with one OOD set at a time, each time with an empty
            memory; "all" mixes them with all OOD sets into one stream.
        id_share: Share of ID rows in a stream, above 0 and below 1; rows of the other side are
            left out at random until it holds. Null keeps all rows.
        warm_start: Held-out ID rows (split val) that pass through the memory first, unscored.
        official_update_first: Let a batch enter the memory before it is scored, as the authors'
            code does: a row is then compared with itself.
    """

    orders: Count = 5
    order_seed: Seed = 0
    batch: Count = 256
    mix: Literal["per_set", "all"] = "per_set"
    id_share: Annotated[float, Limits(above=0, below=1)] | None = None
    warm_start: Annotated[int, Limits(at_least=0, at_most=10**9)] = 0
    official_update_first: bool = False


S = TypeVar("S", bound=StreamSettings)


class Memory(ABC):
    """What a method keeps of one stream; it starts empty and its size is bounded."""

    @abstractmethod
    def rate(self, batch: FeatureBatch) -> Scores:
        """OOD scores of rows by what is remembered, [N] float32; the memory stays as it is."""

    @abstractmethod
    def learn(self, batch: FeatureBatch) -> None:
        """Let rows enter the memory, as far as the method wants them."""


class StreamMethod(Method[S], Generic[S]):
    """A method whose scores depend on the stream that a row is part of.

    Attributes:
        once: Columns that `_once` finds for a row, whatever the stream; a memory reads them from
            the batch like its arrays.
    """

    once: tuple[str, ...] = ()

    def _configure(self) -> None:
        """Ask for held-out rows where they warm the memory."""
        if self.config.warm_start:
            self.needs = self.needs | {Need.VAL}

    @abstractmethod
    def start(self) -> Memory:
        """An empty memory, for a new stream."""

    def step(self, memory: Memory, batch: FeatureBatch) -> Scores:
        """Score the rows that arrive next, [N] float32, and let them enter the memory.

        Args:
            memory: What `start` gave, and earlier steps have filled.
            batch: Rows that arrive together; holds the method's `arrays`.
        """
        batch = self.prepared(batch)
        if self.config.official_update_first:
            memory.learn(batch)
            return memory.rate(batch)
        scores = memory.rate(batch)
        memory.learn(batch)
        return scores

    def prepared(self, batch: FeatureBatch) -> FeatureBatch:
        """The batch with the columns of `once`, unless it has them."""
        if all(name in batch.arrays for name in self.once):
            return batch
        return FeatureBatch({**batch.arrays, **self._once(batch)})

    def _once(self, batch: FeatureBatch) -> Mapping[str, Tensor]:
        """The columns of `once`, [N, ...] each."""
        del batch
        return {}

    def score(
        self,
        features: FeatureBatch | Rows | None = None,
        *,
        logits: Rows | None = None,
        local: Rows | None = None,
        extras: Mapping[str, Rows] | None = None,
    ) -> Any:  # noqa: ANN401 - as `Method.score`
        """OOD scores of the rows as one stream in this order, [N] float32; see `Method.score`.

        The memory is empty at the start and forgotten at the end. `batch` rows arrive at once;
        the settings of orders, mixtures and warm starts belong to the protocol.
        """
        if isinstance(features, FeatureBatch):
            rows = self._same_widths(features)
        else:
            rows = self._batch(features, logits, local, extras=extras)
        memory, step = self.start(), self.config.batch
        starts = range(0, len(rows), step) or range(1)
        with torch.no_grad():
            parts = [self.step(memory, rows.slice(start, start + step)) for start in starts]
        scores = torch.cat(parts)
        if isinstance(features, FeatureBatch):
            return self._handed_back(scores, scores, "scores")
        return self._handed_back(first_given(features, logits, local), scores, "scores")

    def _score(self, batch: FeatureBatch) -> Scores:
        """Refuse rows without a stream.

        Raises:
            ConfigError: Always.
        """
        del batch
        raise refusal(self, "cannot score rows one by one")


def refusal(method: Method, fault: str) -> ConfigError:
    """The error of a driver that has no streams.

    Args:
        method: A method that scores streams.
        fault: What it was asked for, as the rest of a sentence that begins with its name.
    """
    name = type(method).__module__.rpartition(".")[2]
    return ConfigError(
        f"method {name} {fault}: its scores depend on the stream of test rows. Use `ltood score`, "
        "`ltood compare --method`, the pipeline, or the method's own score in Python; or choose "
        "another method."
    )


def refuse_streams(method: Method, fault: str) -> None:
    """Refuse a method that scores streams; see `refusal`.

    Raises:
        ConfigError: If it does.
    """
    if isinstance(method, StreamMethod):
        raise refusal(method, fault)
