"""From the body of a request to rows of verdicts: what is read, in which order, and for how much.

A request passes the door (requests and bytes at a time), is read, decoded by a few threads (pixels
at a time) and judged (images at a time). Who finds the door closed gets 503, all else waits its
turn. So memory does not grow with the number of clients.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from starlette.datastructures import UploadFile
from starlette.requests import Request

from ltood.core.errors import LtoodError
from ltood.deployment.verdicts import ERROR, Verdict
from ltood.images.decoding import decoding_threads
from ltood.runtime.console import one_line
from ltood.serving.bodies import Body, content_of
from ltood.serving.budget import Budget
from ltood.serving.judge import Judge
from ltood.serving.limits import Limits
from ltood.serving.reading import count_pixels, decode, read_features
from ltood.serving.refusals import RefusalError, busy

_T = TypeVar("_T")
Record = dict[str, Any]

#: What a row calls its source where the client gave no name.
_BODY = "body"
#: Most characters of a file's name in a row.
_NAME = 255
#: Batches of images that wait for the network.
_BATCHES = 4
#: Memory that a byte of JSON takes when it is read, in pixels that are decoded.
_PIXELS_OF_JSON = 2


class Answering:
    """Answers of /predict within limits; for one event loop."""

    def __init__(self, judge: Judge, limits: Limits) -> None:
        """Open the door.

        Args:
            judge: Runs network and detector.
            limits: How much is let in.
        """
        self.judge, self.limits = judge, limits
        self._pool = ThreadPoolExecutor(decoding_threads(), thread_name_prefix="ltood-decode")
        self._requests, self._bodies = Budget(limits.requests), Budget(limits.bodies)
        self._pixels = Budget(limits.pixels)
        self._places = Budget(_BATCHES * judge.batch_size)

    def close(self) -> None:
        """End the threads that decode."""
        self._pool.shutdown(cancel_futures=True)

    async def answer(self, request: Request, body: Body) -> Record:
        """The row of one image, or the rows of several.

        Raises:
            RefusalError: With what is wrong with the request.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        answer = self._answer_to(kind)
        amount = body.declared()
        with self._requests.holding(1) as admitted, self._bodies.holding(amount) as fits:
            if not (admitted and fits):
                raise busy("the service has as many requests as it can hold; ask again.")
            return await answer(body)

    def _answer_to(self, kind: str) -> Callable[[Body], Coroutine[Any, Any, Record]]:
        """What reads a body of this type.

        Raises:
            RefusalError: If nothing does (415).
        """
        if kind == "application/json":
            return self._features
        if kind.startswith("image/") or kind in ("", "application/octet-stream"):
            found = self._image
        elif kind == "multipart/form-data":
            found = self._form
        else:
            raise RefusalError(
                415,
                f"bodies of type {kind} are not read; send an image (image/jpeg and others), "
                "a form of images (multipart/form-data), or features (application/json).",
            )
        if self.judge.embedder is None:
            raise RefusalError(
                415,
                "this service has no network, so it judges features only (application/json); "
                "start it with the checkpoint of one to send images.",
            )
        return found

    async def _image(self, body: Body) -> Record:
        content = await body.whole()
        async with self._in_time():
            verdict = await self._judged(_BODY, lambda: content)
        if verdict.reason is not None:
            raise RefusalError(422, verdict.reason)
        return _record(verdict)

    async def _form(self, body: Body) -> Record:
        async with body.files() as files, self._in_time():
            # Tasks of a group end together, so that no file is read after it was closed.
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._row(file)) for file in files]
            return {"rows": [task.result() for task in tasks]}

    async def _row(self, file: UploadFile) -> Record:
        """The row of a file; one that cannot be judged has a reason, and spoils no other."""
        name = (file.filename or _BODY)[:_NAME]
        try:
            return _record(await self._judged(name, functools.partial(content_of, file)))
        except LtoodError as error:
            return _unjudged(name, error)

    async def _features(self, body: Body) -> Record:
        content = await body.whole()
        weight = min(_PIXELS_OF_JSON * len(content), self._pixels.total)
        async with self._in_time():
            rows = await self._in_pool(weight, read_features, content, self.limits.rows)
            del content
            await self._places.take(1)
            waiting = self.judge.rows(_BODY, rows.features, rows.local, rows.ids)
            return {"rows": [_record(row) for row in await self._placed(waiting)]}

    async def _judged(self, name: str, read: Callable[[], bytes]) -> Verdict:
        """The verdict on an image file.

        Raises:
            DataError: If it cannot be decoded or judged.
        """
        assert self.judge.embedder is not None
        content = await self._in_pool(1, read)
        pixels = await self._in_pool(1, count_pixels, content, name, self.limits.pixels)
        image = await self._in_pool(pixels, decode, self.judge.embedder, content, name)
        await self._places.take(1)
        return await self._placed(self.judge.image(name, image))

    async def _placed(self, answer: Future[_T]) -> _T:
        """An answer of the judge, whose place in the queue is free as soon as it has one."""
        _give_back(self._places, 1, answer)
        return await asyncio.wrap_future(answer)

    async def _in_pool(self, pixels: int, work: Callable[..., _T], *arguments: object) -> _T:
        """Work of a thread that holds so many pixels until it ends, also if nobody waits for it."""
        await self._pixels.take(pixels)
        future = self._pool.submit(work, *arguments)
        _give_back(self._pixels, pixels, future)
        return await asyncio.wrap_future(future)

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(self.limits.seconds):
                yield
        except TimeoutError:
            raise busy(f"no verdict within {self.limits.seconds:g} seconds; ask again.") from None


def _give_back(budget: Budget, amount: int, future: Future[Any]) -> None:
    """Give an amount back when a future is done."""
    loop = asyncio.get_running_loop()

    def done(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # The loop has ended.
            loop.call_soon_threadsafe(budget.give, amount)

    future.add_done_callback(done)


def _record(row: Verdict) -> Record:
    return row.record()


def _unjudged(name: str, error: LtoodError) -> Record:
    return Verdict(name, None, ERROR, reason=one_line(str(error))).record()
