"""The state of an interrupted run: one file whose name proves its content.

    state/<step>-<sha256>.pt    everything that the next step depends on

A file appears in one rename and is read back only if its bytes have the named SHA-256; the
one before it is removed afterwards, so a kill at any moment leaves a whole one behind.
"""

import hashlib
import io
import pickle
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.files import read_regular, write_atomically

_Row = TypeVar("_Row")
#: Numbers of an epoch by name; None for what was not measured.
HistoryRow = dict[str, float | None]
_NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.pt\Z")


@dataclass
class Progress(Generic[_Row]):
    """Progress of a run; plain values of a saved state.

    Attributes:
        epoch: Epochs done.
        step: Steps done in the epoch under way.
        sums: Sum of each loss term over that epoch so far.
        history: One row per finished epoch.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[_Row] = field(default_factory=list)


class StateKeeper:
    """Saves the state of a run from time to time, with the inputs that it belongs to."""

    def __init__(
        self, folder: Path, inputs: Mapping[str, Any], seconds: float, *, active: bool = True
    ) -> None:
        """Start the clock.

        Args:
            folder: For the states.
            inputs: Plain values that decide the result of the run.
            seconds: After which a state is due.
            active: False saves nothing, as on all ranks but the first.
        """
        self._folder, self._inputs, self._seconds, self._active = folder, inputs, seconds, active
        self._saved = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last saved state is old enough to save another."""
        return time.monotonic() - self._saved >= self._seconds

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Save the state after `step` steps of the whole run.

        Raises:
            StoreError: If it cannot be written.
        """
        if self._active:
            save_state(self._folder, step, {**state, "inputs": dict(self._inputs)})
        self._saved = time.monotonic()


def save_state(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write the state after `step` steps of the whole run, then drop older ones.

    Args:
        folder: Made where it is missing.
        step: Steps done, from 0.
        state: Tensors, numbers, texts, lists and mappings.

    Raises:
        StoreError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    path = folder / f"{step:09d}-{hashlib.sha256(content).hexdigest()}.pt"
    write_atomically(path, content)
    for other in folder.iterdir():
        if other != path:
            other.unlink()


def load_state(folder: Path) -> dict[str, Any] | None:
    """Latest whole state; None where there is none.

    Its tensors are on the CPU whatever they were on, because the processes that share it sit on
    other devices, and an optimiser's counters of steps stay where they are when it takes them over.

    Raises:
        StoreError: If a state holds executable content, which ours never do.
    """
    if not folder.is_dir():
        return None
    for path in sorted(folder.iterdir(), reverse=True):
        named = _NAME.match(path.name)
        if named is None:
            continue
        try:
            content = read_regular(path)
        except (OSError, CorruptStoreError):
            continue
        if hashlib.sha256(content).hexdigest() == named[2]:
            try:
                state: dict[str, Any] = torch.load(
                    io.BytesIO(content), map_location="cpu", weights_only=True
                )
            except pickle.UnpicklingError as error:
                raise StoreError(
                    f"{path} holds executable content and is not read; remove the folder to start "
                    "over."
                ) from error
            return state
    return None


def history_csv(history: Sequence[HistoryRow]) -> str:
    """Rows as comma-separated text, empty without rows; what was not measured stays blank."""
    if not history:
        return ""
    lines = [",".join(history[0])]
    lines += [
        ",".join("" if value is None else repr(value) for value in row.values()) for row in history
    ]
    return "\n".join(lines) + "\n"
