"""A set of files seen as one uncompressed tar archive, which is never written out.

The layout follows from names and sizes alone: members in alphabetical order, no times, no owners.
So equal files give equal bytes on every machine, any range of them can be read without the rest,
and whoever knows the list of files can put a range back where it belongs. Headers that arrive are
compared with the ones that the list gives, never interpreted.
"""

import bisect
import hashlib
import itertools
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ltood.core.errors import CorruptStoreError

#: Bytes that are held at once.
BLOCK = 1 << 20


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    Attributes:
        path: Name with forward slashes.
        size: Bytes.
    """

    path: str
    size: int


class Archive:
    """Bytes of a tar archive by position, read from and written to the files themselves.

    Attributes:
        members: Its files in order.
        size: Bytes of the whole archive.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        """Lay out files.

        Args:
            members: The files, each name once.
        """
        self.members = sorted(members, key=lambda member: member.path)
        sizes = [len(_header(m)) + m.size + -m.size % tarfile.BLOCKSIZE for m in self.members]
        self._starts = list(itertools.accumulate(sizes, initial=0))
        # The end of an archive: two empty blocks, then up to a whole record.
        end = self._starts[-1] + 2 * tarfile.BLOCKSIZE
        self.size = end + -end % tarfile.RECORDSIZE

    def read(
        self,
        files: Mapping[str, Path],
        start: int,
        stop: int,
        seen: Callable[[Member, bytes], None] | None = None,
    ) -> Iterator[bytes]:
        """Bytes [start, stop) in blocks.

        Args:
            files: Where each member lies.
            start: First byte.
            stop: End.
            seen: Called with every block of a member.

        Raises:
            CorruptStoreError: If a file is shorter than its member.
            OSError: If one cannot be read.
        """
        for given, member, begin, count in self._segments(start, stop):
            if member is None:
                yield given
                continue
            with files[member.path].open("rb") as file:
                file.seek(begin)
                while count:
                    block = file.read(min(count, BLOCK))
                    if not block:
                        raise CorruptStoreError(
                            f"{files[member.path]} became shorter while it was read; write it "
                            "again."
                        )
                    if seen is not None:
                        seen(member, block)
                    yield block
                    count -= len(block)

    def write(self, files: Mapping[str, Path], start: int, data: bytes) -> None:
        """Put bytes that begin at `start` into the files, which exist.

        Args:
            files: Where each member lies.
            start: Position of the first byte.
            data: The bytes.

        Raises:
            CorruptStoreError: If they are not those of an archive with these members.
            OSError: If a file cannot be written.
        """
        done = 0
        for given, member, begin, count in self._segments(start, start + len(data)):
            part = data[done : done + count]
            done += count
            if member is None:
                if part != given:
                    raise CorruptStoreError(
                        "the archive does not hold the files that its list names; push it again."
                    )
                continue
            with files[member.path].open("r+b") as file:
                file.seek(begin)
                file.write(part)

    def digest(self, files: Mapping[str, Path], start: int, stop: int) -> str:
        """SHA-256 of bytes [start, stop); see `read`."""
        found = hashlib.sha256()
        for block in self.read(files, start, stop):
            found.update(block)
        return found.hexdigest()

    def _segments(self, start: int, stop: int) -> Iterator[tuple[bytes, Member | None, int, int]]:
        """Consecutive pieces: given bytes, or those of a member from a position on."""
        number = max(bisect.bisect_right(self._starts, start) - 1, 0)
        while start < stop:
            if number >= len(self.members):
                yield bytes(stop - start), None, 0, stop - start
                return
            member, first = self.members[number], self._starts[number]
            header = _header(member)
            content = first + len(header)
            end = content + member.size
            if start < content:
                given = header[start - first : stop - first]
                yield given, None, 0, len(given)
                start += len(given)
            if start < min(stop, end):
                count = min(stop, end) - start
                yield b"", member, start - content, count
                start += count
            number += 1
            if start < min(stop, self._starts[number]):
                padding = min(stop, self._starts[number]) - start
                yield bytes(padding), None, 0, padding
                start += padding


def make_files(files: Mapping[str, Path], members: Sequence[Member]) -> None:
    """Give every member a file of its size, keeping what one holds already.

    Raises:
        OSError: If one cannot be made.
    """
    for member in members:
        path = files[member.path]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            os.truncate(path, member.size)


def _header(member: Member) -> bytes:
    info = tarfile.TarInfo(member.path)
    info.size, info.mode = member.size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)
