"""Files behind an address that fsspec opens: S3 and its like, SSH, web servers and many more."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ltood.core.errors import LtoodError, StoreError, TransferError
from ltood.runtime.extras import require

#: A scheme has two letters or more: one is a drive of Windows. A `Path` has lost a slash.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?=[^/])")
#: A scheme with nothing behind it.
_NOWHERE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/{0,2})")
#: Before a path from the root; what follows is its name, also with "?" and "#".
_FILE = re.compile(r"file:/(/localhost(?=/)|/(?=/))?/?", re.IGNORECASE)
#: Schemes whose folders come and go with their files; making one would make a bucket.
_OBJECT_STORES = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "r2"}
)
#: Schemes of extra `remote`, with the package that speaks each.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "ssh": "sshfs", "sftp": "sshfs"}


def address_of(place: Path | str) -> str | None:
    """The address that a text or a path stands for; None where it is a path of this machine.

    Args:
        place: Such as "s3://bucket/folder", or a `Path` of it, whose two slashes became one.

    Raises:
        StoreError: If it names no place, such as "s3://".
    """
    if isinstance(place, Path) and place.exists():
        return None
    text = place if isinstance(place, str) else place.as_posix()
    bare = _NOWHERE.fullmatch(text)
    # A `Path` has lost its slashes, and a file may well be called "draft:".
    schemes = () if isinstance(place, str) else (*_OBJECT_STORES, *_PACKAGES)
    if bare and (bare[2] == "//" or bare[1].lower() in schemes):
        raise StoreError(
            f"{bare[1]}:// names no place; write the bucket or host and a folder behind it, such "
            f"as {bare[1]}://bucket/folder."
        )
    found = _ADDRESS.match(text)
    if found is None or found[1].lower() == "file":
        return None
    return f"{found[1]}://{text[found.end() :]}".rstrip("/")


def path_of(place: Path | str) -> Path:
    """A path of this machine, which may be written as "file:///folder", or be a `Path` of that."""
    text = place if isinstance(place, str) else place.as_posix()
    found = _FILE.match(text)
    if found is None or (isinstance(place, Path) and place.exists()):
        return Path(place)
    return Path("/" + unquote(text[found.end() :]))


def refuse_address(place: Path | str) -> Path:
    """The path of what can only be written to a disk of this machine.

    Raises:
        StoreError: If it is an address.
    """
    address = address_of(place)
    if address is not None:
        raise StoreError(
            f"{address} is an address, and this is written to a disk; name a folder, and send the "
            "store from there with `ltood store copy`."
        )
    return path_of(place)


class Driver:
    """Whole files below an address.

    Attributes:
        address: Without a slash at its end.
        system: The file system of fsspec.
        makes_folders: Whether a folder has to be made before a file in it.
    """

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        """Take an address; nothing is reached before it is used.

        Args:
            address: Such as "s3://bucket/folder".
            options: As the file system of that scheme takes them.

        Raises:
            MissingPackageError: If the package that speaks the scheme is not installed.
            TransferError: If there is no such scheme, the options are wrong, or the address holds
                a password.
        """
        self.address = address.rstrip("/")
        scheme = address.partition("://")[0]
        _refuse_password(address)
        require("fsspec", address)
        if scheme in _PACKAGES:
            require(_PACKAGES[scheme], address)
        import fsspec

        self.makes_folders = scheme not in _OBJECT_STORES
        with self.told("opened"):
            self.system, self._root = fsspec.core.url_to_fs(self.address, **(options or {}))

    def at(self, name: str) -> str:
        """Name of a file below the address, as the file system has it."""
        return f"{self._root.rstrip('/')}/{name}"

    def read(self, name: str, limit: int | None = None) -> bytes | None:
        """Content of a file; None if there is none.

        Args:
            name: With forward slashes, from the address on.
            limit: Most bytes that are read.
        """
        with self.told("read"):
            try:
                if limit is None:
                    return bytes(self.system.cat_file(self.at(name)))
                return bytes(self.system.cat_file(self.at(name), start=0, end=limit))
            except FileNotFoundError:
                return None
            except Exception:
                # An empty file has no range, and object stores refuse to read one of it.
                if limit is None or self.size(name) != 0:
                    raise
                return b""

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file below a folder, by name from the address on."""
        with self.told("listed"):
            self.system.invalidate_cache()
            try:
                found = self.system.find(self.at(folder), detail=True)
            except FileNotFoundError:
                return {}
            skipped = len(self.at(""))
            return {
                self.system._strip_protocol(name)[skipped:]: int(info["size"])
                for name, info in found.items()
            }

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        with self.told("read"):
            self.system.invalidate_cache()
            try:
                return int(self.system.info(self.at(name))["size"])
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which others see whole or not at all in an object store."""
        with self.told("written"):
            self.make_folder(name)
            self.system.pipe_file(self.at(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none.

        Object stores decide in one request, so that of two writers one has it; elsewhere the file
        is looked for first.

        Returns:
            Whether it was written.
        """
        if self.size(name) is not None:
            return False
        with self.told("written"):
            self.make_folder(name)
            try:
                self.system.pipe_file(self.at(name), content, mode="create")
            except OSError:  # Servers say in many ways that there is one now.
                if self.size(name) is None:
                    raise
                return False
            return True

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        with self.told("written"):
            try:
                self.system.rm_file(self.at(name))
            except FileNotFoundError:
                return

    def make_folder(self, name: str) -> None:
        """Make the folder of a file where the place has folders of their own."""
        if self.makes_folders:
            self.system.makedirs(self.at(name).rpartition("/")[0], exist_ok=True)

    def told(self, what: str) -> AbstractContextManager[None]:
        """One sentence for what a driver raises; each has exceptions of its own."""
        return told(self.address, what, remedy)


