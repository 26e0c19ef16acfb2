"""One run of a stage at a time: DVC may die while its stage lives on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ltood.core.errors import StoreError
from ltood.runtime.first import is_first


@contextmanager
def only_run(stage: str, folder: Path) -> Iterator[None]:
    """Keep other runs of a stage away while the block runs.

    The system drops the lock with the process that holds it, however that ends. Ranks other
    than the first take none. On file systems without locks nothing is checked.

    Args:
        stage: Name, such as "train".
        folder: Where the lock lies.

    Raises:
        StoreError: If the stage runs already; names its process.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    if not is_first():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / stage).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            process = file.read().strip() or "unknown"
            raise StoreError(
                f"{stage} is still running as process {process} in {Path.cwd()}; wait for it, or "
                f"end it (kill {process}), and run the same command again."
            ) from None
        except OSError:
            yield
            return
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
