"""NumPy archives from outside, read row by row without executing code.

`.npz` members are streamed out of the zip file, so an archive larger than memory can
be imported. Object arrays (pickles) are refused; a truncated or damaged archive is
reported by name.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import DataError
from ltood.runtime.files import writing


class Archive:
    """An `.npz` file whose arrays are read in row blocks."""

    def __init__(self, path: Path) -> None:
        """Open the archive and read the headers of its arrays.

        Raises:
            DataError: If the file is missing, damaged or holds pickled objects.
        """
        self.path = path
        self._shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any], bool]] = {}
        if not path.is_file():
            raise DataError(f"{path} does not exist.")
        try:
            self._zip = zipfile.ZipFile(path)
            for member in self._zip.namelist():
                with self._zip.open(member) as stream:
                    self._shapes[member.removesuffix(".npy")] = _read_header(stream)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise DataError(
                f"{path} is damaged, truncated or no NumPy archive ({error}); "
                "write it again with numpy.savez."
            ) from None
        for name, (_, dtype, _) in self._shapes.items():
            if dtype.hasobject:
                raise DataError(
                    f"{path}: array {name!r} holds Python objects, which could execute code; "
                    "store plain numbers."
                )

    def __enter__(self) -> Self:
        """Use the archive in a `with` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._zip.close()

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return sorted(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array, without reading it."""
        return self._entry(name)[0]

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of an array, without reading it."""
        return self._entry(name)[1]

    def _entry(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
        if name not in self._shapes:
            raise DataError(
                f"{self.path} has no array {name!r}; it has {', '.join(self.names) or 'none'}."
            )
        return self._shapes[name]

    def load(self, name: str) -> NDArray[Any]:
        """Read a whole array; for heads, labels and other small things."""
        shape, dtype, fortran = self._entry(name)
        with self._member(name) as stream:
            raw = _read_exactly(stream, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, self)
        values: NDArray[Any] = np.frombuffer(raw, dtype=dtype)
        return values.reshape(shape, order="F" if fortran else "C")

    def blocks(self, name: str, sizes: list[int]) -> Iterator[NDArray[Any]]:
        """Yield consecutive row blocks of an array.

        Args:
            name: Array name.
            sizes: Rows of each block, adding up to the array's rows.

        Raises:
            DataError: If the archive ends early or is damaged.
        """
        shape, dtype, fortran = self._entry(name)
        if fortran and len(shape) > 1:
            whole, start = self.load(name), 0
            for size in sizes:
                yield whole[start : start + size]
                start += size
            return
        row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        with self._member(name) as stream:
            for size in sizes:
                raw = _read_exactly(stream, size * row_bytes, self)
                yield np.frombuffer(raw, dtype=dtype).reshape(size, *shape[1:])

    def _member(self, name: str) -> IO[bytes]:
        stream = self._zip.open(f"{name}.npy")
        _read_header(stream)
        return stream


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype, fortran


def _read_exactly(stream: IO[bytes], count: int, archive: Archive) -> bytes:
    try:
        raw = stream.read(count)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
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
