"""The rows that a sweep chooses by: validation rows, held apart from every test set.

The ID side is the split val. The OOD side is aux, a split val_ood_<name> or an archive; a
test set is refused, and so are rows that turn out to be copies of one.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltood.core.batches import FeatureSource
from ltood.core.errors import ConfigError, DataError, StoreError
from ltood.evaluation.absence import dataset_of
from ltood.runtime.scratch import scratch_folder
from ltood.scoring.session import ScoringSession
from ltood.store.exchange import import_folder
from ltood.store.layout import AUX_SPLIT, ID_SPLITS, OOD_PREFIX, VAL_OOD_PREFIX, VAL_SPLIT
from ltood.store.reading import SplitReader, StoreReader, required_head

ID_SPLIT = VAL_SPLIT
TEST_SPLIT = "test"

#: Share of rows that may equal test rows by accident, such as plain black images.
ACCIDENTAL_COPIES = 0.01


@dataclass(frozen=True)
class Validation:
    """Both sides of a validation set, and what they are called.

    Attributes:
        id_rows: ID rows.
        ood_rows: OOD rows; those with a class label count on the ID side.
        id_name: Split of the ID rows.
        ood_name: Split or archive of the OOD rows.
    """

    id_rows: FeatureSource
    ood_rows: FeatureSource
    id_name: str
    ood_name: str

    @property
    def num_rows(self) -> int:
        """Rows of both sides together."""
        return len(self.id_rows) + len(self.ood_rows)

    @property
    def names(self) -> dict[str, str]:
        """Name of each side's rows, by side (id, ood)."""
        return {"id": self.id_name, "ood": self.ood_name}


@contextmanager
def open_validation(
    session: ScoringSession, ood: str = AUX_SPLIT, *, official_sweep_on_test: bool = False
) -> Iterator[Validation]:
    """Open both sides of the validation set.

    Args:
        session: The store, seen through its calibrator.
        ood: "aux", a split "val_ood_<name>" or the path of an `.npz` archive with features [M, D].
        official_sweep_on_test: Let `ood` be a test set (ood_<name>) and take the split
            test as the ID side, as papers did that tuned on their test sets.

    Yields:
        Sources that can be read while the block runs.

    Raises:
        ConfigError: If `ood` is a test set or ID rows.
        StoreError: If a split is missing.
        DataError: If an archive breaks a rule or holds rows of a test set.
    """
    if ood in ID_SPLITS:
        raise ConfigError(
            f"--validation-ood is {ood}, which holds ID rows; give aux, val_ood_<name> or an .npz "
            "archive of outliers."
        )
    if ood.startswith(OOD_PREFIX) and not Path(ood).is_file():
        if not official_sweep_on_test:
            raise ConfigError(
                f"{ood} is a test set: settings chosen on it make its results worthless. Sweep on "
                "aux or on an .npz archive of other outliers; --official-sweep-on-test is only "
                "for repeating papers that tuned on their test sets."
            )
        yield Validation(session.source(TEST_SPLIT), session.source(ood), TEST_SPLIT, ood)
        return
    if ID_SPLIT not in session.store.splits:
        raise StoreError(
            f"{session.store.path} has no split {ID_SPLIT} (only "
            f"{', '.join(session.store.splits)}); hold ID rows back from training and import them "
            f"as {ID_SPLIT}.npz."
        )
    known = session.source(ID_SPLIT)
    if ood == AUX_SPLIT or (ood.startswith(VAL_OOD_PREFIX) and not Path(ood).is_file()):
        if ood not in session.store.splits:
            dataset = dataset_of(session.store.provenance)
            setting = "aux" if ood == AUX_SPLIT else "val_ood"
            source = f"name images in datasets.{dataset}.{setting} and run dvc repro"
            raise StoreError(
                f"{session.store.path} has no split {ood}, outliers to choose settings on; "
                f"{source if dataset else f'import {ood}.npz'}, or give an archive of outliers "
                "with --validation-ood."
            )
        _refuse_copies(session.store, session.store.split(ood), ood)
        yield Validation(known, session.source(ood), ID_SPLIT, ood)
        return
    with _opened(session.store, Path(ood)) as split:
        _refuse_copies(session.store, split, ood)
        yield Validation(known, session.source_of(split), ID_SPLIT, ood)


@contextmanager
def _opened(store: StoreReader, archive: Path) -> Iterator[SplitReader]:
    """An archive as a split, checked as on import; its copy goes when the block ends."""
    if not archive.is_file():
        raise ConfigError(
            f"--validation-ood is {archive}, which is neither aux nor a file; give aux, "
            "val_ood_<name> or the path of an .npz archive of outliers."
        )
    with scratch_folder() as scratch:
        folder = scratch / "arrays"
        folder.mkdir()
        # The head of the store as it is seen: --head may have put another in its place.
        head = required_head(store, f"--validation-ood {archive}")
        arrays: dict[str, Any] = {**head, "class_counts": store.prior().counts}
        np.savez(folder / "head.npz", **arrays)
        copy = folder / f"{AUX_SPLIT}.npz"
        shutil.copyfile(archive, copy)
        try:
            imported = import_folder(folder, scratch / "features.zarr")
        except DataError as error:
            raise DataError(str(error).replace(str(copy), str(archive))) from None
        yield imported.split(AUX_SPLIT)


def _refuse_copies(store: StoreReader, split: SplitReader, name: str) -> None:
    """Refuse validation rows that are rows of a test set, OOD or ID."""
    test_sets = [name for name in store.splits if name == TEST_SPLIT or name in store.ood_splits]
    if not test_sets:
        return
    rows = _digests(split)
    for test_set in test_sets:
        copies = len(rows & _digests(store.split(test_set)))
        if copies > ACCIDENTAL_COPIES * len(rows):
            raise DataError(
                f"{copies} of {len(rows)} different rows of {name} are rows of the test set "
                f"{test_set} too; settings chosen on test rows make its results worthless. Sweep "
                "on other outliers."
            )


def _digests(split: SplitReader) -> set[int]:
    """One number for each different row, the same whatever width it is stored in."""
    found: set[int] = set()
    for block in split.batches(8192, ("features",)):
        with np.errstate(over="ignore"):
            rows = block["features"].astype(np.float16)
        found.update(hash(row.tobytes()) for row in rows)
    return found
