"""Curves of a training under way in the files of DVCLive; nothing is sent anywhere.

The folder is written afresh whenever training starts or resumes, from the epochs that are done, so
that a killed run leaves neither gaps nor steps that come twice. It is not an output of the stage
and no result depends on it; what stays is `history.csv` of the checkpoint.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ltood.core.errors import ConfigError
from ltood.networks.training_state import HistoryRow
from ltood.runtime.extras import require

#: Lies in the folder for the work of training.
LIVE = "live"


class Epochs(Protocol):
    """Takes the epochs of a history, one after the other."""

    def __call__(self, history: Sequence[HistoryRow]) -> None:
        """Write the epochs of a history that are not written yet."""


@contextmanager
def live_curves(folder: Path, *, wanted: bool) -> Iterator[Epochs]:
    """Files of DVCLive in `folder` for as long as the block runs.

    Args:
        folder: Made where it is missing; what is in it is replaced.
        wanted: False writes nothing, as on all ranks but the first.

    Yields:
        A function that takes the history so far.

    Raises:
        ConfigError: If DVCLive cannot start here, such as before the first commit.
        MissingPackageError: If DVCLive is not installed.
    """
    if not wanted:
        yield lambda history: None
        return
    require("dvclive", "training.live")
    # DVC Studio would be told of every epoch where somebody has logged in.
    os.environ.setdefault("DVC_STUDIO_OFFLINE", "1")
    logging.getLogger("dvclive").setLevel(logging.ERROR)
    from dvclive.live import Live

    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        live: Any = Live(str(folder), save_dvc_exp=False, dvcyaml=str(folder / "dvc.yaml"))
    except Exception as error:  # as of git, DVC and the file system
        raise ConfigError(
            f"training.live is true, and DVCLive cannot start ({' '.join(str(error).split())}); "
            "it needs a git repository with a commit and DVC, so commit once, or set "
            "training.live to false."
        ) from error
    written = 0

    def write(history: Sequence[HistoryRow]) -> None:
        nonlocal written
        for row in history[written:]:
            live.step = int(row["epoch"] or 0)
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    live.log_metric(f"train/{name}" if "val_" not in name else name, value)
            live.make_summary()
        if history and not written:
            live.make_dvcyaml()
        written = len(history)

    try:
        yield write
    finally:
        live.end()
