"""Splits of feature stores that outlive the store: finished ones and the one being extracted.

    extracting/<identity>/    chunks and markers of one split, under no name

A pipeline tool removes a store before it runs the stage that writes it. What was extracted stays
here, so that only splits with other images, weights or settings are computed again, and a killed
run goes on. Files of the store and of this folder are hard links of one another where the file
system has them, so that nothing is stored twice.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ltood.core.errors import LtoodError
from ltood.runtime.files import building_folder, remove_folder, sweep_temporaries
from ltood.store.chunks import SplitFiles
from ltood.store.features import FeatureStore
from ltood.store.layout import SplitSpec, StoreSpec
from ltood.store.writer import SplitWriter, link_split


def kept_splits(kept: Path, spec: StoreSpec) -> dict[str, SplitWriter]:
    """Writers of all splits of a store, in the folder of kept splits.

    Args:
        kept: Folder of kept splits.
        spec: Splits of the store, each with a fingerprint.
    """
    return {
        name: _kept_split(kept, name, split, spec.chunk_rows(name))
        for name, split in spec.splits.items()
    }


def keep_splits(store: Path, kept: Path) -> None:
    """Keep the finished splits of a feature store, such as one that DVC has brought back.

    Only their markers are read; extraction verifies the bytes before it uses them. A store that
    is damaged or not a feature store of this version is skipped.

    Args:
        store: Feature store; may be missing.
        kept: Folder of kept splits.

    Raises:
        StoreError: If `kept` cannot be written.
    """
    try:
        opened = FeatureStore.open(store)
    except LtoodError:
        return
    for name in opened.parts:
        files = opened.files(name)
        there = _kept_split(kept, name, files.spec, files.chunk_rows)
        with suppress(LtoodError):
            if there.missing() == []:
                continue
        with suppress(LtoodError, FileNotFoundError):
            if SplitWriter(files).missing() == []:
                with building_folder(there.files.folder) as building:
                    link_split(files, building)


def prune(kept: Path, used: Iterable[SplitFiles]) -> None:
    """Remove kept splits that are not used any more, and what killed runs left.

    Args:
        kept: Folder of kept splits.
        used: Splits that stay.
    """
    names = {files.identity for files in used}
    sweep_temporaries(kept)
    for folder in list(kept.iterdir()):
        if folder.name not in names and folder.is_dir() and not folder.name.startswith("."):
            remove_folder(folder)


def _kept_split(kept: Path, name: str, split: SplitSpec, chunk_rows: int) -> SplitWriter:
    folder = kept / split.identity(chunk_rows)
    return SplitWriter(SplitFiles(folder, name, split, chunk_rows))
