"""Shared behaviour of commands: one-line errors, exit codes and progress bars.

Exit codes: 0 done, 1 expected failure, 2 a command line that is not understood,
130 interrupted. Progress goes to standard error: a bar on a terminal, elsewhere a line
a minute, so that logs of short work stay clean.
"""

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ltood.core.errors import LtoodError, cut

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPT = 130
#: Least time between two lines of progress in a log.
LINE_SECONDS = 60.0


class Advance(Protocol):
    """Callback that reports progress."""

    def __call__(self, amount: int, note: str = "") -> None:
        """Report `amount` finished steps, with a note."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn expected failures into `error: ...` and exit code 1, Ctrl-C into 130."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            yield
        except LtoodError as error:
            notes = (one_line(note) for note in getattr(error, "__notes__", ()))
            _say(f"error: {one_line(str(error))}", *notes)
            raise SystemExit(EXIT_FAILURE) from None
        except KeyboardInterrupt:
            _say("interrupted; run the same command again to continue.")
            raise SystemExit(EXIT_INTERRUPT) from None
        except BrokenPipeError:
            # The reader of our output (such as `head`) has gone, which is not an error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            if error.errno is None:
                raise
            _say(f"error: {one_line(_of_system(error))}")
            raise SystemExit(EXIT_FAILURE) from None


def _say(*lines: str) -> None:
    """Print lines to standard error at once, so that processes that share it do not mix theirs."""
    print("".join(f"{line}\n" for line in lines), end="", file=sys.stderr, flush=True)


def _of_system(error: OSError) -> str:
    """Format an OSError as one line."""
    # Of two names the second is where something was to end up.
    path = error.filename2 or error.filename
    where = "" if path is None else f"{os.fsdecode(path)}: "
    remedy = "choose another path, or check its type, permissions and free space"
    return f"{where}{error.strerror}; {remedy}."


def one_line(text: str) -> str:
    """Put a message on one line of bounded length, control characters escaped.

    Not every message cuts what a user gave, so here all that is long is cut: single words to 240
    characters, the whole to 2,000, so that its end, which says what to do, is kept.
    """
    words = (cut(word, 240, 60) for word in text.split())
    line = cut(" ".join(words), 2000, 500)
    # Escape sequences of a terminal, and bytes of file names that are not UTF-8.
    shown = (
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in line
    )
    return "".join(shown)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, UserWarning):
        _say(f"warning: {one_line(str(message))}")


@contextmanager
def progress(description: str, total: int | None, unit: str = "rows") -> Iterator[Advance]:
    """Show a progress bar with rate and time left while the block runs, or lines in a log.

    Args:
        description: What is being done, such as "score ood_mnist".
        total: Number of steps, or None if unknown.
        unit: What one step is, for the rate.

    Yields:
        A function that takes the number of steps just done, and words to show behind the bar.
    """
    if not sys.stderr.isatty():
        yield _in_lines(description, total, unit)
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


def _in_lines(description: str, total: int | None, unit: str) -> Advance:
    """Reports to a log, a line each `LINE_SECONDS` at most."""
    begun = last = time.monotonic()
    done: int = 0

    def advance(amount: int, note: str = "") -> None:
        nonlocal last, done
        done += amount
        now = time.monotonic()
        if now - last < LINE_SECONDS:
            return
        last = now
        rate = done / (now - begun)
        words = f"{description}: {done:,} {unit}"
        if total is not None:
            words = f"{description}: {done:,} of {total:,} {unit}"
        words += f", {rate:,.0f} {unit}/s" if rate >= 1 else ""
        if total is not None and 0 < done < total:
            words += f", {duration((total - done) / rate)} left"
        log(f"{words}, {note}" if note else words)

    return advance


def duration(seconds: float) -> str:
    """A time as people say it, such as "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def log(text: str) -> None:
    """Print one line to standard error."""
    _say(text)
