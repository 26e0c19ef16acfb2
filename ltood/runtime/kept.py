"""A finished result under a second name, which survives when a tool deletes the output.

    work/finished/    the files of the last result, by hard links where the file system has them

DVC deletes the outputs of a stage before it runs it, also where the stage would find that nothing
has to be computed again.
"""

from pathlib import Path

from ltood.core.errors import CorruptStoreError, StoreError
from ltood.runtime.files import building_folder, link_or_copy, read_regular

FINISHED = "finished"


def keep(out: Path, work: Path, document: str) -> None:
    """Keep a finished result, such as one that DVC brought back, before it is deleted.

    Args:
        out: Folder of the result; without its document nothing is done.
        work: Folder for the work of the stage.
        document: Name of the file that is written last and describes the result.

    Raises:
        StoreError: If the work folder cannot be written.
    """
    try:
        described = read_regular(out / document)
    except (OSError, CorruptStoreError):
        return
    kept = work / FINISHED / document
    if not kept.is_file() or kept.read_bytes() != described:
        link_folder(out, work / FINISHED)


def link_folder(source: Path, target: Path) -> None:
    """Put the files of a folder at `target` too, whole and by hard links where possible.

    Raises:
        StoreError: If `target` cannot be written.
    """
    with building_folder(target) as folder:
        try:
            for file in sorted(source.iterdir()):
                if file.is_file():
                    link_or_copy(file.resolve(), folder / file.name)
        except OSError as error:
            raise StoreError(
                f"cannot copy {source} to {target} ({error.strerror or error}); free space or "
                "make the folder writable."
            ) from error
