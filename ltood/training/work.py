"""Folders in which training keeps finished and unfinished work; no torch.

    work/state/         state of an unfinished run
    work/history.csv    epochs of it that are done
    work/finished/      the last checkpoint, whole; the same files as the output, by hard links

The output folder is an output of DVC, which deletes it before the stage runs. What is whole or can
be continued therefore lies next to it, where it survives kills and reruns that change nothing.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ltood.core.errors import StoreError
from ltood.networks.checkpoint_files import EXTRAS, HISTORY, META, WEIGHTS, read_meta
from ltood.runtime.console import log
from ltood.runtime.files import building_folder, is_temporary, remove_folder
from ltood.runtime.kept import FINISHED, link_folder
from ltood.runtime.provenance import differences, digest

STATE = "state"


def take_finished(out: Path, work: Path, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find a finished checkpoint of these inputs, and put it at `out` if it is not there.

    Args:
        out: Folder of the checkpoint.
        work: Folder for the work of training.
        inputs: Everything that decides the weights.

    Returns:
        The description in checkpoint.json; None where there is no such checkpoint.

    Raises:
        StoreError: If `out` holds something else than a checkpoint, or cannot be written.
    """
    _refuse_strangers(out)
    fingerprint = digest(inputs)
    for folder in (out, work / FINISHED):
        if not (folder / META).is_file():
            continue
        try:
            meta = read_meta(folder)
        except StoreError as error:
            log(f"{error} It is not used.")
            continue
        if meta["fingerprint"] == fingerprint:
            if folder != out:
                link_folder(folder, out)
            discard_state(work)
            return meta
    return None


def is_finished(out: Path, work: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether there is a finished checkpoint of these inputs, at `out` or next to it."""
    fingerprint = digest(inputs)
    for folder in (out, work / FINISHED):
        with suppress(StoreError):
            if (folder / META).is_file() and read_meta(folder)["fingerprint"] == fingerprint:
                return True
    return False


def say_why(out: Path, work: Path, state: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Log in which inputs an earlier run differs, if there is one."""
    found: Mapping[str, Any] | None = state.get("inputs")
    for folder in (out, work / FINISHED):
        if found is None and (folder / META).is_file():
            try:
                found = read_meta(folder)
            except StoreError:
                continue
    if found is not None:
        differing = differences({key: found.get(key, "absent") for key in inputs}, inputs)
        log(f"training starts over ({'; '.join(differing[:3])}).")


def clear(out: Path, work: Path, *, state: bool) -> None:
    """Remove a checkpoint of other inputs, and the state of another run where `state` is true.

    Raises:
        StoreError: If that is not possible, or no state could be written.
    """
    with _writing(work):
        remove_folder(out)
        if state:
            discard_state(work)
        work.mkdir(parents=True, exist_ok=True)


@contextmanager
def publishing(out: Path, work: Path) -> Iterator[Path]:
    """Fill an empty folder with a checkpoint, which is then put at `out`; the state is dropped.

    Raises:
        StoreError: If a folder cannot be written.
    """
    with building_folder(work / FINISHED) as folder:
        yield folder
    link_folder(work / FINISHED, out)
    discard_state(work)


def discard_state(work: Path) -> None:
    """Remove what only an unfinished run needs."""
    shutil.rmtree(work / STATE, ignore_errors=True)
    (work / HISTORY).unlink(missing_ok=True)


def _refuse_strangers(out: Path) -> None:
    """Refuse a folder that holds something which no training wrote."""
    ours = {META, WEIGHTS, EXTRAS, HISTORY, STATE}  # a state lay there in earlier versions
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        found = [path.name for path in out.iterdir()] if out.exists() else []
    strangers = sorted(name for name in found if name not in ours and not is_temporary(name))
    if strangers:
        raise StoreError(
            f"{out} holds {strangers[0]!r}, which is not part of a checkpoint; move it away or "
            "choose another folder."
        )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {folder} ({error.strerror or error}); free space, make the folder "
            "writable or choose another one."
        ) from error
