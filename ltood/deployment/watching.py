"""A folder that fills: each image is judged once, as soon as it is whole, and its row is safe."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Protocol, TextIO

from ltood.core.errors import ConfigError
from ltood.deployment.arrivals import Arrival, Arrivals
from ltood.deployment.detector import DeployedDetector
from ltood.deployment.images import Embedder
from ltood.deployment.inputs import refuse_unusable_folder
from ltood.deployment.judging import BadInputs
from ltood.deployment.output import Format, Lines, ShownTable
from ltood.deployment.predicting import judge_images
from ltood.deployment.verdicts import ERROR, Verdict


class Sink(Protocol):
    """Where rows go."""

    def write(self, arrivals: Sequence[Arrival], rows: Iterable[Verdict]) -> Iterator[Verdict]:
        """Write the rows of some inputs and hand them on."""


class Printed:
    """Rows that are printed as they come; which inputs they are is kept nowhere."""

    def __init__(self, file: TextIO, form: Format, columns: Sequence[str]) -> None:
        """Print to a text file.

        Args:
            file: Such as standard output.
            form: "csv", "jsonl" or "table".
            columns: Columns of a CSV table.
        """
        self._file = file
        self._table = ShownTable(file) if form == "table" else None
        self._lines = Lines(file, form, columns)
        if self._table is None:
            self._lines.start()

    def write(self, arrivals: Sequence[Arrival], rows: Iterable[Verdict]) -> Iterator[Verdict]:
        """See `Sink`."""
        del arrivals
        found = list(rows)
        if self._table is not None:
            self._table.write(found)
        else:
            for row in found:
                self._lines.write(row)
            self._file.flush()
        yield from found


def watch(
    detector: DeployedDetector,
    arrivals: Arrivals,
    embedder: Embedder,
    sink: Sink,
    *,
    bad: BadInputs,
    stop: Event,
    batch_size: int = 256,
    poll: float = 1.0,
    until_idle: float | None = None,
) -> Iterator[Verdict]:
    """Judge images of a folder as they arrive.

    Args:
        detector: A loaded detector.
        arrivals: The folder.
        embedder: The network of the detector.
        sink: Where rows go before they are handed on.
        bad: What to do with images that cannot be judged.
        stop: Ends the watch after what is in hand.
        batch_size: Images that go through the network at once.
        poll: Seconds between two looks.
        until_idle: Seconds without a new image after which the watch ends; None for never.

    Yields:
        Verdicts, those of the file that was changed first in front.

    Raises:
        ConfigError: If a number is out of range.
        DataError: If the folder cannot be watched, or an image cannot be judged and `bad` stops.
    """
    _check(batch_size, poll, until_idle)
    refuse_unusable_folder(arrivals.folder)
    active = time.monotonic()
    while not stop.is_set():
        ready = arrivals.look()
        for start in range(0, len(ready), batch_size):
            part = ready[start : start + batch_size]
            yield from sink.write(part, _judged(detector, part, arrivals.folder, embedder, bad))
            if stop.is_set():
                return
        if ready or arrivals.growing:
            active = time.monotonic()
        elif until_idle is not None and time.monotonic() - active >= until_idle:
            return
        stop.wait(poll)


def _judged(
    detector: DeployedDetector,
    part: Sequence[Arrival],
    folder: Path,
    embedder: Embedder,
    bad: BadInputs,
) -> Iterator[Verdict]:
    """Verdicts on files; one that was deleted before it could be read has none."""
    files = [folder / arrival.path for arrival in part]
    for row in judge_images(detector, files, embedder, bad):
        if row.verdict != ERROR or Path(row.path).exists():
            yield row


def _check(batch_size: int, poll: float, until_idle: float | None) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch size is {batch_size}; it must be 1 or more.")
    if not 0 < poll <= 3600:
        raise ConfigError(f"--poll is {poll:g}; it is seconds between two looks, up to 3600.")
    if until_idle is not None and not 0 <= until_idle < float("inf"):
        raise ConfigError(f"--until-idle is {until_idle:g}; it is seconds, 0 or more.")
