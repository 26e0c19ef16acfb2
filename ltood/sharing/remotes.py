"""Places behind an address that fsspec opens: S3 and its like, SSH, web servers and many more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ltood.core.errors import LtoodError, TransferError
from ltood.runtime.extras import require
from ltood.sharing.manifest import MANIFEST, PARTS

#: Schemes whose folders come and go with their files; making one would make a bucket.
_OBJECT_STORES = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "r2"}
)
#: Schemes of extra `remote`, with the package that speaks each.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "ssh": "sshfs", "sftp": "sshfs"}


class Remote:
    """A folder on another machine or in an object store."""

    is_near = False

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        """Take an address; nothing is reached before it is used.

        Args:
            address: Such as "s3://bucket/folder".
            options: As the file system of that scheme takes them.

        Raises:
            MissingPackageError: If the package that speaks the scheme is not installed.
            TransferError: If there is no such scheme, or the options are wrong.
        """
        self.address = address.rstrip("/")
        scheme = address.partition("://")[0]
        require("fsspec", address)
        if scheme in _PACKAGES:
            require(_PACKAGES[scheme], address)
        import fsspec

        self._makes_folders = scheme not in _OBJECT_STORES
        with self._told("opened"):
            self._system, self._root = fsspec.core.url_to_fs(self.address, **(options or {}))

    def sizes(self) -> dict[str, int]:
        """Bytes of the list and of every part by name."""
        with self._told("listed"):
            self._system.invalidate_cache()
            found: dict[str, Any] = {}
            # Not the whole folder: it may be the root of a bucket that holds much else.
            with suppress(FileNotFoundError):
                found |= self._system.find(self._at(PARTS), detail=True)
            with suppress(FileNotFoundError):
                found[self._at(MANIFEST)] = self._system.info(self._at(MANIFEST))
            names = {self._system._strip_protocol(name): info for name, info in found.items()}
            skipped = len(self._at(""))
            return {name[skipped:]: int(info["size"]) for name, info in names.items()}

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file from there, block by block."""
        with self._told("read"):
            self._system.get_file(self._at(name), str(target))

    def send(self, name: str, source: Path) -> None:
        """Copy a part there, block by block; it appears whole or with another size."""
        with self._told("written"):
            if self._makes_folders:
                self._system.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
            self._system.put_file(str(source), self._at(name))

    def publish(self, files: Mapping[str, bytes], stale: Sequence[str]) -> None:
        """Write small files one by one."""
        with self._told("written"):
            for name, content in files.items():
                self._system.pipe_file(self._at(name), content)
            for name in stale:
                self._system.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _told(self, what: str) -> AbstractContextManager[None]:
        """One sentence for what a driver raises; each has exceptions of its own."""
        return told(self.address, what, remedy)


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