def _refuse_password(address: str) -> None:
    try:
        found = urlsplit(address).password
    except ValueError:
        return
    if found:
        raise TransferError(
            f"the address of {urlsplit(address).hostname} holds a password, which messages and "
            "records would repeat; leave it out and set it where the driver looks for it, such as "
            "AWS_SECRET_ACCESS_KEY or a key of SSH."
        )


@contextmanager
def told(address: str, what: str, advice: Callable[[BaseException], str]) -> Iterator[None]:
    """Turn what a driver raises into one sentence with advice.

    Args:
        address: Where.
        what: What was to be done, such as "written".
        advice: What to do after an exception.

    Raises:
        TransferError: After any exception that ltood did not raise itself.
    """
    try:
        yield
    except LtoodError:
        raise
    except Exception as error:
        raise TransferError(
            f"{address} cannot be {what} ({said(error)}); {advice(error)}"
        ) from error


def said(error: BaseException) -> str:
    """What an exception of a driver says, with its kind and that of the one behind it."""
    chain = _chain(error)
    shown = [chain[0]] if len(chain) == 1 else [chain[0], chain[-1]]
    texts = (" ".join(f"{type(each).__name__}: {each}".split()).rstrip(":") for each in shown)
    return "; ".join(texts)


def remedy(error: BaseException) -> str:
    """What to do after an exception of a driver, judged by its kind and those behind it."""
    kinds = " ".join(kind.__name__ for each in _chain(error) for kind in type(each).__mro__)
    if any(word in kinds for word in ("Permission", "Credential", "Forbidden", "Denied", "Auth")):
        return (
            "you have no permission: set the credentials that its driver reads, such as "
            "AWS_ACCESS_KEY_ID, or ask its owner."
        )
    if "FileNotFound" in kinds or "NoSuch" in kinds:
        return "there is no such bucket or folder; check the address or create it."
    if any(word in kinds for word in ("Connect", "Timeout", "gaierror", "Network", "HTTPClient")):
        return (
            "check the network and the name of the server, then run the same command again: what "
            "has arrived is kept."
        )
    return "check the address and its server, then run the same command again."


def _chain(error: BaseException) -> list[BaseException]:
    """An exception and those behind it."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = found.__cause__ or found.__context__
    return chain
