"""Damaged chunks of an extracted store, computed again from the same checkpoint and images."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltood.core.errors import CorruptStoreError, FingerprintError, StoreError
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extract import FASTER, Job, plan_extraction
from ltood.extraction.missing import missing_chunks
from ltood.extraction.sizing import Sizing
from ltood.images.sources import ImageData
from ltood.runtime.distributed import Ranks
from ltood.runtime.files import read_regular, sweep_temporaries
from ltood.runtime.provenance import differences
from ltood.store.chunks import SplitFiles, checksum, chunk_path, raw_bytes
from ltood.store.features import FeatureStore
from ltood.store.head import GROUP, read_head
from ltood.store.listed import damaged_documents
from ltood.store.verifying import Fault, faults_of
from ltood.store.writer import SplitWriter

#: Settings of extraction that a store records.
_RECORDED = ("batch_size", "channels_last", "dtype", "rows_per_chunk")
_AMP = {"float32": "off", "bfloat16": "bf16", "float16": "fp16"}


def repair(
    path: Path,
    checkpoint: Path,
    data: ImageData,
    config: ExtractionConfig,
    *,
    device_name: str = "auto",
    ranks: Ranks | None = None,
) -> list[Fault]:
    """Compute damaged chunks of a store again, and nothing else; its bytes become what they were.

    Args:
        path: Feature store that extraction wrote.
        checkpoint: Folder of the checkpoint that it was extracted with.
        data: The prepared images that it was extracted from.
        config: Settings; those that the store records come from there.
        device_name: As `runtime.devices.choose_device` takes it.
        ranks: This process among those that share the work; alone if not given.

    Returns:
        What was damaged and is whole now.

    Raises:
        FingerprintError: If checkpoint, images, settings or code are not those of the store, or
            the device computes other bytes; damaged chunks are left as they are.
        StoreError: If it was not extracted, or its list of contents is damaged.
    """
    ranks = ranks or Ranks()
    opened = FeatureStore.open(path)
    # Seen by one for all: the others would see what it has mended in the meantime.
    found, lost_head = ranks.on_rank_zero(lambda: _damage(opened))
    if not found and not lost_head:
        return []
    recorded = opened.provenance
    if recorded.get("source") != "extraction":
        raise StoreError(
            f"{opened.path} was made by {recorded.get('source', 'something else')}, not by "
            "extraction; only that can be repeated in part. Write the store again, or copy a whole "
            "one."
        )
    extras = tuple(recorded.get("extras", {}))
    same = replace(config, **_settings(recorded), extras=extras)
    sizing = Sizing(path, Ranks())  # Not asked: the store records a number.
    device_name = ranks.device_name(device_name)
    job = plan_extraction(checkpoint, data, same, device_name, extras, sizing)
    damaged = {fault.split for fault in found}
    _check_same(opened, job, damaged, lost_head=lost_head)
    writers = {name: _Again(opened.files(name)) for name in opened.parts if name in damaged}
    work = ranks.on_rank_zero(lambda: missing_chunks(writers, job.inputs.spec, job.batches(data)))
    job.run("repair", data, work[ranks.rank :: ranks.world_size], writers)
    ranks.barrier()
    if lost_head and ranks.rank == 0:
        for name, values in job.inputs.head.items():
            file = chunk_path(opened.disk.folder / GROUP, name, 0, values.ndim)
            opened.disk.write(file, raw_bytes(values).data)
    return found


class _Again(SplitWriter):
    """Writes chunks whose bytes are those that were there before."""

    def write(self, start: int, arrays: Mapping[str, Any]) -> None:
        """Write one whole row range, if it gives the bytes that its marker names."""
        files = self.files
        chunk = start // files.chunk_rows
        try:
            wanted = files.read_marker(chunk)
        except CorruptStoreError:
            wanted = None
            files.disk.remove(files.marker_path(chunk))
        sums = {name: checksum(raw) for name, raw in files.encoded(chunk, arrays)}
        if wanted is not None and not self._only_marker_differs(chunk, wanted, sums):
            raise FingerprintError(
                f"rows {start} on of split {files.name} have other bytes when computed again, and "
                "are left as they were: the device or a library differs from that of the first "
                "extraction. Repair where the store was made, or extract again."
            )
        super().write(start, arrays)

    def _only_marker_differs(
        self, chunk: int, wanted: Mapping[str, str], sums: Mapping[str, str]
    ) -> bool:
        """Whether the bytes are those of the marker, or those that lie there if it was edited."""
        return set(wanted) == set(sums) and all(
            crc in (wanted[name], self._lying(name, chunk)) for name, crc in sums.items()
        )

    def _lying(self, array: str, chunk: int) -> str | None:
        """Checksum of the bytes of an array that are there."""
        path, spec = self.files.chunk_path(array, chunk), self.files.spec.arrays[array]
        size = self.files.chunk_rows * spec.row_bytes
        with suppress(OSError, CorruptStoreError):
            return checksum(read_regular(self.files.disk.bring(path, size), size))
        return None


def _damage(opened: FeatureStore) -> tuple[list[Fault], bool]:
    """Damaged chunks, and whether the head is; documents are written again at once."""
    if opened.disk.is_near:
        sweep_temporaries(opened.disk.folder, below=True)
    found = [fault for _, _, faults in faults_of(opened) for fault in faults]
    for name, content in damaged_documents(opened.disk).items():
        opened.disk.write(opened.disk.folder / name, content)
    return found, _head_is_lost(opened)


def _settings(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that the store was extracted with."""
    given = recorded["extraction"]
    faster = {key: given.get(key, False) for key in FASTER}
    return {**{key: given[key] for key in _RECORDED}, **faster, "amp": _AMP[recorded["precision"]]}


def _head_is_lost(opened: FeatureStore) -> bool:
    try:
        read_head(opened.disk, opened.attributes["head"])
    except CorruptStoreError:
        return True
    return False


def _check_same(opened: FeatureStore, job: Job, damaged: set[str], *, lost_head: bool) -> None:
    """Refuse what would not compute the rows of this store.

    Raises:
        FingerprintError: With what differs.
    """
    spec, attributes = job.inputs.bound()
    here = {
        name: SplitFiles(opened.disk.folder / name, name, split, spec.chunk_rows(name)).identity
        for name, split in spec.splits.items()
    }
    other = [name for name in sorted(damaged) if here.get(name) != opened.files(name).identity]
    if lost_head and attributes["head"] != opened.attributes["head"]:
        other.append("head")
    if other:
        found = differences(opened.provenance, attributes["provenance"])
        raise FingerprintError(
            f"{', '.join(other)} of {opened.path} would not be computed as before "
            f"({'; '.join(found[:4]) or 'its images differ'}); give the checkpoint, the prepared "
            "data, settings and version that the store was extracted with, or extract again."
        )
