"""Files and folders that are old or new but never half written, and reading with limits.

Content is written to a temporary sibling `.<name>.<writer>.tmp`, flushed to disk and renamed.
A killed process leaves at most such siblings; the next writer in the folder removes those whose
process has ended.
"""

import contextlib
import errno
import io
import itertools
import json
import os
import re
import shutil
import socket
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ltood.core.errors import CorruptStoreError, StoreError

TEMPORARY = ".tmp"
#: Largest file that is read whole as JSON.
JSON_LIMIT = 64 * 2**20

Content = bytes | memoryview

#: Numbers of processes, and some locks, mean something on one machine only.
MACHINE = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_SIBLING = re.compile(rf"\..+\.{MACHINE}-(\d+)-\d+\.tmp\Z")
_STREAM = re.compile(r"/dev/std(in|out|err)|(/dev/fd|/proc)/.*")
_count = itertools.count()
_in_use: set[Path] = set()


def write_atomically(path: Path, data: Content, *, sweep: bool = True) -> None:
    """Write a file so that it is either absent, old or complete, also after a crash.

    Args:
        path: As `writing` takes it.
        data: Content.
        sweep: Remove temporaries that ended processes left next to the file first.

    Raises:
        StoreError: If it cannot be written, such as on a full disk.
    """
    with writing(path, sweep=sweep) as file:
        file.write(data)


