"""Small folders that appear whole: written beside their place and moved there in one rename."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ltood.core.errors import StoreError


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a folder, replacing what was there.

    A killed process leaves the old folder, none or the new one, and beside it at most a folder
    `.<name>.*.tmp` that nothing reads.

    Args:
        folder: Folder to write.
        files: Content by file name.

    Raises:
        StoreError: If it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(
            tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent)
        )
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        temporary.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        raise StoreError(
            f"cannot write {folder} ({error.strerror or error}); free space or choose another "
            "folder."
        ) from error
