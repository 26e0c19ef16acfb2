"""Where a store that a model fills is written: a folder of this machine, or an address.

A folder appears in one rename, from splits that are gathered beside it. At an address splits are
gathered in their place, which is claimed meanwhile, and the list of contents comes last.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ltood.core.errors import StoreError
from ltood.library.gathering import Gathered, Gatherer
from ltood.runtime.drivers import address_of, path_of
from ltood.runtime.files import remove_folder
from ltood.runtime.provenance import digest
from ltood.store.chunks import SplitFiles
from ltood.store.claimed import claimed
from ltood.store.disks import disk_at
from ltood.store.features import FeatureStore
from ltood.store.in_place import is_placed, place, placed_writers, withdraw
from ltood.store.metadata import DOCUMENT
from ltood.store.writer import StoreInputs, assemble


class Target(Protocol):
    """A place for a store, as a context that gives it free at the end.

    Attributes:
        place: The folder or address.
    """

    @property
    def place(self) -> Path | str:
        """The folder or address."""

    @property
    def work(self) -> str:
        """What to remove for a fresh start, for messages."""

    def opened(self) -> FeatureStore | None:
        """The store that is there, if any."""

    def begin(self, what: str) -> None:
        """Get ready to write.

        Args:
            what: Digest of the model, its settings and the first images.

        Raises:
            StoreError: If another store is being written there, or was since this run looked.
        """

    def gatherer(self, made: str, split: str, dtype: str, dim: int) -> Gatherer:
        """What writes a split of the model with the digest `made`."""

    def finish(
        self,
        inputs: StoreInputs,
        kept: Mapping[str, SplitFiles],
        gathered: Mapping[str, Gathered],
    ) -> None:
        """Make the store of splits that were there and of those that were gathered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None: ...


def target_of(store: Path | str, *, take_over: bool) -> Target:
    """The place that a path or an address names.

    Args:
        store: Folder, or an address such as "s3://bucket/folder".
        take_over: Write where the run of another model began that is known to have been killed.
    """
    address = address_of(store)
    return _Folder(path_of(store)) if address is None else _Address(address, take_over=take_over)


class _Folder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.place = path
        self._work = path.with_name(f"{path.name}.extracting")
        self.work = str(self._work)

    def opened(self) -> FeatureStore | None:
        return FeatureStore.open(self.place) if self.place.exists() else None

    def begin(self, what: str) -> None:
        del what

    def gatherer(self, made: str, split: str, dtype: str, dim: int) -> Gatherer:
        return Gatherer(self._work / made, split, dtype, dim, made=made, work=self.work)

    def finish(
        self,
        inputs: StoreInputs,
        kept: Mapping[str, SplitFiles],
        gathered: Mapping[str, Gathered],
    ) -> None:
        spec, _ = inputs.bound()
        marked = {name: rows.mark(name, spec) for name, rows in gathered.items()}
        assemble(self.place, inputs, {**kept, **marked})
        remove_folder(self._work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave the work of a run that failed: it is where the next one goes on."""


class _Address:
    """A place where nothing can be renamed."""

    def __init__(self, address: str, *, take_over: bool) -> None:
        self.place, self._take_over = address, take_over
        self._disk = disk_at(address)
        self.work = address
        self._held = ExitStack()
        self._check: Callable[[], None] | None = None
        self._older: list[str] = []
        self._found: bytes | None = None

    def opened(self) -> FeatureStore | None:
        self._found = self._document()
        return None if self._found is None else FeatureStore.open(self.place)

    def _document(self) -> bytes | None:
        try:
            return bytes(self._disk.read(self._disk.folder / DOCUMENT))
        except FileNotFoundError:
            return None

    def begin(self, what: str) -> None:
        if self._check is None:
            holding = claimed(self._disk, what, take_over=self._take_over)
            self._check = self._held.enter_context(holding)
            now = self._document()
            if now is not None and now != self._found:
                raise StoreError(
                    f"a store was written at {self.place} since this run looked; run it again to "
                    "compare the two, or choose another address."
                )
            self._older = withdraw(self._disk)

    def gatherer(self, made: str, split: str, dtype: str, dim: int) -> Gatherer:
        folder = self._disk.folder / split
        return Gatherer(folder, split, dtype, dim, made=made, work=self.work, disk=self._disk)

    def finish(
        self,
        inputs: StoreInputs,
        kept: Mapping[str, SplitFiles],
        gathered: Mapping[str, Gathered],
    ) -> None:
        if not gathered and is_placed(self._disk, inputs):
            return
        spec, _ = inputs.bound()
        self.begin(digest(dict(inputs.provenance)["made"]))
        for name, rows in gathered.items():
            rows.mark(name, spec)
        assert self._check is not None
        self._check()
        place(self._disk, inputs, placed_writers(self._disk, inputs), self._older)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, where)
