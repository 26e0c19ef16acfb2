"""The protocol of streams: declared random orders of test rows, played to a method with a memory.

Each order is a new stream that starts with an empty memory. Orders come from raw PCG64 words, which
NumPy keeps the same on every machine and in every version. Features are spooled to a temporary
folder; in memory there is one number for each row, stream and order.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, StoreError
from ltood.core.streams import Memory, StreamMethod, StreamSettings
from ltood.runtime.console import progress
from ltood.runtime.devices import scoring_on
from ltood.runtime.scratch import scratch_folder
from ltood.scoring.checks import checked_scores
from ltood.scoring.session import ScoringSession
from ltood.scoring.spool import Spooled, spool, take
from ltood.store.layout import OOD_PREFIX, VAL_SPLIT
from ltood.store.scores import ScoreSplit

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """Splits whose rows arrive in one stream.

    Attributes:
        name: Name of its OOD set, or "all".
        splits: Splits whose rows it mixes, the ID test rows first.
    """

    name: str
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Played:
    """Scores of streams.

    Attributes:
        splits: Scores of each split with their columns by stream and order.
        record: What the columns are, as score stores keep it in the attribute `stream`.
    """

    splits: dict[str, ScoreSplit]
    record: dict[str, Any]


def streams_of(splits: Sequence[str], settings: StreamSettings) -> list[Stream]:
    """Streams that the rows of these splits make.

    Raises:
        StoreError: If a split is neither test nor an OOD set: such rows are in no stream.
    """
    known = [name for name in splits if name == "test" or name.startswith(OOD_PREFIX)]
    if other := [name for name in splits if name not in known]:
        raise StoreError(
            f"split {other[0]} is in no stream; streams mix test rows with OOD sets, so name only "
            "such splits."
        )
    sets = [name for name in known if name != "test"]
    first = tuple(name for name in known if name == "test")
    if not sets or settings.mix == "all":
        return [Stream("all", (*first, *sets))]
    return [Stream(name.removeprefix(OOD_PREFIX), (*first, name)) for name in sets]


def order_of(is_ood: NDArray[np.bool_], settings: StreamSettings, order: int, name: str) -> Rows:
    """Rows of a stream in the order of their arrival, [n].

    Args:
        is_ood: Whether each row is OOD, [N].
        settings: Seed, and the share of ID rows.
        order: Number of the order, from 0.
        name: Name of the stream; each has orders of its own.
    """
    words = np.random.PCG64([settings.order_seed, order, zlib.crc32(name.encode())])
    arrival, lot = words.random_raw(2 * len(is_ood)).reshape(2, -1)
    kept = _thinned(is_ood, lot, settings.id_share)
    return kept[np.argsort(arrival[kept], kind="stable")]


def _thinned(is_ood: NDArray[np.bool_], lot: NDArray[np.uint64], id_share: float | None) -> Rows:
    """Rows that are kept so that the share of ID rows holds, in order, [n]."""
    known, unknown = np.flatnonzero(~is_ood), np.flatnonzero(is_ood)
    if id_share is not None and len(known) and len(unknown):
        most_known = round(len(unknown) * id_share / (1 - id_share))
        most_unknown = round(len(known) * (1 - id_share) / id_share)
        if most_known < len(known):
            known = known[np.argsort(lot[known], kind="stable")[: max(1, most_known)]]
        else:
            unknown = unknown[np.argsort(lot[unknown], kind="stable")[: max(1, most_unknown)]]
    return np.sort(np.concatenate([known, unknown]))


def play(
    session: ScoringSession, method: StreamMethod[Any], name: str, splits: Sequence[str]
) -> Played:
    """Play every stream in every order to a fitted method.

    Args:
        session: The store, seen through the calibrator that the method was fitted behind.
        method: The method, fitted.
        name: Its name, for messages.
        splits: Test split and OOD sets.

    Raises:
        StoreError: If a split is in no stream.
        ConfigError: If there are fewer held-out rows than `warm_start`.
        LtoodError: If a score is not finite.
    """
    settings = method.config
    streams = streams_of(splits, settings)
    columns: dict[str, list[NDArray[np.float32]]] = {split: [] for split in splits}
    with scratch_folder() as folder:
        rows = {split: spool(session, split, method, folder) for split in splits}
        warm = _held_out(session, method, name, folder)
        total = sum(len(rows[split]) for stream in streams for split in stream.splits)
        with (
            scoring_on(session.device),
            progress(f"score {name}", settings.orders * total) as advance,
            torch.inference_mode(),
        ):
            for stream in streams:
                parts = [rows[split] for split in stream.splits]
                ends = np.cumsum([len(part) for part in parts])[:-1]
                for order in range(settings.orders):
                    player = _Player(session.device, method, name, stream.name, order)
                    player.warm(warm)
                    scores = np.split(player.scores(parts), ends)
                    for split, found in zip(stream.splits, scores, strict=True):
                        columns[split].append(found)
                    advance(sum(map(len, parts)))
        done = {split: _scored(rows[split], columns[split]) for split in splits}
    names = [stream.name for stream in streams]
    return Played(done, {"streams": names, "orders": settings.orders, "mix": settings.mix})


def _held_out(
    session: ScoringSession, method: StreamMethod[Any], name: str, folder: Path
) -> Spooled | None:
    """Rows that warm the memory, if any do."""
    wanted = method.config.warm_start
    if not wanted:
        return None
    if wanted > len(session.split(VAL_SPLIT)):
        raise ConfigError(
            f"methods.{name}.warm_start is {wanted} but split {VAL_SPLIT} has "
            f"{len(session.split(VAL_SPLIT))} rows; set it to at most that."
        )
    return spool(session, VAL_SPLIT, method, folder)


@dataclass(frozen=True)
class _Player:
    """One stream in one order, with the memory of the method."""

    device: torch.device
    method: StreamMethod[Any]
    name: str
    stream: str
    order: int
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", self.method.start())

    def warm(self, held_out: Spooled | None) -> None:
        """Let held-out rows enter the memory, `warm_start` of them in an order of their own."""
        if held_out is not None:
            rows = self._arrival([held_out], VAL_SPLIT)[: self.method.config.warm_start]
            for arriving in self._cut(rows):
                self.memory.learn(take([held_out], arriving, self.device))

    def scores(self, parts: Sequence[Spooled]) -> NDArray[np.float32]:
        """Scores of the rows of all parts, [N]; NaN where a row is left out."""
        scores = np.full(sum(map(len, parts)), np.nan, dtype=np.float32)
        for arriving in self._cut(self._arrival(parts, self.stream)):
            batch = take(parts, arriving, self.device)
            found = self.method.step(self.memory, batch)
            scores[arriving] = checked_scores(found, batch, f"method {self.name}", self.stream)
        return scores

    def _arrival(self, parts: Sequence[Spooled], stream: str) -> Rows:
        is_ood = np.concatenate([part.labels for part in parts]) < 0
        return order_of(is_ood, self.method.config, self.order, stream)

    def _cut(self, rows: Rows) -> Iterator[Rows]:
        step = self.method.config.batch
        return (rows[start : start + step] for start in range(0, len(rows), step))


def _scored(rows: Spooled, columns: Sequence[NDArray[np.float32]]) -> ScoreSplit:
    """Columns of one split, and their mean over the streams that a row was part of."""
    by_order = np.stack(columns, axis=1)
    present = np.isfinite(by_order)
    count, total = present.sum(axis=1), np.where(present, by_order, 0).sum(axis=1, dtype=np.float64)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return ScoreSplit(mean, rows.predictions, rows.labels, rows.ids, by_order)
