"""Features of one split, stored while they are computed; the number of rows is known at the end.

    features.zarr.extracting/<key>/<array>/    chunks, as in the store
    features.zarr.extracting/<key>/.read/      for each chunk its rows, its checksums, and a
                                               digest of all that had been read up to its end

At an address the folder is that of the split in the store. A run that was killed reads the same
images again but sends only those through the network whose rows are missing. The digests show
whether the images are the same.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, uint8

from ltood.core.errors import CorruptStoreError, DataError, FingerprintError
from ltood.library.loading import Batch
from ltood.runtime.files import to_json_bytes
from ltood.store.chunks import SplitFiles
from ltood.store.disks import Disk, LocalDisk, read_document
from ltood.store.layout import ArraySpec, SplitSpec, StoreSpec, digest

_READ = ".read"
#: More rows than any split has, so that chunks are as large as they get.
_ENDLESS = 2**48
#: Sends images [N, ...] through a network and gives features [N, D].
Read = Callable[[Tensor], NDArray[Any]]
#: Features [n, D] and labels [n].
_Rows = tuple[NDArray[Any], NDArray[np.int64]]


class Digest:
    """Running digest of images and labels, which does not depend on how they are batched."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._images, self._labels = hashlib.sha256(), hashlib.sha256()
        self._form: tuple[object, ...] = ()

    def update(self, batch: Batch, first: int, last: int) -> None:
        """Take in rows [first, last) of a batch."""
        images = batch.images[first:last].detach().cpu().contiguous()
        form = (images.dtype, *images.shape[1:])
        if form != self._form:  # Equal bytes of another shape are other images.
            self._images.update(repr(form).encode())
            self._form = form
        self._images.update(images.flatten().view(uint8).numpy().data)
        if batch.labels is not None:
            self._labels.update(np.ascontiguousarray(batch.labels[first:last]).data)

    def hex(self) -> str:
        """The digest so far."""
        return digest({"images": self._images.hexdigest(), "labels": self._labels.hexdigest()})


def content_of(batches: Iterable[Batch]) -> str:
    """Digest of all images and labels, without any network."""
    running = Digest()
    for batch in batches:
        running.update(batch, 0, len(batch.images))
    return running.hex()


@dataclass(frozen=True)
class Gathered:
    """A finished split that is not yet in a store.

    Attributes:
        folder: Where its chunks are.
        rows: Number of its rows.
        content: Digest of its images and labels.
        sums: Checksums of the arrays of each chunk.
        arrays: Its arrays.
        labels: All labels, [N].
        disk: How the folder is reached.
    """

    folder: Path
    rows: int
    content: str
    sums: list[dict[str, str]]
    arrays: dict[str, ArraySpec]
    labels: NDArray[np.int64]
    disk: Disk

    def mark(self, name: str, spec: StoreSpec) -> SplitFiles:
        """Write the markers that a store wants, whose fingerprints are known only now.

        Args:
            name: Name of the split.
            spec: All splits of the store, each with a fingerprint.
        """
        files = SplitFiles(self.folder, name, spec.splits[name], spec.chunk_rows(name), self.disk)
        for chunk, sums in enumerate(self.sums):
            files.mark(chunk, sums)
        return files


