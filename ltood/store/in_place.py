"""A feature store written where it stays, such as behind an address, where nothing can be renamed.

Chunks go first, each before its marker, then the documents, and last the list of contents: until
then there is no store. Whoever starts again finds what is there by its markers, which name the
split they belong to.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ltood.core.errors import CorruptStoreError, IncompleteStoreError, StoreError
from ltood.runtime.scratch import scratch_folder
from ltood.store.chunks import SplitFiles
from ltood.store.disks import Disk
from ltood.store.head import read_head
from ltood.store.metadata import DOCUMENT, read_attributes, seal_root
from ltood.store.skeleton import fill_skeleton
from ltood.store.writer import KIND, SplitWriter, StoreInputs


class PlacedWriter(SplitWriter):
    """Writes a split in its place; trusts chunks whose marker and size are right."""

    def unsound(self) -> list[tuple[int, int]]:
        """Row ranges that are not written, or whose files have another size."""
        files = self.files
        sizes = files.disk.sizes(files.folder)
        wanted = {
            array: files.chunk_rows * spec.row_bytes for array, spec in files.spec.arrays.items()
        }

        def is_there(chunk: int) -> bool:
            with suppress(CorruptStoreError):
                return files.read_marker(chunk) is not None and all(
                    sizes.get(files.chunk_path(array, chunk)) == size
                    for array, size in wanted.items()
                )
            return False

        found = files.disk.each(is_there, range(len(files.ranges)))
        return [rows for rows, there in zip(files.ranges, found, strict=True) if not there]


def placed_writers(disk: Disk, inputs: StoreInputs) -> dict[str, SplitWriter]:
    """Writers of all splits of a store, in its place."""
    spec, _ = inputs.bound()
    return {
        name: PlacedWriter(SplitFiles(disk.folder / name, name, split, spec.chunk_rows(name), disk))
        for name, split in spec.splits.items()
    }


def is_placed(disk: Disk, inputs: StoreInputs) -> bool:
    """Whether the list of contents and the head of exactly this store are there.

    Raises:
        TransferError: If an address refuses or cannot be reached.
    """
    _, wanted = inputs.bound()
    try:
        if read_attributes(disk, KIND) != {**wanted, "complete": True}:
            return False
        read_head(disk, wanted["head"])
    except StoreError:
        return False
    return True


def withdraw(disk: Disk) -> list[str]:
    """Remove the list of contents, so that there is no store while its rows are written.

    Returns:
        Splits and parts of the store that was there.

    Raises:
        StoreError: If there is something other than a feature store.
        TransferError: If an address refuses or cannot be reached.
    """
    try:
        disk.read(disk.folder / DOCUMENT)
    except FileNotFoundError:
        return []
    splits = read_attributes(disk, KIND)["splits"]
    disk.remove(disk.folder / DOCUMENT)
    return list(splits)


def place(
    disk: Disk,
    inputs: StoreInputs,
    writers: Mapping[str, SplitWriter],
    older: Sequence[str] = (),
) -> None:
    """Finish a store whose rows are there: documents, head, and last the list of contents.

    Args:
        disk: The store.
        inputs: What it is made from.
        writers: What `placed_writers` gave.
        older: Splits and parts of a store that was there before; what they left is removed.

    Raises:
        IncompleteStoreError: If rows are missing.
        CorruptStoreError: If another writer has replaced some of them.
        TransferError: If an address refuses or cannot be reached.
    """
    spec, attributes = inputs.bound()
    fill_twins(writers)
    for name, writer in writers.items():
        if None in writer.files.read_markers():
            raise IncompleteStoreError(
                f"split {name} of {disk.show(disk.folder)} still misses rows; run the same command "
                "again, it resumes."
            )
    with scratch_folder() as made:
        fill_skeleton(made, spec, attributes, inputs.head)
        seal_root(made, complete=True)
        root = made / DOCUMENT
        for file in sorted(made.rglob("*")):
            if file.is_file() and file != root:
                disk.write(disk.folder / file.relative_to(made), file.read_bytes())
        disk.write(disk.folder / DOCUMENT, root.read_bytes())
    _sweep(disk, writers, older)


def fill_twins(writers: Mapping[str, SplitWriter]) -> None:
    """Copy rows between splits of the same content, of which only one has to be computed."""
    twins: dict[str, list[SplitWriter]] = {}
    for writer in writers.values():
        twins.setdefault(writer.files.identity, []).append(writer)
    for group in twins.values():
        lacking = [set(each.unsound()) for each in group] if len(group) > 1 else []
        for writer, missing in zip(group, lacking, strict=False):
            for rows in sorted(missing):
                for other, theirs in zip(group, lacking, strict=True):
                    if rows not in theirs:
                        _copy_chunk(other.files, writer.files, rows[0] // other.files.chunk_rows)
                        break


def _copy_chunk(source: SplitFiles, target: SplitFiles, chunk: int) -> None:
    """Copy the arrays of a chunk and then its marker to a split of the same content."""
    arrays = [source.chunk_path(array, chunk) for array in source.spec.arrays]
    for path in (*arrays, source.marker_path(chunk)):
        name = path.relative_to(source.folder)
        target.disk.write(target.folder / name, source.disk.read(path))


def _sweep(disk: Disk, writers: Mapping[str, SplitWriter], older: Sequence[str]) -> None:
    """Remove chunks and markers of an older store that had more splits, rows or arrays."""
    kept = {
        path
        for writer in writers.values()
        for chunk in range(len(writer.files.ranges))
        for path in (
            writer.files.marker_path(chunk),
            *(writer.files.chunk_path(array, chunk) for array in writer.files.spec.arrays),
        )
    }
    for name in {*writers, *older}:
        for path in disk.sizes(disk.folder / name):
            if path not in kept and (name not in writers or path.name != DOCUMENT):
                disk.remove(path)
