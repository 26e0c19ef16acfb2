"""Damage of one file, as disks, people and mixed up copies do it.

Each function takes the repository to damage, an unbroken one of another run, the random numbers,
the name of the file, and the names of all files of that result. It says whether anything changed.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.stress_repository import content, copy


class Places(NamedTuple):
    """Repositories of a trial.

    Attributes:
        place: The one to damage.
        other: Of another run.
        whole: As `place` was.
        random: Random numbers.
    """

    place: Path
    other: Path
    whole: Path
    random: random.Random


def chunk_of(name: str) -> tuple[Path, int] | None:
    """Split and number of the chunk that a file of a store belongs to, or its marker does."""
    path = Path(name)
    if path.parent.name == ".done":
        return path.parents[1], int(path.stem)
    if "c" not in path.parts:
        return None
    at = path.parts.index("c")
    return Path(*path.parts[: at - 1]), int((*path.parts[at + 1 :], "0")[0])


def _flip(at: Places, name: str, files: list[str]) -> bool:
    """Change one bit, and leave size and times as they were."""
    del files
    path = at.place / name
    raw, before = bytearray(path.read_bytes()), path.stat()
    if not raw:
        return False
    raw[at.random.randrange(len(raw))] ^= 1 << at.random.randrange(8)
    with path.open("r+b") as file:  # In place: other names of the file change with it.
        file.write(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return True


def _truncate(at: Places, name: str, files: list[str]) -> bool:
    del files
    path = at.place / name
    size = path.stat().st_size
    if size:
        os.truncate(path, at.random.randrange(size))
    return size > 0


def _delete(at: Places, name: str, files: list[str]) -> bool:
    del files
    (at.place / name).unlink()
    return True


def _append(at: Places, name: str, files: list[str]) -> bool:
    del files
    with (at.place / name).open("ab") as file:
        file.write(b"\0" * at.random.randint(1, 9))
    return True


def _swap(at: Places, name: str, files: list[str]) -> bool:
    """Exchange a file for one of its neighbours that differs."""
    path = at.place / name
    near = [at.place / file for file in files if Path(file).suffix == path.suffix]
    near = [file for file in near if file.read_bytes() != path.read_bytes()]
    if not near:
        return False
    other = at.random.choice(near)
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.unlink()
    other.unlink()
    path.write_bytes(theirs)
    other.write_bytes(mine)
    return True


def _of_other_run(at: Places, name: str, files: list[str]) -> bool:
    """Take the file of the other repository, and the marker of a chunk with it."""
    chunk = chunk_of(name)
    names = [each for each in files if chunk_of(each) == chunk] if chunk else [name]
    changed = False
    for each in names:
        source = at.other / each
        if source.is_file() and (at.place / each).is_file():
            changed |= source.read_bytes() != (at.place / each).read_bytes()
            copy(source, at.place / each)
    return changed


def _folder_of_other_run(at: Places, name: str, files: list[str]) -> bool:
    """Take the folder of the file from the other repository.

    Not one at the top: what a user names whole, such as a store, is read as what it is.
    """
    del files
    folder = Path(name).parent
    if len(folder.parts) < 2 or not (at.other / folder).is_dir():
        return False
    copy(at.other / folder, at.place / folder)
    return content(at.place, (str(folder),)) != content(at.whole, (str(folder),))


def _link_to_other_run(at: Places, name: str, files: list[str]) -> bool:
    del files
    path, target = at.place / name, at.other / name
    if not target.is_file() or target.read_bytes() == path.read_bytes():
        return False
    path.unlink()
    path.symlink_to(target)
    return True


def _edit(at: Places, name: str, files: list[str]) -> bool:
    """Change a digit in a document, so that it stays one."""
    del files
    path = at.place / name
    raw = bytearray(path.read_bytes())
    digits = [number for number, byte in enumerate(raw) if chr(byte) in "12345678"]
    if path.suffix not in (".json", ".csv", ".txt") or not digits:
        return False
    raw[at.random.choice(digits)] += 1
    path.unlink()
    path.write_bytes(raw)
    return True


def _pipe(at: Places, name: str, files: list[str]) -> bool:
    del files
    (at.place / name).unlink()
    os.mkfifo(at.place / name)
    return True


def _folder(at: Places, name: str, files: list[str]) -> bool:
    del files
    (at.place / name).unlink()
    (at.place / name).mkdir()
    return True


DAMAGES: dict[str, Callable[[Places, str, list[str]], bool]] = {
    "flipped bit": _flip,
    "truncated file": _truncate,
    "deleted file": _delete,
    "longer file": _append,
    "swapped files": _swap,
    "file of another run": _of_other_run,
    "folder of another run": _folder_of_other_run,
    "link to another run": _link_to_other_run,
    "edited document": _edit,
    "pipe": _pipe,
    "folder in its place": _folder,
}