class Gatherer:
    """Writes features of one split; safe to kill at any moment."""

    def __init__(
        self,
        folder: Path,
        name: str,
        dtype: str,
        dim: int,
        *,
        made: str,
        work: str,
        disk: Disk | None = None,
    ) -> None:
        """Look at what an earlier run has left.

        Args:
            folder: Folder of this split alone.
            name: Name of the split.
            dtype: Number format of features, "float32" or "float16".
            dim: Feature width D.
            made: Digest of the network and its settings; what others have left does not count.
            work: What to remove for a fresh start, for messages.
            disk: How the folder is reached; a disk of this machine if not given.
        """
        self._folder, self._name, self._dim = folder, name, dim
        self._made, self._place, self._disk = made, work, disk or LocalDisk(folder)
        self._arrays = {
            "features": ArraySpec(dtype, (dim,)),
            "labels": ArraySpec("int64"),
            "ids": ArraySpec("int64"),
        }
        self._step = self._chunk_rows(_ENDLESS)
        #: Notes of written chunks, in order, by the row that they end before.
        self._ends = {entry["rows"][1]: entry for entry in self._sound()}

    @property
    def rows(self) -> int:
        """Rows that are written."""
        return max(self._ends, default=0)

    def first_row(self) -> NDArray[Any]:
        """Features of the first row that an earlier run has left, [1, D]."""
        stop, entry = next(iter(self._ends.items()))
        return self._files(stop).map("features", 0, entry["crc32c"]["features"])[:1]

    def gather(self, batches: Iterable[Batch], read: Read) -> Gathered:
        """Send through the network what is missing, and keep it.

        Args:
            batches: Images and labels from the first row on.
            read: The network.

        Raises:
            FingerprintError: If they are not what an earlier run has read.
            DataError: If there are none, or features are of another width or not finite.
        """
        running, row = Digest(), 0
        ends: dict[int, str] = {}
        all_labels: list[NDArray[np.int64]] = []
        pending: list[_Rows] = []
        for batch in batches:
            stop = row + len(batch.images)
            for first, last in self._pieces(row, stop):
                running.update(batch, first - row, last - row)
                if last in self._ends or last % self._step == 0:
                    ends[last] = running.hex()
            self._compare(ends)
            labels = batch.labels
            labels = np.full(stop - row, -1, dtype=np.int64) if labels is None else labels
            all_labels.append(labels)
            if stop > self.rows:
                if self.rows % self._step:
                    raise self._differs(f"goes on after the last of {self.rows:,} images")
                skipped = max(self.rows + sum(len(rows[1]) for rows in pending) - row, 0)
                features = self._checked(read(batch.images), row, stop)
                pending = self._flush([*pending, (features[skipped:], labels[skipped:])], ends)
            row = stop
        if row == 0:
            raise DataError(f"the loader of {self._name} gives no images; leave the split out.")
        if row < self.rows:
            raise self._differs(f"ends after {row:,} of {self.rows:,} images")
        if row > self.rows:
            self._write(row, _joined(pending), running.hex())
        return Gathered(
            self._folder,
            row,
            running.hex(),
            [entry["crc32c"] for entry in self._ends.values()],
            self._arrays,
            np.concatenate(all_labels),
            self._disk,
        )

    def _pieces(self, row: int, stop: int) -> Iterator[tuple[int, int]]:
        """Rows [row, stop), cut where chunks end."""
        while row < stop:
            ends = [(row // self._step + 1) * self._step, stop]
            last = min(end for end in (*ends, self.rows) if end > row)
            yield row, last
            row = last

    def _compare(self, ends: dict[int, str]) -> None:
        """Refuse images that an earlier run did not read there, and forget what was compared."""
        for stop in [stop for stop in ends if stop in self._ends]:
            entry = self._ends[stop]
            if ends.pop(stop) != entry["read"]:
                start = entry["rows"][0]
                raise self._differs(f"gives other images or labels in rows {start} to {stop}")

    def _checked(self, features: NDArray[Any], row: int, stop: int) -> NDArray[Any]:
        """Features of rows [row, stop), refused where they cannot be stored."""
        if features.shape != (stop - row, self._dim):
            raise DataError(
                f"the network gives features of shape {features.shape} for images {row} to {stop} "
                f"of {self._name}; the first batch gave {self._dim} for each. All images need one "
                "size where features are not pooled."
            )
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            raise DataError(
                f"features of image {row + int(np.argmin(finite))} of {self._name} hold NaN or "
                f"infinity ({int((~finite).sum())} such images in its batch); look at the image, "
                'or compute in float32 with amp="off".'
            )
        return features

    def _flush(self, pending: list[_Rows], ends: dict[int, str]) -> list[_Rows]:
        """Write full chunks; gives the rows that are left."""
        if sum(len(labels) for _, labels in pending) < self._step:
            return pending
        features, labels = _joined(pending)
        while len(labels) >= self._step:
            stop = self.rows + self._step
            self._write(stop, (features[: self._step], labels[: self._step]), ends.pop(stop))
            features, labels = features[self._step :], labels[self._step :]
        return [(features, labels)] if len(labels) else []

    def _write(self, stop: int, rows: _Rows, read: str) -> None:
        """Write one chunk, of rows up to `stop`, and note it."""
        start, chunk = self.rows, len(self._ends)
        files = self._files(stop)
        ids = np.arange(start, stop, dtype=np.int64)
        files.write(chunk, {"features": rows[0], "labels": rows[1], "ids": ids})
        entry = {
            "rows": [start, stop],
            "read": read,
            "crc32c": files.read_marker(chunk),
            "made": self._made,
        }
        self._disk.write(self._note(chunk), to_json_bytes(entry))
        self._ends[stop] = entry

    def _sound(self) -> Iterator[dict[str, Any]]:
        """Notes of chunks whose files are whole, up to the first that is not."""
        start = 0
        sizes = None if self._disk.is_near else self._disk.sizes(self._folder)
        for chunk in range(_ENDLESS):
            try:
                entry = read_document(self._disk, self._note(chunk), "delete it")
                files = self._files(entry["rows"][1])
                if entry["rows"][0] != start or start >= entry["rows"][1]:
                    return
                if entry["made"] != self._made or entry["crc32c"].keys() != self._arrays.keys():
                    return
                for array, crc in entry["crc32c"].items():
                    if sizes is None:
                        files.map(array, chunk, crc)
                    elif sizes[files.chunk_path(array, chunk)] != files.bytes_of(array):
                        return
            except (FileNotFoundError, CorruptStoreError, LookupError, TypeError):
                return
            yield entry
            start = entry["rows"][1]

    def _files(self, stop: int) -> SplitFiles:
        """Files of the split as far as row `stop`."""
        spec = SplitSpec(stop, self._arrays, "unfinished")
        return SplitFiles(self._folder, self._name, spec, self._chunk_rows(stop), self._disk)

    def _chunk_rows(self, rows: int) -> int:
        """Rows of one chunk where the split has so many."""
        return StoreSpec({self._name: SplitSpec(rows, self._arrays)}).chunk_rows(self._name)

    def _note(self, chunk: int) -> Path:
        return self._folder / _READ / f"{chunk:06d}.json"

    def _differs(self, how: str) -> FingerprintError:
        return FingerprintError(
            f"the loader of {self._name} {how}, unlike that of an earlier run; give the same "
            f"images in the same order, without random augmentation, or remove "
            f"{self._place} to start again."
        )


def _joined(pending: list[_Rows]) -> _Rows:
    features, labels = zip(*pending, strict=True)
    return np.concatenate(features), np.concatenate(labels)
