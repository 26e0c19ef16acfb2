"""Tensors in the safetensors format, written and read one at a time.

A detector that keeps its training rows is larger than memory may be. Its file has the bytes that
the library of the format writes, which needs all of them in memory, twice; reading fills each
tensor where it will stay, and proves the bytes on the way.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.deployment.sidecar import EXPORT_AGAIN, Put
from ltood.runtime.large import room_for

#: Names of number formats, in the order in which the format puts their tensors.
FORMATS = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
#: Most bytes that are copied, or read, at once.
BLOCK = 2**24

_ALIGNMENT = 8
#: Longest header that the format allows.
_LONGEST_HEADER = 10**8


def tensor_writer(tensors: Mapping[str, Tensor]) -> Callable[[Put], None]:
    """What gives the bytes of a file of tensors, from wherever they lie."""
    formats, names = {dtype: name for name, dtype in FORMATS.items()}, [*FORMATS]

    def rank(name: str) -> tuple[int, str]:
        return names.index(formats[tensors[name].dtype]), name

    def write(put: Put) -> None:
        header, end = {}, 0
        for name in sorted(tensors, key=rank):
            own = tensors[name]
            start, end = end, end + own.nbytes
            shape, offsets = [*own.shape], [start, end]
            header[name] = {"dtype": formats[own.dtype], "shape": shape, "data_offsets": offsets}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        put(len(text).to_bytes(8, "little") + text)
        for name in header:
            for part in _parts(tensors[name]):
                own = part.cpu().clone(memory_format=torch.contiguous_format).view(-1)
                put(own.view(torch.uint8).numpy().data)

    return write


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor in parts of few bytes; no part where it is empty."""
    if not tensor.numel():
        return
    rows = tensor.detach().reshape(1) if tensor.dim() == 0 else tensor.detach()
    of_row = rows.nbytes // len(rows)
    if of_row > BLOCK and rows.dim() > 1:
        for row in rows:
            yield from _parts(row)
    else:
        yield from torch.split(rows, max(1, BLOCK // of_row))


def read_tensors(path: Path, recorded: str) -> dict[str, Tensor]:
    """Tensors of a detector by name, on the CPU.

    Args:
        path: The `.safetensors` file.
        recorded: SHA-256 of its bytes, as the description has it.

    Raises:
        StoreError: If it is missing, or no place has room for a tensor.
        CorruptStoreError: If it was changed or is unreadable.
    """
    if not path.is_file():
        raise StoreError(f"{path} does not exist; copy it next to its description.")
    found, problem = dict[str, Tensor](), ""
    with path.open("rb") as file:
        reading = _Reading(file)
        try:
            for name, dtype, shape in _layout(reading, path.stat().st_size):
                what = f"the numbers {name} of {path.name}"
                found[name] = room_for(shape, dtype, torch.device("cpu"), what)
                reading.fill(found[name])
        except _UnreadableError as error:
            problem = str(error)
        actual = reading.digest()
    if actual != recorded:
        raise CorruptStoreError(
            f"{path} has SHA-256 {actual[:12]}… but its description records {recorded[:12]}…: one "
            f"of the two files was changed or replaced; {EXPORT_AGAIN}."
        )
    if problem:
        raise CorruptStoreError(f"{path} is unreadable ({problem}); {EXPORT_AGAIN}.")
    return found


class _UnreadableError(Exception):
    """A file breaks a rule of the format."""


class _Reading:
    """A file on its way into memory, and the digest of what has been read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._sha256 = file, hashlib.sha256()

    def take(self, size: int) -> bytes:
        """The next bytes, as many as asked for."""
        found = self._file.read(size)
        self._sha256.update(found)
        if len(found) < size:
            raise _UnreadableError("it ends too early")
        return found

    def fill(self, tensor: Tensor) -> None:
        """Read the values of a contiguous tensor."""
        if tensor.numel():
            for part in torch.split(tensor.view(-1).view(torch.uint8), BLOCK):
                target = part.numpy().data
                if self._file.readinto(target) < len(target):  # type: ignore[attr-defined]
                    raise _UnreadableError("it ends too early")
                self._sha256.update(target)

    def digest(self) -> str:
        """SHA-256 of the whole file."""
        while block := self._file.read(BLOCK):
            self._sha256.update(block)
        return self._sha256.hexdigest()


def _layout(reading: _Reading, size: int) -> Iterator[tuple[str, torch.dtype, list[int]]]:
    """Name, number format and shape of each tensor, in the order of their bytes.

    Args:
        reading: The file, at its start.
        size: Bytes of it.
    """
    length = int.from_bytes(reading.take(8), "little")
    if length > min(_LONGEST_HEADER, size - 8):
        raise _UnreadableError("its header is longer than the file")
    try:
        header: dict[str, Any] = json.loads(reading.take(length))
        header.pop("__metadata__", None)
        entries = sorted(header.items(), key=lambda entry: entry[1]["data_offsets"])
        found = []
        for name, entry in entries:
            start, stop = entry["data_offsets"]
            found.append((name, FORMATS[entry["dtype"]], entry["shape"], start, stop))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _UnreadableError(f"its header: {type(error).__name__}: {error}") from error
    end = 0
    for name, dtype, shape, start, stop in found:
        whole = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
        if not whole or start != end or stop != end + math.prod(shape) * dtype.itemsize:
            raise _UnreadableError(f"the size or the place of {name!r} is wrong")
        end = stop
    if end != size - 8 - length:
        raise _UnreadableError("its tensors are not as long as the file")
    for name, dtype, shape, _, _ in found:
        yield name, dtype, shape
