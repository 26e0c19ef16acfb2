"""NumPy archives from outside, read row by row without executing code.

`.npz` members are streamed out of the zip file, so an archive larger than memory can
be imported. Object arrays (pickles) are refused; a truncated or damaged archive is
reported by name.
"""

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.runtime.files import writing
from ltood.runtime.numpy_files import UNREADABLE
from ltood.store.tables import Lazy, Table

#: Shape, type, and whether columns lie one after another instead of rows.
Header = tuple[tuple[int, ...], np.dtype[Any], bool]


class Archive(Table):
    """An `.npz` file whose arrays are read in row blocks."""

    def __init__(self, path: Path) -> None:
        """Open the archive and read the headers of its arrays.

        Raises:
            DataError: If the file is missing, damaged or holds pickled objects.
        """
        headers: dict[str, Header] = {}
        if not path.is_file():
            raise DataError(f"{path} does not exist.")
        try:
            self._zip = zipfile.ZipFile(path)
            for member in self._zip.namelist():
                with self._zip.open(member) as stream:
                    headers[member.removesuffix(".npy")] = _read_header(stream)
        except UNREADABLE as error:
            raise DataError(
                f"{path} is damaged, truncated or not a NumPy archive ({error}); "
                "write it again with numpy.savez."
            ) from None
        for name, (_, dtype, _) in headers.items():
            if dtype.hasobject:
                raise DataError(
                    f"{path}: array {name!r} holds Python objects, which could execute code; "
                    "store plain numbers."
                )
        super().__init__(path, {name: self._lazy(name, of) for name, of in headers.items()})

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._zip.close()

    def _lazy(self, name: str, header: Header) -> Lazy:
        """One array, which is streamed in row blocks where its rows lie one after another."""
        shape, dtype, fortran = header

        def whole() -> NDArray[Any]:
            with self._member(name) as stream:
                size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
                values: NDArray[Any] = np.frombuffer(_read_exactly(stream, size, self), dtype=dtype)
            return values.reshape(shape, order="F" if fortran else "C")

        def blocks(sizes: Sequence[int]) -> Iterator[NDArray[Any]]:
            if fortran and len(shape) > 1:
                yield from np.split(whole(), np.cumsum(sizes))[: len(sizes)]
                return
            row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            with self._member(name) as stream:
                for size in sizes:
                    raw = _read_exactly(stream, size * row_bytes, self)
                    yield np.frombuffer(raw, dtype=dtype).reshape(size, *shape[1:])

        def read(start: int, stop: int) -> NDArray[Any]:
            return whole()[start:stop] if shape else whole()

        return Lazy(shape, dtype, read, blocks)

    def _member(self, name: str) -> IO[bytes]:
        stream = self._zip.open(f"{name}.npy")
        _read_header(stream)
        return stream


def _read_header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype, fortran


def _read_exactly(stream: IO[bytes], count: int, archive: Archive) -> bytes:
    try:
        raw = stream.read(count)
    except UNREADABLE as error:
        raise DataError(f"{archive.path} is damaged ({error}); write it again.") from None
    if len(raw) != count:
        raise DataError(f"{archive.path} ends {count - len(raw)} bytes early; write it again.")
    return raw


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_archive(path: Path, blocks: Mapping[str, tuple[tuple[int, ...], str, Any]]) -> None:
    """Write an `.npz` block by block, atomically.

    Args:
        path: File to write; replaced if it exists.
        blocks: For each array its shape, dtype name and an iterable of row blocks.
    """
    with writing(path) as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as file:
        for name, (shape, dtype, parts) in blocks.items():
            # A fixed date keeps equal contents equal in bytes.
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with file.open(entry, "w", force_zip64=True) as stream:
                header = {
                    "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                    "fortran_order": False,
                    "shape": shape,
                }
                np.lib.format.write_array_header_2_0(stream, header)
                for part in parts:
                    stream.write(np.ascontiguousarray(part, dtype=dtype).tobytes())
