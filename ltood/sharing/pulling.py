"""From an address to a store or detector that is whole, continued where an earlier run ended.

Everything arrives in `.<name>.pulling` next to its place. There the files have their final sizes
from the beginning; a run that finds them compares what is in them with the checksum of each part,
and fetches the others. At the end all files are compared with theirs, the store or detector is
verified by its own rules, and only then does it get its name.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ltood.core.errors import CorruptStoreError, FingerprintError, StoreError, TransferError
from ltood.runtime.claims import claim
from ltood.runtime.console import log, progress
from ltood.runtime.files import JSON_LIMIT
from ltood.sharing.archive import BLOCK, make_files
from ltood.sharing.manifest import MANIFEST, Manifest, read_manifest
from ltood.sharing.places import Place
from ltood.sharing.subjects import Subject, move_arrived, open_arrived, subject_at

#: Times that a part is fetched which broke off or arrived damaged.
_ATTEMPTS = 2
#: Fewest digits of a fingerprint that are taken for it.
_DIGITS = 8


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes:
        path: The store or detector.
        manifest: List of what the address holds.
        fetched: Parts that were fetched; 0 where all was there.
    """

    path: Path
    manifest: Manifest
    fetched: int


def pull(
    place: Place, out: Path | None, *, fingerprint: str | None = None, overwrite: bool = False
) -> Pulled:
    """Fetch a store or detector and verify it.

    Args:
        place: Where it lies.
        out: Its new place; by default its own name in the current folder.
        fingerprint: What its fingerprint must be, or begin with.
        overwrite: Replace a store or detector of another fingerprint that is there.

    Raises:
        TransferError: If nothing is there, or the place cannot be reached.
        FingerprintError: If it has another fingerprint than asked for.
        CorruptStoreError: If a part is damaged, or what arrived is.
        StoreError: If something else is at `out`, or the disk has no room.
    """
    folder = Path.cwd() if out is None else Path(os.path.realpath(out)).parent
    there = place.sizes()
    with _working(folder / f".{_key(place, out)}.pulling") as working:
        manifest = _read_list(place, there, working)
        _check_fingerprint(manifest, place, fingerprint)
        path = out or Path(manifest.name)
        if _is_finished(path, manifest, overwrite=overwrite):
            shutil.rmtree(working, ignore_errors=True)  # Of a run that was killed at its end.
            return Pulled(path, manifest, 0)
        files = {
            file.name: working.joinpath("files", *file.name.split("/")) for file in manifest.files
        }
        resumed = (working / "files").exists()
        _make_room(working, files, manifest)
        fetched = _fetch_parts(place, there, manifest, files, working, resumed=resumed)
        _check_files(manifest, files, place)
        subject = open_arrived(manifest.kind, working / "files")
        _check_subject(subject, manifest, place)
        move_arrived(subject, path)
        shutil.rmtree(working, ignore_errors=True)
    return Pulled(path, manifest, fetched)


def _key(place: Place, out: Path | None) -> str:
    """Name of the working folder: that of the result, or one that follows from the address."""
    if out is not None:
        return out.name
    return hashlib.sha256(place.address.encode()).hexdigest()[:12]


