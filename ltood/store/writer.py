"""Writing feature stores: chunk by chunk in place, or from splits that were written elsewhere."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import CorruptStoreError, DataError, FingerprintError, StoreError
from ltood.runtime.files import TEMPORARY, building_folder, link_or_copy
from ltood.runtime.provenance import differences
from ltood.store.chunks import SplitFiles
from ltood.store.content import check_content
from ltood.store.disks import LocalDisk
from ltood.store.head import head_digests, read_head
from ltood.store.layout import StoreSpec
from ltood.store.metadata import read_attributes, seal_root
from ltood.store.skeleton import complete_attributes, create_skeleton, fill_skeleton

KIND = "features"


class SplitWriter:
    """Writes one split chunk by chunk; safe to kill at any moment, and to share by chunks.

    Attributes:
        files: Where its chunks go.
    """

    def __init__(self, files: SplitFiles) -> None:
        """Take the files of a split; nothing is read or written."""
        self.files = files

    def missing(self) -> list[tuple[int, int]]:
        """Row ranges that are not written yet, each one whole chunk.

        Raises:
            CorruptStoreError: If a marker is unreadable or belongs to something else.
        """
        return [
            rows
            for chunk, rows in enumerate(self.files.ranges)
            if self.files.read_marker(chunk) is None
        ]

    def unsound(self) -> list[tuple[int, int]]:
        """Row ranges that are not written yet or whose bytes are not those of their marker."""
        return [rows for chunk, rows in enumerate(self.files.ranges) if not self._is_sound(chunk)]

    def _is_sound(self, chunk: int) -> bool:
        try:
            sums = self.files.read_marker(chunk)
            if sums is None:
                return False
            for array, crc in sums.items():
                self.files.map(array, chunk, crc)
        except CorruptStoreError:
            return False
        return True

    def write(self, start: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write one whole row range that `missing` gave.

        Args:
            start: First row of the range.
            arrays: All arrays of the split, with the rows of the range.

        Raises:
            StoreError: If names, rows or shapes differ from the specification, or values
                do not fit the stored type.
        """
        split, spec, step = self.files.name, self.files.spec, self.files.chunk_rows
        if start % step or start >= spec.rows:
            raise StoreError(
                f"row {start} is not the first of a chunk of split {split} ({step} rows each)."
            )
        if arrays.keys() != spec.arrays.keys():
            raise StoreError(
                f"split {split} takes {', '.join(sorted(spec.arrays))}; "
                f"got {', '.join(sorted(arrays))}."
            )
        for name, values in arrays.items():
            shape = (min(step, spec.rows - start), *spec.arrays[name].shape)
            if values.shape != shape:
                raise StoreError(
                    f"{name} of split {split} at row {start} has shape {values.shape}; "
                    f"it must be {shape}."
                )
            if not np.can_cast(values.dtype, spec.arrays[name].dtype, "same_kind"):
                raise StoreError(
                    f"{name} of split {split} at row {start} is {values.dtype}; the store holds "
                    f"{spec.arrays[name].dtype}, convert it first."
                )
        self.files.write(start // step, arrays)


@dataclass(frozen=True)
class StoreInputs:
    """Description of a feature store without its rows.

    Attributes:
        spec: Splits and arrays; splits without a fingerprint get one from the provenance.
        provenance: Plain values that say what the features are made from; no
            times or host names, so that equal inputs give equal bytes.
        head: Head arrays by name, as in `ClassifierHead`; none where the backbone has none.
        class_names: C names in label order.
        class_counts: C training counts.
    """

    spec: StoreSpec
    provenance: Mapping[str, Any]
    head: Mapping[str, NDArray[Any]]
    class_names: Sequence[str]
    class_counts: Sequence[int] | NDArray[np.int64]

    def bound(self) -> tuple[StoreSpec, dict[str, Any]]:
        """The specification with the fingerprints of all splits, and the store's attributes.

        Raises:
            DataError: If head, names, counts and arrays disagree.
        """
        counts = [int(count) for count in self.class_counts]
        check_content(self.spec, self.head, self.class_names, counts)
        content: dict[str, Any] = {
            "kind": KIND,
            "provenance": _plain(self.provenance),
            "head": head_digests(self.head),
            "class_names": list(self.class_names),
            "class_counts": counts,
        }
        spec = self.spec.bound(content)
        return spec, complete_attributes(spec, content)


class FeatureWriter:
    """Writes a feature store chunk by chunk in its place; safe to kill at any moment.

    Attributes:
        path: Store folder.
        spec: Its splits, each with a fingerprint.
    """

    def __init__(self, path: Path, spec: StoreSpec) -> None:
        """Wrap an existing skeleton; use `create` or `resume`."""
        self.path = path
        self.spec = spec
        self._splits = {
            name: SplitWriter(SplitFiles(path / name, name, split, spec.chunk_rows(name)))
            for name, split in spec.splits.items()
        }

    @classmethod
    def create(
        cls,
        path: Path | str,
        spec: StoreSpec,
        provenance: Mapping[str, Any],
        head: Mapping[str, NDArray[Any]],
        class_names: Sequence[str],
        class_counts: Sequence[int] | NDArray[np.int64],
    ) -> Self:
        """Create an empty store; the arguments are those of `StoreInputs`.

        Raises:
            StoreError: If `path` exists.
            DataError: If head, names, counts and arrays disagree.
        """
        path = Path(path)
        spec, attributes = StoreInputs(spec, provenance, head, class_names, class_counts).bound()
        create_skeleton(path, spec, attributes, head)
        return cls(path, spec)

    @classmethod
    def resume(
        cls,
        path: Path | str,
        spec: StoreSpec,
        provenance: Mapping[str, Any],
        head: Mapping[str, NDArray[Any]],
        class_names: Sequence[str],
        class_counts: Sequence[int] | NDArray[np.int64],
    ) -> Self:
        """Continue an existing store made from the same inputs.

        Raises:
            FingerprintError: If the inputs differ; names the first differences.
            StoreError: If `path` is not a feature store.
        """
        path = Path(path)
        inputs = StoreInputs(spec, provenance, head, class_names, class_counts)
        spec, wanted = inputs.bound()
        if read_attributes(path, KIND)["fingerprint"] != wanted["fingerprint"]:
            differing = what_differs(path, inputs)
            raise FingerprintError(
                f"{path} was made from other inputs ({'; '.join(differing[:3])}). "
                "Remove it or write to another path."
            )
        return cls(path, spec)

    def missing(self, split: str) -> list[tuple[int, int]]:
        """Row ranges of `split` that are not written yet, each one whole chunk.

        Raises:
            CorruptStoreError: If a marker is unreadable or belongs to something else.
        """
        return self._splits[split].missing()

    def write(self, split: str, start: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write one whole row range of `split`; see `SplitWriter.write`."""
        self._splits[split].write(start, arrays)

    def finish(self) -> None:
        """Declare the store complete; called by one process, after all others have written.

        Raises:
            StoreError: If a row range is missing.
        """
        for split in self.spec.splits:
            missing = self.missing(split)
            if missing:
                raise StoreError(
                    f"split {split} of {self.path} still misses rows from {missing[0][0]}."
                )
        for path in self.path.rglob(f".*{TEMPORARY}"):
            path.unlink(missing_ok=True)
        seal_root(self.path, complete=True)


def assemble(path: Path, inputs: StoreInputs, splits: Mapping[str, SplitFiles]) -> None:
    """Make a finished feature store of splits that were written elsewhere, in one rename.

    Their files get a second name in the store, or are copied where the file system has no hard
    links; a feature store at `path` is replaced.

    Args:
        path: Store folder.
        inputs: What the store is made from.
        splits: Files of each of its splits; no row may be missing.

    Raises:
        StoreError: If `path` cannot be written or a chunk is missing.
    """
    spec, attributes = inputs.bound()
    with building_folder(path) as building:
        fill_skeleton(building, spec, attributes, inputs.head)
        for name, files in splits.items():
            link_split(files, building / name)
        seal_root(building, complete=True)


def is_finished(path: Path, inputs: StoreInputs) -> bool:
    """Whether a complete and intact store of exactly these inputs exists."""
    spec, wanted = inputs.bound()
    try:
        if read_attributes(path, KIND) != {**wanted, "complete": True}:
            return False
        read_head(LocalDisk(path), wanted["head"])
    except StoreError:
        return False
    found = (
        SplitFiles(path / name, name, split, spec.chunk_rows(name))
        for name, split in spec.splits.items()
    )
    return not any(SplitWriter(files).unsound() for files in found)


def what_differs(path: Path | str, inputs: StoreInputs) -> list[str]:
    """In what the inputs of the store at `path` differ, one clause each; none where it is fine.

    Raises:
        StoreError: If `path` is not a feature store of this version.
    """
    return differences(_compared(read_attributes(path, KIND)), _compared(inputs.bound()[1]))


def link_split(files: SplitFiles, folder: Path) -> None:
    """Hard-link all chunks and markers of a split into `folder`.

    Raises:
        FileNotFoundError: If one is missing.
    """
    chunks = range(len(files.ranges))
    found = [files.chunk_path(array, chunk) for array in files.spec.arrays for chunk in chunks]
    markers = [files.marker_path(chunk) for chunk in chunks]
    for source in [*found, *markers]:  # Markers last: they vouch for the chunks.
        target = folder / source.relative_to(files.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(source, target)


def _compared(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes in which a difference is worth words; fingerprints of splits only follow."""
    rest = {k: v for k, v in attributes.items() if k not in {"fingerprint", "complete", "schema"}}
    splits = {
        name: {key: value for key, value in split.items() if key != "fingerprint"}
        for name, split in attributes["splits"].items()
    }
    return {**rest, "splits": splits}


def _plain(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The same values as they are read back: lists for tuples, text for keys."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(provenance), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the provenance holds something other than finite numbers, text, lists and "
            f"mappings ({error}); convert it."
        ) from None
    return plain
