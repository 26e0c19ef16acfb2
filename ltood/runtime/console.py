"""What every command does alike: one-line errors, exit codes and progress bars.

Exit codes: 0 done, 1 expected failure, 2 usage (set by the command line parser),
130 interrupted. Progress goes to standard error and only to a terminal, so logs
and pipes stay clean.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ltood.core.errors import LtoodError

EXIT_FAILURE = 1
EXIT_INTERRUPT = 130


class Advance(Protocol):
    """What a block that shows its progress calls."""

    def __call__(self, amount: int, note: str = "") -> None:
        """Say that `amount` steps were done, and what else there is to see."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn expected failures into `error: ...` and exit code 1, Ctrl-C into 130."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            yield
        except LtoodError as error:
            print(f"error: {_one_line(str(error))}", file=sys.stderr)
            raise SystemExit(EXIT_FAILURE) from None
        except KeyboardInterrupt:
            print("interrupted; run the same command again to go on.", file=sys.stderr)
            raise SystemExit(EXIT_INTERRUPT) from None
        except BrokenPipeError:
            # The reader of our output (such as `head`) has gone; that is no failure.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            if error.errno is None:
                raise
            print(f"error: {_one_line(_of_system(error))}", file=sys.stderr)
            raise SystemExit(EXIT_FAILURE) from None


def _of_system(error: OSError) -> str:
    """What the system refused, such as writing to a folder that is a file."""
    # Of two names the second is where something was to end up.
    path = error.filename2 or error.filename
    where = "" if path is None else f"{os.fsdecode(path)}: "
    return f"{where}{error.strerror}; choose another path, or see to its kind, rights and space."


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, UserWarning):
        print(f"warning: {_one_line(str(message))}", file=sys.stderr)


@contextmanager
def progress(description: str, total: int | None, unit: str = "rows") -> Iterator[Advance]:
    """Show a progress bar with rate and time left while the block runs.

    Args:
        description: What is being done, such as "score ood_mnist".
        total: Number of steps, or None if unknown.
        unit: What one step is, for the rate.

    Yields:
        A function that takes the number of steps just done, and words to show behind the bar.
    """
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, rate="", note="")

        def advance(amount: int, note: str = "") -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:,.0f} {unit}/s" if speed else ""
            bar.update(task, advance=amount, rate=rate, note=note)

        yield advance


def _nothing(amount: int, note: str = "") -> None:
    del amount, note


def log(text: str) -> None:
    """Print one line to standard error."""
    print(text, file=sys.stderr, flush=True)
