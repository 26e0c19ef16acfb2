"""One thread that runs network and detector, on the images of several requests at once.

Images that wait are taken together: while the network works on a batch the next one gathers, so a
full service is fast and an idle one answers after `wait` seconds. Rows of features are judged as
they came, all rows of a request in one call and nothing else with them.

A network gives an image the same features in every batch up to rounding: its kernels are chosen by
the size of the batch. With `batch_size` 1 an image gets the same bits whatever else is asked.
"""

import io
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltood.core.errors import ConfigError, LtoodError
from ltood.deployment.detector import DeployedDetector, NotFiniteScoresError
from ltood.deployment.images import Embedder
from ltood.deployment.judging import BadInputs, Item, judge
from ltood.deployment.verdicts import Verdict

_log = logging.getLogger("ltood.serving")


@dataclass(frozen=True, eq=False)
class _Image:
    """One image that waits for its verdict."""

    name: str
    pixels: NDArray[np.uint8]
    answer: Future[Verdict] = field(default_factory=Future)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of features that wait for their verdicts."""

    name: str
    features: NDArray[Any]
    local: NDArray[Any] | None
    ids: NDArray[np.int64]
    answer: Future[list[Verdict]] = field(default_factory=Future)


class Judge:
    """Verdicts on images and features, one batch after the other in a thread of its own.

    Attributes:
        detector: What decides.
        embedder: Its network; None where only features are judged.
        batches: Batches of images so far.
        failed: Type of the failure of the last batch, if it was none of ours; else None.
    """

    def __init__(
        self,
        detector: DeployedDetector,
        embedder: Embedder | None,
        *,
        batch_size: int = 16,
        wait: float = 0.005,
    ) -> None:
        """Start the thread, after a blank image went all the way.

        Args:
            detector: A loaded detector.
            embedder: Its network; without it only features are judged.
            batch_size: Most images that go through the network at once.
            wait: Seconds that a batch waits for further images; 0 takes those that are there.

        Raises:
            ConfigError: If a setting is out of range.
            LtoodError: If detector and network do not go together.
        """
        if batch_size < 1:
            raise ConfigError(f"the batch size is {batch_size}; it must be 1 or more.")
        if not 0 <= wait <= 1:
            raise ConfigError(f"a batch waits {wait:g} seconds; choose from 0 to 1.")
        self.detector, self.embedder = detector, embedder
        self.batches = 0
        self.failed: str | None = None
        self._batch_size, self._wait = batch_size, wait
        if embedder is not None:
            features, local = embedder.features(embedder.decode(_blank(), "blank")[None])
            with suppress(NotFiniteScoresError):  # A blank image may have none.
                detector.predict(features, local=local)
        self._queue: SimpleQueue[_Image | _Rows | None] = SimpleQueue()
        self._held: list[_Image | _Rows | None] = []
        self._thread = Thread(target=self._run, name="ltood-judge", daemon=True)
        self._thread.start()

    @property
    def batch_size(self) -> int:
        """Most images that go through the network at once."""
        return self._batch_size

    @property
    def waiting(self) -> int:
        """Images and requests of features in the queue."""
        return self._queue.qsize()

    @property
    def is_ready(self) -> bool:
        """Whether verdicts can be had, as far as is known."""
        return self._thread.is_alive() and self.failed is None

    def image(self, name: str, pixels: NDArray[np.uint8]) -> Future[Verdict]:
        """The verdict on one image, when it is there.

        Args:
            name: What the row calls it.
            pixels: As `Embedder.decode` gives them, [H, W, C] uint8.
        """
        job = _Image(name, pixels)
        self._queue.put(job)
        return job.answer

    def rows(
        self,
        name: str,
        features: NDArray[Any],
        local: NDArray[Any] | None,
        ids: NDArray[np.int64],
    ) -> Future[list[Verdict]]:
        """The verdicts on rows of features, when they are there.

        Args:
            name: What each row calls its source.
            features: [N, D].
            local: [N, P, D], where the method reads it.
            ids: Their ids, [N].
        """
        job = _Rows(name, features, local, ids)
        self._queue.put(job)
        return job.answer

    def close(self) -> None:
        """Judge what waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            batch: Sequence[_Image] | _Rows = job if isinstance(job, _Rows) else self._batch(job)
            if isinstance(batch, _Rows):
                if batch.answer.set_running_or_notify_cancel():
                    self._answer_rows(batch)
            else:
                wanted = [image for image in batch if image.answer.set_running_or_notify_cancel()]
                if wanted:
                    self._answer_images(wanted)

    def _next(self) -> _Image | _Rows | None:
        return self._held.pop() if self._held else self._queue.get()

    def _batch(self, first: _Image) -> list[_Image]:
        """A batch of images that begins with `first`; what is not an image is held for later."""
        batch, end = [first], time.monotonic() + self._wait
        while len(batch) < self._batch_size:
            left = end - time.monotonic()
            try:
                job = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except Empty:
                break
            if not isinstance(job, _Image):
                self._held.append(job)
                break
            batch.append(job)
        return batch

    def _answer_images(self, batch: Sequence[_Image]) -> None:
        """Answer a batch; if it fails, each image by itself, so that one spoils no other."""
        try:
            found = self._images_judged(batch)
        except Exception as error:
            if len(batch) == 1:
                self._fail(batch[0].answer, error)
            else:
                for image in batch:
                    self._answer_images([image])
            return
        self.failed = None
        for image, verdict in zip(batch, found, strict=True):
            image.answer.set_result(verdict)

    def _answer_rows(self, job: _Rows) -> None:
        items = [Item(job.name, number) for number in job.ids.tolist()]
        try:
            found = list(judge(self.detector, items, job.features, job.local, BadInputs()))
        except Exception as error:
            self._fail(job.answer, error)
        else:
            self.failed = None
            job.answer.set_result(found)

    def _images_judged(self, batch: Sequence[_Image]) -> list[Verdict]:
        assert self.embedder is not None
        self.batches += 1
        features, local = self.embedder.features(np.stack([image.pixels for image in batch]))
        items = [Item(image.name) for image in batch]
        return list(judge(self.detector, items, features, local, BadInputs()))

    def _fail(self, answer: Future[Any], error: Exception) -> None:
        """Hand over a failure; what is none of ours goes to the log, and the service is unwell."""
        self.failed = None if isinstance(error, LtoodError) else type(error).__name__
        if self.failed:
            _log.error("a batch failed", exc_info=error)
        answer.set_exception(error)


def _blank() -> bytes:
    """A small grey PNG."""
    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(content, "PNG")
    return content.getvalue()
