"""From a store or detector to an address, continued where an earlier run ended."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ltood import __version__
from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.console import progress
from ltood.runtime.files import JSON_LIMIT
from ltood.runtime.scratch import scratch_folder
from ltood.sharing.archive import Archive, Member
from ltood.sharing.card import Remarks, write_card
from ltood.sharing.manifest import (
    CARD,
    MANIFEST,
    PART_BYTES,
    PARTS,
    Manifest,
    Piece,
    part_name,
    read_manifest,
)
from ltood.sharing.places import Place
from ltood.sharing.subjects import Subject

_PART = re.compile(rf"{PARTS}/\d{{5,}}-[0-9a-f]{{64}}\.tar")


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        manifest: List of what the address now holds.
        sent: Parts that were sent.
        kept: Parts that were there already.
    """

    manifest: Manifest
    sent: int
    kept: int


def push(
    subject: Subject,
    place: Place,
    remarks: Remarks,
    *,
    check: bool = False,
    part_bytes: int = PART_BYTES,
) -> Pushed:
    """Send a store or detector; parts that are there are not sent again.

    Args:
        subject: What to send.
        place: Where to.
        remarks: What the card adds.
        check: Read back every part that is there, instead of trusting its name, which holds its
            checksum, and its size. Near places are always read.
        part_bytes: Bytes of every part but the last.

    Raises:
        CorruptStoreError: If a file changes meanwhile.
        StoreError: If the place holds something of another kind.
        TransferError: If the place refuses or cannot be reached.
    """
    manifest = describe(subject, part_bytes)
    there = place.sizes()
    kept = 0
    with (
        scratch_folder() as folder,
        progress(f"push {subject.path.name}", manifest.archive.size, "B") as advance,
    ):
        passing = folder / "part"
        if there.get(MANIFEST, JSON_LIMIT) < JSON_LIMIT:
            _refuse_other_kind(place, passing, subject.kind)
        for number, part in enumerate(manifest.parts):
            if _is_there(place, part, there, passing, read=check or place.is_near):
                kept += 1
            else:
                _assemble(subject, manifest, number, passing)
                place.send(part.name, passing)
            advance(part.size)
    current = {part.name for part in manifest.parts}
    stale = [name for name in there if _PART.fullmatch(name) and name not in current]
    card = write_card(subject, manifest, place.address, remarks)
    place.publish({CARD: card.encode(), MANIFEST: manifest.encode()}, stale)
    return Pushed(manifest, len(manifest.parts) - kept, kept)


def _refuse_other_kind(place: Place, passing: Path, kind: str) -> None:
    """Refuse to replace features by a detector, say; a newer version of a kind may replace it."""
    place.fetch(MANIFEST, passing)
    try:
        found = read_manifest(passing, place.address)
    except StoreError:
        return  # Damaged, which the push mends, or of another version.
    if found.kind != kind:
        raise StoreError(
            f"{place.address} holds something of the kind {found.kind} ({found.name}), which a "
            f"push of the kind {kind} would remove; push to another address, such "
            "as a folder below it."
        )


def describe(subject: Subject, part_bytes: int = PART_BYTES) -> Manifest:
    """Read all bytes once and list files and parts with their checksums.

    Raises:
        CorruptStoreError: If a file changes meanwhile.
    """
    archive = Archive([Member(name, _size(path)) for name, path in subject.files.items()])
    ranges = [
        (start, min(start + part_bytes, archive.size))
        for start in range(0, archive.size, part_bytes)
    ]
    hashes = {member.path: hashlib.sha256() for member in archive.members}
    parts = []
    with progress(f"hash {subject.path.name}", archive.size, "B") as advance:
        for number, (start, stop) in enumerate(ranges):
            whole = hashlib.sha256()
            for block in archive.read(
                subject.files, start, stop, lambda member, piece: hashes[member.path].update(piece)
            ):
                whole.update(block)
            found = whole.hexdigest()
            parts.append(Piece(part_name(number, found), stop - start, found))
            advance(stop - start)
    files = [Piece(m.path, m.size, hashes[m.path].hexdigest()) for m in archive.members]
    return Manifest(
        kind=subject.kind,
        name=_plain_name(subject.path),
        fingerprint=subject.fingerprint,
        version=__version__,
        part_bytes=part_bytes,
        files=tuple(files),
        parts=tuple(parts),
    )


def _is_there(
    place: Place, part: Piece, there: dict[str, int], passing: Path, *, read: bool
) -> bool:
    if there.get(part.name) != part.size:
        return False
    if not read:
        return True
    place.fetch(part.name, passing)
    with passing.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == part.sha256


def _assemble(subject: Subject, manifest: Manifest, number: int, passing: Path) -> None:
    """Write one part to a file, known to be what the list says."""
    found = hashlib.sha256()
    with passing.open("wb") as file:
        for block in manifest.archive.read(subject.files, *manifest.range_of(number)):
            found.update(block)
            file.write(block)
    if found.hexdigest() != manifest.parts[number].sha256:
        raise CorruptStoreError(
            f"{subject.path} changed while it was pushed; run the command again when nothing "
            "writes to it."
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror or error}).") from error


def _plain_name(path: Path) -> str:
    """The name of a file in letters that every system takes."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name)
    return name[-200:].lstrip(".-") or "store"
