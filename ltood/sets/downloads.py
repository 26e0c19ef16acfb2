"""Files from the web: fetched with resume and checksum, archives unpacked safely.

A file grows under the name `.<name>.part` and takes its own name in one rename once its checksum
is right, so a file that is there is whole. A part is continued only where a checksum can show
that both ends fit. Standard library only.
"""

import errno
import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from ltood.core.errors import DataError
from ltood.runtime.claims import claim
from ltood.runtime.console import log, progress
from ltood.runtime.names import leads_out

_BLOCK = 1 << 20
#: Answers after which the same request may succeed a moment later.
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_DIGITS = {"md5": 32, "sha256": 64}


@dataclass(frozen=True)
class Source:
    """One file that is offered somewhere.

    Attributes:
        file: Its name.
        address: Where it is offered, http or https.
        checksum: Algorithm and hexadecimal digits, such as "md5:c32a1d4a..."; "" where its
            authors publish none.
        page: Page to read where the address no longer works.
    """

    file: str
    address: str
    checksum: str = ""
    page: str = ""

    def __post_init__(self) -> None:
        """Check the form of each value."""
        if not self.file or "/" in self.file or self.file.startswith("."):
            raise DataError(f"{self.file!r} is not a file name; give the last part of a path.")
        if not self.address.startswith(("http://", "https://")):
            raise DataError(
                f"the address {self.address!r} of {self.file} must begin with https://."
            )
        algorithm, _, digits = self.checksum.partition(":")
        if self.checksum and len(digits) != _DIGITS.get(algorithm):
            raise DataError(
                f"the checksum {self.checksum!r} of {self.file} must be md5: or sha256: and its "
                "hexadecimal digits."
            )


class _Body(Protocol):
    """Readable body of an HTTP response."""

    def read(self, amount: int, /) -> bytes: ...


class _Passing(Exception):
    """A temporary failure, worth another attempt."""


def fetch(source: Source, folder: Path, *, attempts: int = 5, pause: float = 1.0) -> Path:
    """Bring one file into a folder; where it is already and its checksum fits, do nothing.

    Args:
        source: The file.
        folder: Where to put it; made if missing.
        attempts: Tries in a row that may end early or be turned away, at least 1.
        pause: Seconds before the second try; doubled before each later one.

    Returns:
        Path of the file.

    Raises:
        DataError: If it cannot be had: offline, gone, another checksum, no space.
    """
    target = folder / source.file
    with _placing(source, folder):
        folder.mkdir(parents=True, exist_ok=True)
        if target.exists():
            check_digest(
                target,
                source.checksum,
                f"Remove it and run the same command again. {_by_hand(source, folder)}",
            )
            return target
        part = folder / f".{source.file}.part"
        with part.open("ab") as file:
            _claim(file, source)
            if not source.checksum:
                _empty(file)
            resumed = file.tell() > 0
            _complete(file, source, folder, attempts, pause)
            if resumed and digest(part, source.checksum) != source.checksum:
                log(f"{source.file}: the part of an earlier run does not fit; starting over.")
                _empty(file)
                _complete(file, source, folder, attempts, pause)
            file.flush()
            os.fsync(file.fileno())
            try:
                check_digest(part, source.checksum, f"It is not kept. {_by_hand(source, folder)}")
            except DataError:
                part.unlink()
                raise
            part.replace(target)
    return target


def digest(path: Path, checksum: str) -> str:
    """Checksum of a file by the algorithm of another one.

    Args:
        path: The file.
        checksum: Such as "md5:..."; only its algorithm matters.

    Returns:
        The same form; "" where `checksum` is empty.
    """
    algorithm = checksum.partition(":")[0]
    if not algorithm:
        return ""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm)
    return f"{algorithm}:{found.hexdigest()}"


def check_digest(path: Path, checksum: str, remedy: str) -> None:
    """Refuse a file whose checksum is another one.

    Raises:
        DataError: If it differs; the message ends with `remedy`.
    """
    found = digest(path, checksum)
    if found != checksum:
        raise DataError(
            f"{path.name.removeprefix('.').removesuffix('.part')} has the checksum {found}, not "
            f"{checksum}: it was cut short or is another version. {remedy}"
        )


