"""The way back from a params.yaml that no stage can use: `dvc exp run -S` leaves it changed.

Only what differs from the last commit is told of, and nothing is changed here.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.runtime.params import params_text, parse_params
from ltood.runtime.provenance import differences
from ltood.runtime.workspace import origin

#: Differences that are named.
_MOST = 3
#: Seconds that git may take; on a slow disk nothing is said.
_PATIENCE = 10


@contextmanager
def telling_how_to_go_back(file: Path) -> Iterator[None]:
    """Let errors of settings and data in the block say how a parameter file was changed.

    Args:
        file: Relative to the current folder.
    """
    try:
        yield
    except (ConfigError, DataError, MissingNeedError) as error:
        if note := way_back(file):
            error.add_note(note)
        raise


def way_back(file: Path) -> str:
    """How a parameter file differs from the last commit and how to undo that.

    Returns:
        A sentence; empty where nothing differs, git does not know the file, or an experiment
        in a folder of its own runs, which leaves the file of the workspace alone.
    """
    if origin() is not None:
        return ""
    try:
        shown = subprocess.run(
            ["git", "show", f"HEAD:./{file.as_posix()}"],
            capture_output=True,
            check=True,
            timeout=_PATIENCE,
        )
        committed = parse_params(shown.stdout.decode(), file)
        clauses = differences(committed, parse_params(params_text(file), file))
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError, ConfigError):
        return ""
    if not clauses:
        return ""
    more = f"; and {len(clauses) - _MOST} more" if len(clauses) > _MOST else ""
    return (
        f"{file} is not as in the last commit ({'; '.join(clauses[:_MOST])}{more}); "
        f"`git checkout {file}` takes that back, and commits keep what works."
    )
