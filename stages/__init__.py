"""Small click commands, one per pipeline stage; `dvc.yaml` calls them.

`python3 -m stages.NAME` comes here first, with whatever Python is first on the path. Only what
every Python 3 has is used until the right one runs.
"""

import os
import signal
import sys
import types
from pathlib import Path


def _leave(number: int, frame: "types.FrameType | None") -> None:
    """End at once while something is being imported, which may lose a KeyboardInterrupt."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"interrupted; run the same command again to continue.\n")
            os._exit(128 + number)
        frame = frame.f_back
    raise KeyboardInterrupt


def _use_environment() -> None:
    """Go on in the repository's `.venv` where no environment is active, or say what to do.

    DVC starts stages with the Python that the path has, not with its own.
    """
    here = str(Path.cwd()).partition(os.sep + str(Path(".dvc", "tmp", "exps")) + os.sep)[0]
    own = Path(here, ".venv")
    python = own / "bin" / "python"
    arguments = getattr(sys, "orig_argv", [])[1:]
    inside = Path(sys.prefix).resolve() == own.resolve()
    if arguments and not inside and "VIRTUAL_ENV" not in os.environ and os.access(python, os.X_OK):
        sys.stderr.write(f"using {python}, since no environment is active\n")
        sys.stderr.flush()
        os.execv(str(python), [str(python), *arguments])
    try:
        import click
        import numpy
        import ruamel.yaml
    except ImportError as error:
        sys.stderr.write(
            f"error: {sys.executable} cannot run stages ({error}); activate the environment that "
            "bootstrap.py makes (. .venv/bin/activate) and run the same command again.\n"
        )
        sys.exit(1)
    del click, numpy, ruamel


if sys.argv[0] == "-m":  # Not where tests or `ltood stage` import a stage.
    signal.signal(signal.SIGINT, _leave)
    _use_environment()