@contextmanager
def writing(path: Path, *, sweep: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends without an error.

    Args:
        path: A regular file or a free name, whose folder is made if missing. Where `path` is a
            symbolic link, the file it points to is replaced. Devices and pipes are written to
            directly.
        sweep: Remove temporaries that ended processes left next to the file first.

    Yields:
        The file, opened for writing bytes.

    Raises:
        StoreError: If it is a folder or cannot be written.
    """
    with _told(path):
        if _is_stream(path):
            # Standard output may be a file that holds lines already.
            with path.open("ab") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        if sweep:
            sweep_temporaries(target.parent)
        with _temporary(target) as building:
            with building.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            building.replace(target)
            flush_folder(target.parent)


def replace_together(files: Mapping[Path, Content | Callable[[IO[bytes]], object]]) -> None:
    """Replace several files that make one result, so that old and new ones never stand together.

    All new files are written first. Then the old ones are removed in reverse order and the new
    ones appear in order: give the file last that readers take as the sign of a whole result.

    Args:
        files: Content, or what writes it, by path as `writing` takes it; regular or absent.

    Raises:
        StoreError: If one is not a regular file, or cannot be written.
    """
    targets = [Path(os.path.realpath(path)) for path in files]
    with contextlib.ExitStack() as stack:
        built = []
        for target, (path, data) in zip(targets, files.items(), strict=True):
            with _told(path):
                require_regular(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                sweep_temporaries(target.parent)
                built.append(stack.enter_context(_temporary(target)))
                with built[-1].open("wb") as file:
                    data(file) if callable(data) else file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
        for target in reversed(targets):
            with _told(target):
                target.unlink(missing_ok=True)
                flush_folder(target.parent)
        for building, target in zip(built, targets, strict=True):
            with _told(target):
                building.replace(target)
                flush_folder(target.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a small folder whole, replacing what was there.

    Args:
        folder: Folder to write.
        files: Content by file name.

    Raises:
        StoreError: If it cannot be written.
    """
    with building_folder(folder) as building:
        for name, content in files.items():
            with (building / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())


@contextmanager
def building_folder(out: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Fill a new folder that takes the place of `out` when the block ends without an error.

    Yields:
        An empty folder next to `out`.

    Raises:
        StoreError: If `out` cannot be written, or is there at the end and `overwrite` is off.
    """
    target = Path(os.path.realpath(out))
    with _told(out):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(target.parent)
        with _temporary(target) as building:
            building.mkdir()
            yield building
            replace_folder(building, target, overwrite=overwrite)


@contextmanager
def temporary_folder(out: Path) -> Iterator[Path]:
    """Make an empty folder next to `out` for the block; a later writer removes a killed one's.

    Raises:
        StoreError: If it cannot be made.
    """
    target = Path(os.path.realpath(out))
    with _temporary(target) as folder:
        with _told(out):
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep_temporaries(target.parent)
            folder.mkdir()
        yield folder


def replace_folder(building: Path, out: Path, *, overwrite: bool = True) -> None:
    """Move a finished folder to `out` on the same disk, replacing what was there.

    A killed process leaves the old folder, none or the new one, never half of one.

    Args:
        building: The finished folder.
        out: Where it goes.
        overwrite: Without it only an empty folder is replaced.

    Raises:
        StoreError: If `out` holds something and `overwrite` is off.
        OSError: If it cannot be moved.
    """
    target = Path(os.path.realpath(out))
    if not overwrite:
        try:
            building.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            raise StoreError(f"{out} exists already; pass --overwrite or another path.") from None
        flush_folder(target.parent)
        return
    with _temporary(target) as old:
        # Moved aside first: a kill while it is deleted must not leave half a folder here.
        with contextlib.suppress(FileNotFoundError):
            target.rename(old)
        building.rename(target)
        flush_folder(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that no half of it is ever seen under its name.

    Raises:
        OSError: If it cannot be moved aside.
    """
    with _temporary(folder) as old, contextlib.suppress(FileNotFoundError):
        folder.rename(old)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links.

    Raises:
        OSError: If neither is possible.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def flush_folder(folder: Path) -> None:
    """Flush names of a folder to disk, where the system can; Windows does it by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_temporaries(folder: Path, *, below: bool = False) -> None:
    """Remove what killed writers on this machine left in a folder, or in those below it, too."""
    if os.name == "nt":  # where looking for a process could end it
        return
    for place in [each for each, _, _ in os.walk(folder)] if below else [folder]:
        with os.scandir(place) as entries:
            found = [(Path(each.path), _SIBLING.match(each.name)) for each in entries]
        for path, match in found:
            if match and path not in _in_use and not _is_running(int(match[1])):
                _remove(path)


def is_temporary(name: str) -> bool:
    """Whether a writer, perhaps one that was killed, gave a file or folder that name."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """Read a regular file.

    Args:
        path: The file.
        limit: Most bytes that are read.

    Raises:
        FileNotFoundError: If there is none.
        CorruptStoreError: If it is a folder, a pipe or a device, is too large or unreadable.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CorruptStoreError(f"{path} is not a regular file.")
        with path.open("rb") as file:
            content = file.read(-1 if limit is None else limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CorruptStoreError(f"{path} cannot be read ({error.strerror or error}).") from error
    if limit is not None and len(content) > limit:
        raise CorruptStoreError(f"{path} has more than {limit:,} bytes, the limit for such a file.")
    return content


def require_regular(path: Path) -> None:
    """Refuse, with a StoreError, to write where a pipe, device or folder stands for a file."""
    with _told(path):
        if _is_stream(path):
            raise StoreError(f"{path} is a device or pipe; remove it, or choose another path.")


def read_json(path: Path, remedy: str, limit: int = JSON_LIMIT) -> Any:  # noqa: ANN401
    """Read a JSON file.

    Args:
        path: The file.
        remedy: What to do if it is damaged, such as "run the calibrate stage again".
        limit: Most bytes that are read.

    Raises:
        FileNotFoundError: If there is none.
        CorruptStoreError: If it is not a regular file, too large, or does not hold JSON.
    """
    try:
        content = read_regular(path, limit)
    except CorruptStoreError as error:
        raise CorruptStoreError(f"{error} {remedy[0].upper()}{remedy[1:]}.") from error
    return parse_json(content, str(path), remedy)


def parse_json(content: bytes, name: str, remedy: str) -> Any:  # noqa: ANN401
    """Values in the bytes of a JSON file; `name` and `remedy` are for messages.

    Raises:
        CorruptStoreError: If it does not hold JSON.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise CorruptStoreError(f"{name} is nested too deeply; {remedy}.") from None
    except ValueError as error:
        raise CorruptStoreError(f"{name} does not hold JSON ({error}); {remedy}.") from None


def to_json_bytes(value: object) -> bytes:
    """Serialise with sorted keys, so that equal values give equal bytes."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _is_stream(path: Path) -> bool:
    """Whether `path` is a device, a pipe or a stream of this process, to be written to directly.

    Raises:
        StoreError: If it is a folder.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise StoreError(f"cannot write {path}: it is a folder; give the name of a file.")
    return not stat.S_ISREG(mode) or bool(_STREAM.fullmatch(str(path)))


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A free name next to `target`; whatever has that name at the end is removed."""
    path = target.with_name(f".{target.name}.{MACHINE}-{os.getpid()}-{next(_count)}{TEMPORARY}")
    _in_use.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _in_use.discard(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Whether another process has that number; a temporary of ours is known to be in use."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Add the path to OSErrors that lack it, such as those of a full disk."""
    try:
        yield
    except (BrokenPipeError, io.UnsupportedOperation):
        raise
    except OSError as error:
        if error.filename is not None and not _concerns(os.fsdecode(error.filename), path):
            raise
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; free space, check the permissions "
            "or choose another path."
        ) from error


def _concerns(name: str, path: Path) -> bool:
    """Whether a file that the system refused is `path`, a folder above it or our temporary."""
    above = path.is_relative_to(name) or Path(os.path.realpath(path)).is_relative_to(name)
    return above or any(_SIBLING.match(part) for part in Path(name).parts)
