"""Download or make a known image set."""

from pathlib import Path

from ltood.core.errors import DataError
from ltood.preparing.verify_sets import how_to_get
from ltood.sets import downloads
from ltood.sets.catalogue import KnownSet


def get_set(known: KnownSet, root: Path, *, keep: bool = False) -> Path:
    """Download or make what a set lacks; a stopped run continues where it was.

    Args:
        known: The set.
        root: Folder that holds one folder for each set.
        keep: Keep archives once unpacked.

    Returns:
        The folder of the set.

    Raises:
        DataError: If the set must be fetched by hand, cannot be fetched, or its folder holds
            something else.
    """
    folder = root / known.folder
    if known.origin == "by hand":
        raise DataError(
            f"{known.name} cannot be downloaded without asking its authors: "
            f"{how_to_get(known, folder)}"
        )
    if known.made_by:
        from ltood.sets.synthetic import make

        make(known.made_by, folder)
    for offer in known.files:
        if not offer.unpack:
            downloads.fetch(offer.source, folder)
        elif not folder.is_dir() or not any(folder.iterdir()):
            archive = downloads.fetch(offer.source, root)
            if folder.is_dir():
                folder.rmdir()  # Empty: made in advance as a place for the files.
            downloads.unpack(archive, folder)
            if not keep:
                archive.unlink()
    if not known.is_there(root):
        archives = ", ".join(str(root / offer.source.file) for offer in known.files)
        raise DataError(
            f"{folder} holds {', '.join(sorted(path.name for path in folder.iterdir())[:3])} but "
            f"no {known.parts[0].path}: move that away and run the same command again. An archive "
            f"that was fetched by hand belongs at {archives}."
        )
    return folder