def unpack(archive: Path, out: Path) -> None:
    """Unpack a tar or zip file to the new folder `out`, which appears whole or not at all.

    Raises:
        DataError: If `out` exists, the file is damaged or not an archive, or a member would land
            outside `out` or be anything but a file, a folder or a link within.
    """
    if out.exists():
        raise DataError(f"{out} exists; move it away before {archive.name} is unpacked to it.")
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, building)
        else:
            _untar(archive, building)
        building.chmod(0o755)  # A temporary folder is private at first.
        building.rename(out)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}); remove it and download it again, and see "
            "that the disk has space."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _untar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        if not hasattr(tarfile, "data_filter"):  # Python before 3.11.4
            for member in opened:
                # Without "..", links and names can only lead further down.
                is_plain = member.isfile() or member.isdir() or member.issym() or member.islnk()
                if not is_plain or leads_out(member.name) or leads_out(member.linkname):
                    raise _refusal(archive, member.name)
            opened.extractall(folder)
            return
        try:
            opened.extractall(folder, filter="data")
        except tarfile.FilterError as error:
            raise _refusal(archive, error) from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            # The library would drop such parts without a word.
            if leads_out(name):
                raise _refusal(archive, name)
        opened.extractall(folder)


def _refusal(archive: Path, member: object) -> DataError:
    return DataError(
        f"{archive} holds a member that leads out of its folder ({member}); it is not unpacked. "
        "Get the archive from its authors."
    )


def _complete(file: IO[bytes], source: Source, folder: Path, attempts: int, pause: float) -> None:
    """Append to the part until all bytes are there."""
    failures = 0
    while True:
        before = file.tell()
        try:
            return _append(file, source, folder)
        except _Passing as error:
            # Progress resets the count: a long download over a shaky line still ends.
            failures = 1 if file.tell() > before else failures + 1
            if failures >= attempts:
                raise DataError(
                    f"{source.file} cannot be downloaded from {source.address} ({error}) after "
                    f"{attempts} attempts in a row. {_by_hand(source, folder)}"
                ) from error
            log(f"{source.file}: {error}; trying again in {pause:g} s.")
        time.sleep(pause)
        pause = min(2 * pause, 60.0)


def _append(file: IO[bytes], source: Source, folder: Path) -> None:
    """Request the missing bytes once and append them."""
    have = file.tell()
    headers = {"User-Agent": "ltood", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(source.address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            if have and answer.status != 206:
                # The server ignores ranges and sends the whole file.
                _empty(file)
                have = 0
            length = answer.headers.get("Content-Length")
            total = None if length is None else have + int(length)
            if not source.checksum and answer.headers.get_content_type() == "text/html":
                raise DataError(
                    f"{source.address} answers with a web page, not with {source.file}. "
                    f"{_by_hand(source, folder)}"
                )
            _announce(source, folder, have, total)
            _copy(answer, file, source.file, have, total)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                return  # Nothing is missing, or the part is too long: the checksum decides.
            if error.code in _PASSING:
                raise _Passing(f"the server answers {error.code} {error.reason}") from error
            raise DataError(
                f"{source.file} cannot be downloaded: {source.address} answers {error.code} "
                f"{error.reason}. {_by_hand(source, folder)}"
            ) from error
    except urllib.error.URLError as error:
        raise _Passing(f"no connection: {error.reason}") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Passing(f"the connection broke: {type(error).__name__}") from error


def _copy(body: _Body, file: IO[bytes], name: str, have: int, total: int | None) -> None:
    with progress(f"download {name}", total, "B") as advance:
        advance(have)
        while block := body.read(_BLOCK):
            file.write(block)
            advance(len(block))
    file.flush()
    if total is not None and file.tell() < total:
        raise _Passing(f"the connection ended after {file.tell()} of {total} bytes")


def _announce(source: Source, folder: Path, have: int, total: int | None) -> None:
    size = "unknown size" if total is None else f"{total / 1e6:,.1f} MB"
    rest = f", {have / 1e6:,.1f} MB of it there already" if have else ""
    log(f"{source.file}: {size}{rest}, from {source.address} to {folder}")
    free = shutil.disk_usage(folder).free
    if total is not None and total - have > free:
        raise OSError(errno.ENOSPC, f"{free / 1e6:,.1f} MB are free")


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _claim(file: IO[bytes], source: Source) -> None:
    """Refuse to write where another process writes."""
    if not claim(file):
        raise DataError(
            f"another process is downloading {source.file} to the same folder; wait for it."
        )


@contextmanager
def _placing(source: Source, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write {source.file} to {folder} ({error.strerror or error}); free space or "
            f"choose another folder, then run the same command again. {_by_hand(source, folder)}"
        ) from error


def _by_hand(source: Source, folder: Path) -> str:
    page = f" (see {source.page})" if source.page else ""
    return (
        f"Or get {source.file} by hand from {source.address}{page} and put it at "
        f"{folder / source.file}."
    )
