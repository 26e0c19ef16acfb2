"""A crew of the processes that `torchrun` started: how they meet in stage two.

Whenever they meet, each says first what it is about to do, how it went, and what it brings: one
that failed is heard by all, and none waits for what does not come.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from ltood.core.crew import ALONE, Crew, Part, Seen
from ltood.core.errors import LtoodError
from ltood.runtime.distributed import LostRankError, Ranks
from ltood.runtime.wires import Gloo, Wire

T = TypeVar("T")

#: Shapes and types of the tensors that a process brings; None where it has no row.
_Forms = list[tuple[tuple[int, ...], torch.dtype]] | None


@dataclass(frozen=True)
class _Word:
    """What a process says when all meet.

    Attributes:
        about: What it is about to do.
        fault: Why it cannot.
        brings: Plain values, for all.
    """

    about: str
    fault: LtoodError | None = None
    brings: Any = None


class _ToldError(BaseException):
    """Another process failed, and all know; no entry may catch it on its way out."""

    def __init__(self, fault: LtoodError) -> None:
        super().__init__(str(fault))
        self.fault = fault


class RankCrew(Crew):
    """All processes of a run."""

    def __init__(
        self, part: Part, device: torch.device, wire: Wire, *, shares_banks: bool = False
    ) -> None:
        """Join the others.

        Args:
            part: This process among them; there are two or more.
            device: Where it computes.
            wire: Between the processes.
            shares_banks: Whether each holds a part of a bank of training rows.
        """
        self.part, self.shares_banks = part, shares_banks
        self._device, self._wire, self._is_agreeing = device, wire, False

    def agreed(self, work: Callable[[], T]) -> T:
        """See `Crew`.

        Raises:
            LtoodError: What another process has met; its own failure is raised as it is.
        """
        if self._is_agreeing:
            return work()
        self._is_agreeing = True
        try:
            made = work()
            self._meet(_Word("end"))
        except _ToldError as told:
            raise told.fault from None
        except Exception as error:
            self._meet(_Word("end", _sendable(error, self.part.number)), hears=False)
            raise
        finally:
            self._is_agreeing = False
        return made

    def on_first(self, make: Callable[[], T]) -> T:
        """See `Crew`.

        Raises:
            LtoodError: What the first process has met.
        """
        made = self.agreed(make if self.is_first else lambda: None)
        return cast("T", self.told(made)[0])

    def in_step(self, items: Iterable[T]) -> Iterator[T | None]:
        """See `Crew`."""
        left = iter(items)
        while True:
            item = next(left, None)
            if not any(self.told(item is not None)):
                return
            yield item

    def swapped(self, parts: Sequence[Tensor], rows: int) -> list[Tensor]:
        """See `Crew`."""
        self._meet(_Word("swap"))
        counts = [rows] * self.part.count
        found = self._wire.swap([part.cpu() for part in parts], counts)
        return [part.to(self._device) for part in found]

    def told(self, brings: T) -> list[T]:
        """See `Crew`."""
        return self._meet(_Word("tell", None, brings))

    def collected(self, items: Iterable[T]) -> Iterator[T]:
        """See `Crew`; holds all at once."""
        own = self.agreed(lambda: list(items))
        for part in self._wire.to_first(own) or ():
            yield from part

    def summed(self, make: Callable[[], Seen]) -> Seen:
        """See `Crew`."""
        own, forms = self._brought("sum", make)
        if forms is None:
            return None
        zeros = [torch.zeros(shape, dtype=dtype) for shape, dtype in forms]
        # On the host, so that sums are the same bits for all, whatever they compute on.
        tensors = zeros if own is None else [tensor.cpu().contiguous() for tensor in own]
        return tuple(self._wire.add(tensor).to(self._device) for tensor in tensors)

    def joined(self, make: Callable[[], Seen]) -> Seen:
        """See `Crew`."""
        own, forms = self._brought("join", make)
        if forms is None:
            return None
        counts = self.told(0 if own is None else len(own[0]))
        found = []
        for place, (shape, dtype) in enumerate(forms):
            rows = torch.zeros((max(counts), *shape[1:]), dtype=dtype)
            if own is not None:
                rows[: len(own[place])] = own[place].cpu()
            parts = zip(self._wire.gather(rows), counts, strict=True)
            found.append(torch.cat([part[:count] for part, count in parts]).to(self._device))
        return tuple(found)

    def _brought(self, about: str, make: Callable[[], Seen]) -> tuple[Seen, _Forms]:
        """What this process has made, and the form in which all send it."""
        own = make()
        forms: _Forms = None if own is None else [(tuple(t.shape), t.dtype) for t in own]
        all_forms = [found for found in self._meet(_Word(about, None, forms)) if found]
        widths = [[(shape[about == "join" :], dtype) for shape, dtype in f] for f in all_forms]
        if any(found != widths[0] for found in widths):
            raise LostRankError(f"the processes have parted: they bring {widths}")
        return own, all_forms[0] if all_forms else None

    def _meet(self, word: _Word, *, hears: bool = True) -> list[Any]:
        """Say a word and hear those of all.

        Args:
            word: What to say.
            hears: Whether to fail where another has.

        Returns:
            What each brings.

        Raises:
            LostRankError: If a process has ended, or they are about to do different things.
        """
        words: list[_Word] = self._wire.everyone(word)
        faults = [heard.fault for heard in words if heard.fault is not None]
        if faults and hears:
            raise _ToldError(faults[0])
        doing = [heard.about for heard in words]
        if not faults and len(set(doing)) > 1:
            raise LostRankError(
                f"the processes have parted: they were about to {', '.join(doing)} in the order of "
                "their ranks, since one of them sees other files or settings, or lacks memory"
            )
        return [heard.brings for heard in words]


def crew_of(ranks: Ranks, device: torch.device, *, shares_banks: bool = False) -> Crew:
    """The crew of a process among those that share the work.

    Args:
        ranks: This process among them.
        device: Where it computes.
        shares_banks: Whether each holds a part of a bank of training rows.
    """
    if ranks.world_size == 1:
        return ALONE
    part = Part(ranks.rank, ranks.world_size)
    return RankCrew(part, device, Gloo(part), shares_banks=shares_banks)


def _sendable(error: Exception, number: int) -> LtoodError:
    """An error that another process can raise."""
    if isinstance(error, LtoodError):
        # One that takes more than a sentence cannot be made again from it.
        with suppress(Exception):
            copy.copy(error)
            return error
    reason = " ".join(str(error).split())
    return LtoodError(f"process {number}: {type(error).__name__}: {reason}")