@contextlib.contextmanager
def _working(folder: Path) -> Iterator[Path]:
    """The working folder, which is this process's alone until the block ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Whoever may write here could have put a link there, and so make us write elsewhere.
        for path in (folder, *folder.rglob("*")):
            if path.is_symlink():
                raise StoreError(f"{path} is a link, which no pull makes; remove it and run again.")
        file = (folder / "lock").open("ab")
    except OSError as error:
        raise StoreError(
            f"cannot write {folder} ({error.strerror or error}); check permissions and free space "
            "or choose another path."
        ) from error
    with file:
        if not claim(file):
            raise StoreError(f"another process pulls to {folder}; wait for it.")
        try:
            yield folder
        finally:
            if not (folder / "files").exists():
                shutil.rmtree(folder, ignore_errors=True)


def _read_list(place: Place, there: dict[str, int], working: Path) -> Manifest:
    if MANIFEST not in there:
        raise TransferError(
            f"{place.address} holds nothing that ltood pushed (it has no {MANIFEST}); check the "
            "address."
        )
    if there[MANIFEST] > JSON_LIMIT:
        raise CorruptStoreError(
            f"{MANIFEST} at {place.address} has {there[MANIFEST]:,} bytes; the limit is "
            f"{JSON_LIMIT:,}."
        )
    place.fetch(MANIFEST, working / MANIFEST)
    return read_manifest(working / MANIFEST, place.address)


def _check_subject(subject: Subject, manifest: Manifest, place: Place) -> None:
    """Refuse what is whole but not what the list says, or has files that do not belong to it."""
    for what, found, listed in (
        ("kind", subject.kind, manifest.kind),
        ("fingerprint", subject.fingerprint, manifest.fingerprint),
    ):
        if found != listed:
            raise CorruptStoreError(
                f"what {place.address} holds has the {what} {found}, but its list says {listed}; "
                "push it again."
            )
    # A file beside those of a store could be one that some other program runs.
    strangers = sorted({file.name for file in manifest.files} - subject.files.keys())
    if strangers:
        raise CorruptStoreError(
            f"{place.address} holds {strangers[0]!r}, which does not belong to the {subject.kind} "
            f"there ({len(strangers)} such files); push it again, or get the address from its "
            "authors."
        )


def _check_fingerprint(manifest: Manifest, place: Place, wanted: str | None) -> None:
    if wanted is None:
        return
    if len(wanted) < _DIGITS or not manifest.fingerprint.startswith(wanted.lower()):
        raise FingerprintError(
            f"{place.address} holds the fingerprint {manifest.fingerprint}, not {wanted} (at least "
            f"{_DIGITS} digits count); pull another address or leave out --fingerprint."
        )


def _is_finished(path: Path, manifest: Manifest, *, overwrite: bool) -> bool:
    """Whether the same thing is there already, found whole."""
    if path.suffix not in (".safetensors", ".json") and manifest.kind == "detector":
        raise StoreError(f"{path} is not a name for a detector; call it <name>.safetensors.")
    if _is_half(path, manifest):
        return False
    try:
        found = subject_at(path)
    except CorruptStoreError as error:
        if not overwrite:
            raise CorruptStoreError(f"{error} Pass --overwrite to replace it.") from error
        return False
    if found is None:
        return False
    if found.fingerprint == manifest.fingerprint:
        # A detector may be there without the network that the address holds beside it.
        return {file.name for file in manifest.files} <= found.files.keys()
    if not overwrite:
        raise StoreError(
            f"{path} exists and has the fingerprint {found.fingerprint[:12]}…, the address "
            f"{manifest.fingerprint[:12]}…; pass --overwrite or another path."
        )
    return False


def _is_half(path: Path, manifest: Manifest) -> bool:
    """Whether a killed run left the tensors of this very detector without their description."""
    tensors, sidecar = path.with_suffix(".safetensors"), path.with_suffix(".json")
    if manifest.kind != "detector" or sidecar.exists() or not tensors.is_file():
        return False
    with tensors.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return found in {file.sha256 for file in manifest.files}


def _make_room(working: Path, files: dict[str, Path], manifest: Manifest) -> None:
    """Give every file its size, and refuse where the disk cannot take them.

    Raises:
        StoreError: If there is no room.
    """
    root = working / "files"
    wanted = set(files.values())
    try:
        held = 0
        for path in root.rglob("*") if root.exists() else ():
            if path.is_file():
                if path not in wanted:
                    path.unlink()  # Of a version that was pushed before.
                    continue
                held += path.stat().st_blocks * 512 if hasattr(os.stat_result, "st_blocks") else 0
        need = manifest.size - held + manifest.part_bytes
        free = shutil.disk_usage(working).free
        if need > free:
            raise StoreError(
                f"{working.parent} has {free / 1e6:,.1f} MB free and {need / 1e6:,.1f} MB are "
                "needed; free space or choose another path."
            )
        make_files(files, manifest.archive.members)
    except OSError as error:
        raise _no_place(working, error) from error


def _fetch_parts(
    place: Place,
    there: dict[str, int],
    manifest: Manifest,
    files: dict[str, Path],
    working: Path,
    *,
    resumed: bool,
) -> int:
    """Fetch every part that is not there yet; returns how many."""
    fetched, archive = 0, manifest.archive
    with progress(f"pull {manifest.name}", archive.size, "B") as advance:
        for number, part in enumerate(manifest.parts):
            start, stop = manifest.range_of(number)
            if not resumed or archive.digest(files, start, stop) != part.sha256:
                if there.get(part.name) != part.size:
                    raise CorruptStoreError(
                        f"{place.address} lacks {part.name}, or has only a piece of it; push it "
                        "again."
                    )
                _fetch_part(place, manifest, number, files, working / "part")
                fetched += 1
            advance(part.size)
    if resumed and fetched < len(manifest.parts):
        log(f"{len(manifest.parts) - fetched} of {len(manifest.parts)} parts were there already.")
    return fetched


def _fetch_part(
    place: Place, manifest: Manifest, number: int, files: dict[str, Path], passing: Path
) -> None:
    part = manifest.parts[number]
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            place.fetch(part.name, passing)
        except TransferError as error:
            if attempt == _ATTEMPTS:
                raise
            log(f"{error} Trying once more.")
            continue
        with passing.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == part.sha256:
            break
    else:
        raise CorruptStoreError(
            f"{part.name} at {place.address} is damaged: its SHA-256 is {found}. Push it again "
            "with --check."
        )
    start, _ = manifest.range_of(number)
    try:
        with passing.open("rb") as file:
            while block := file.read(BLOCK):
                manifest.archive.write(files, start, block)
                start += len(block)
    except OSError as error:
        raise _no_place(passing.parent, error) from error


def _check_files(manifest: Manifest, files: dict[str, Path], place: Place) -> None:
    """Compare every file with its checksum, and flush it to disk."""
    with progress(f"verify {manifest.name}", manifest.size, "B") as advance:
        for entry in manifest.files:
            with files[entry.name].open("r+b") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            if found != entry.sha256:
                raise CorruptStoreError(
                    f"{entry.name} of {place.address} has the SHA-256 {found}, not "
                    f"{entry.sha256}; run the command again, or push it again with --check."
                )
            advance(entry.size)


def _no_place(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write {folder} ({error.strerror or error}); free space, check permissions or "
        "choose another path, then run the same command again: what has arrived is kept."
    )
