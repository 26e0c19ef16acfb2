"""Extraction straight into a store behind an address, such as in object storage."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from ltood.core.errors import StoreError
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.extract import plan_extraction
from ltood.extraction.missing import Task, missing_chunks, report_kept
from ltood.extraction.sizing import Sizing
from ltood.images.sources import ImageData
from ltood.runtime.console import log
from ltood.runtime.distributed import Ranks
from ltood.store.claimed import claimed
from ltood.store.disks import disk_at
from ltood.store.in_place import fill_twins, is_placed, place, placed_writers, withdraw
from ltood.store.writer import what_differs


def extract_to(
    checkpoint: Path,
    data: ImageData,
    address: str,
    config: ExtractionConfig,
    *,
    device_name: str = "auto",
    ranks: Ranks | None = None,
    extras: Iterable[str] | None = None,
    take_over: bool = False,
) -> None:
    """Write features of every split to an address, computing only what is not there.

    The bytes are those that `extract` writes to a folder. An older feature store at the address
    gives way as soon as this one differs from it; its splits that stay the same are kept.

    Args:
        checkpoint: Folder of a finished checkpoint.
        data: Images of all splits.
        address: Such as "s3://bucket/folder".
        config: Settings.
        device_name: As `runtime.devices.choose_device` takes it.
        ranks: This process among those that share the work; alone if not given.
        extras: Groups of extra arrays; those that the settings name if not given.
        take_over: Write where a run with other inputs began that is known to have been killed.

    Raises:
        ConfigError: If the device is not there, or the backbone cannot give an extra array.
        DataError: If the images are not those the backbone was trained for.
        StoreError: If there is no whole checkpoint, something else at the address, or another run
            writes another store there.
        TransferError: If the address refuses or cannot be reached.
    """
    ranks = ranks or Ranks()
    sizing = Sizing(checkpoint.with_name("extracting"), ranks)
    device_name = ranks.device_name(device_name)
    job = plan_extraction(checkpoint, data, config, device_name, extras, sizing)
    disk = disk_at(address)
    writers = placed_writers(disk, job.inputs)

    older: list[str] = []
    held = ExitStack()
    checks: list[Callable[[], None]] = []

    def claim() -> None:
        _, attributes = job.inputs.bound()
        place_of = claimed(disk, attributes["fingerprint"], take_over=take_over)
        checks.append(held.enter_context(place_of))

    def missing() -> tuple[bool, list[Task]]:
        placed = is_placed(disk, job.inputs)
        if not placed:
            claim()
        fill_twins(writers)
        found = missing_chunks(writers, job.inputs.spec, job.batches(data))
        whole = placed and not found
        if not whole:
            if placed:
                claim()
            with suppress(StoreError):
                differing = what_differs(address, job.inputs)
                if differing:
                    log(f"{address} was made from other inputs ({'; '.join(differing[:3])}).")
            older.extend(withdraw(disk))
        report_kept(found, writers)
        return whole, found

    with held:
        whole, work = ranks.on_rank_zero(missing)
        job.run("extract", data, work[ranks.rank :: ranks.world_size], writers)
        ranks.barrier()
        if ranks.rank == 0 and not whole:
            for check in checks:
                check()
            place(disk, job.inputs, writers, older)
