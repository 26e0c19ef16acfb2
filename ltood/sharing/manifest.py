"""The list of what lies at an address: every file and every part with size and SHA-256.

    manifest.json              this list, written last
    README.md                  the card
    parts/00000-<sha256>.tar   the first bytes of the archive, and so on

A part has its checksum in its name, so that parts of another version are never taken for it and an
older version stays whole until the list is replaced.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ltood.core.errors import CorruptStoreError
from ltood.runtime.names import leads_out
from ltood.sharing.archive import Archive, Member
from ltood.store.documents import read_sealed, sealed_json

SCHEMA = 1
MANIFEST = "manifest.json"
CARD = "README.md"
PARTS = "parts"
#: Bytes of every part but the last.
PART_BYTES = 64 * 2**20
#: Kinds of what is shared, with the files that an archive of that kind holds.
ROOTS = {
    "features": re.compile(r"features\.zarr/.+"),
    "scores": re.compile(r"scores\.zarr/.+"),
    "detector": re.compile(r"detector\.(safetensors|json|network/[^/]+)"),
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
#: A name that lies openly in a folder, such as that of a user: not `.git`, and not an option.
_OWN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
#: Bytes that no file has; a header of tar holds more.
_SIZE_LIMIT = 2**63
_REMEDY = "push it again, or get the address from its authors"


@dataclass(frozen=True)
class Piece:
    """A file or a part.

    Attributes:
        name: Its name: a path in the archive, or at the address.
        size: Bytes.
        sha256: Hexadecimal digits.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an address holds.

    Attributes:
        kind: "features", "scores" or "detector".
        name: What it is called where no other name is given.
        fingerprint: That of the store or detector.
        version: Version of ltood that pushed it.
        part_bytes: Bytes of every part but the last.
        files: Files of the archive in its order.
        parts: Parts of the archive in order.
    """

    kind: str
    name: str
    fingerprint: str
    version: str
    part_bytes: int
    files: tuple[Piece, ...]
    parts: tuple[Piece, ...]

    @cached_property
    def archive(self) -> Archive:
        """The archive that the parts make up."""
        return Archive([Member(file.name, file.size) for file in self.files])

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def range_of(self, number: int) -> tuple[int, int]:
        """First byte of a part in the archive, and its end."""
        start = number * self.part_bytes
        return start, start + self.parts[number].size

    def encode(self) -> bytes:
        """The content of manifest.json."""
        return sealed_json(
            {
                "schema": SCHEMA,
                "kind": self.kind,
                "name": self.name,
                "fingerprint": self.fingerprint,
                "ltood": self.version,
                "part_bytes": self.part_bytes,
                "files": [vars(file) for file in self.files],
                "parts": [{"size": p.size, "sha256": p.sha256} for p in self.parts],
            }
        )


def part_name(number: int, sha256: str) -> str:
    """Name of a part at an address."""
    return f"{PARTS}/{number:05d}-{sha256}.tar"


def read_manifest(path: Path, address: str) -> Manifest:
    """Read and check a list that came from outside.

    Args:
        path: Where it was put.
        address: Where it came from, for messages.

    Raises:
        StoreError: If another version wrote it.
        CorruptStoreError: If it is damaged, names files outside of its folder, or its sizes do
            not fit one another.
    """
    content = read_sealed(path, SCHEMA, _REMEDY)
    try:
        manifest = Manifest(
            kind=_text(content, "kind"),
            name=_text(content, "name"),
            fingerprint=_text(content, "fingerprint"),
            version=_text(content, "ltood"),
            part_bytes=_count(content, "part_bytes"),
            files=tuple(
                Piece(_text(entry, "name"), _count(entry, "size"), _text(entry, "sha256"))
                for entry in content["files"]
            ),
            parts=tuple(
                Piece(
                    part_name(number, _text(entry, "sha256")),
                    _count(entry, "size"),
                    _text(entry, "sha256"),
                )
                for number, entry in enumerate(content["parts"])
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(address, f"lacks an entry or has a malformed one ({error})") from error
    _check(manifest, address)
    return manifest


def _check(manifest: Manifest, address: str) -> None:
    if manifest.kind not in ROOTS:
        raise _refused(address, f"names the kind {manifest.kind!r}, not {', '.join(ROOTS)}")
    if not _OWN_NAME.fullmatch(manifest.name):
        raise _refused(
            address,
            f"has the name {manifest.name[:40]!r}; a name holds at most 200 letters, digits, dots, "
            "dashes and underscores, and does not begin with a dot or dash",
        )
    if not _SHA256.fullmatch(manifest.fingerprint):
        raise _refused(address, "has a fingerprint that is not a SHA-256")
    for name in (file.name for file in manifest.files):
        if leads_out(name) or not _PATH.fullmatch(name) or "." in name.split("/"):
            raise _refused(address, f"names a file {name!r} that may lie outside the folder")
    root = ROOTS[manifest.kind]
    names = [file.name for file in manifest.files]
    for name in names:
        if not root.fullmatch(name):
            raise _refused(address, f"names the file {name!r}, which no {manifest.kind} have")
    known = set(names)
    if names != sorted(known):
        raise _refused(address, "names files twice or out of order")
    if any(parent in known for name in names for parent in _folders(name)):
        raise _refused(address, "names a file that is a folder, too")
    digests = [piece.sha256 for piece in (*manifest.files, *manifest.parts)]
    if not all(map(_SHA256.fullmatch, digests)):
        raise _refused(address, "has a checksum that is not a SHA-256")
    sizes = [part.size for part in manifest.parts]
    whole, rest = divmod(manifest.archive.size, max(manifest.part_bytes, 1))
    added_up = len(sizes) == whole + (rest > 0) and sizes[-1] == (rest or manifest.part_bytes)
    if not added_up or any(size != manifest.part_bytes for size in sizes[:-1]):
        raise _refused(address, "has parts whose sizes do not add up to its files")


def _folders(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _text(entry: Mapping[str, Any], key: str) -> str:
    if not isinstance(entry[key], str):
        raise TypeError(f"{key} is not a text")
    return str(entry[key])


def _count(entry: Mapping[str, Any], key: str) -> int:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} is not a whole number")
    if not 0 <= value < _SIZE_LIMIT:
        raise ValueError(f"{key} is not a count of bytes")
    return value


def _refused(address: str, why: str) -> CorruptStoreError:
    return CorruptStoreError(f"{MANIFEST} at {address} {why}; {_REMEDY}.")
