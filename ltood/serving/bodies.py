"""Bodies of requests, read within limits: whole ones, and files of a form."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from ltood.serving.limits import MEGABYTE, Limits
from ltood.serving.refusals import RefusalError

#: What is read of a body that was refused, so that its sender gets to read the answer.
_DRAINED_BYTES, _DRAINED_SECONDS = 64 * MEGABYTE, 0.3
#: Bytes of fields of a form that are not files.
_FIELD_BYTES = 1024


class Body:
    """The body of one request, which is read once at most."""

    def __init__(self, request: Request, limits: Limits) -> None:
        """Take the request; nothing is read yet."""
        self._request, self._limits = request, limits
        self._stream = request.stream()
        self.is_read = False

    def declared(self) -> int:
        """Bytes that the body may take: the declared length, else all that is allowed.

        Raises:
            RefusalError: If the length is malformed (400) or above the limit (413).
        """
        length = self._request.headers.get("content-length")
        if length is None:
            return self._limits.body
        if not (length.isascii() and length.isdecimal()):
            raise RefusalError(400, "Content-Length is not a number; send the length in bytes.")
        if len(length) > 18 or int(length) > self._limits.body:
            raise self._too_large()
        return int(length)

    async def whole(self) -> bytes:
        """All bytes.

        Raises:
            RefusalError: If there are too many (413), or they come too slowly (408).
        """
        async with self._in_time():
            return b"".join([part async for part in self._parts()])

    @asynccontextmanager
    async def files(self) -> AsyncGenerator[list[UploadFile]]:
        """Files of a form, which lie on disk if they are large, until the block ends.

        Raises:
            RefusalError: If the form is malformed (400), has other fields (422) or too much (413).
        """
        parser = _FormParser(self._request, self._parts, self._limits.images)
        async with self._in_time():
            try:
                form = await parser.parse()
            except MultiPartException as error:
                raise RefusalError(
                    400,
                    f"the form cannot be read ({error.message.rstrip('.')}); send it as "
                    "multipart/form-data with one part for each image.",
                ) from None
        try:
            yield _files_of(form)
        finally:
            await form.close()

    async def drain(self) -> None:
        """Read on after a refusal as long as bytes keep coming: who writes does not read yet."""
        if self.is_read or self._request.headers.get("expect"):
            return
        num_bytes = 0
        with suppress(TimeoutError, ClientDisconnect, StopAsyncIteration, RuntimeError):
            while num_bytes < _DRAINED_BYTES:
                async with asyncio.timeout(_DRAINED_SECONDS):
                    num_bytes += len(await anext(self._stream))

    async def _parts(self) -> AsyncGenerator[bytes]:
        num_bytes = 0
        async for part in self._stream:
            num_bytes += len(part)
            if num_bytes > self._limits.body:
                raise self._too_large()
            yield part
        self.is_read = True

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(self._limits.seconds):
                yield
        except TimeoutError:
            raise RefusalError(
                408,
                f"the body did not arrive within {self._limits.seconds:g} seconds; send it again.",
            ) from None

    def _too_large(self) -> RefusalError:
        return RefusalError(
            413,
            f"the body has more than the {self._limits.body:,} bytes that are allowed; send less "
            "at once.",
        )


class _FormParser(MultiPartParser):
    """Starlette's parser, which also counts parts and notices where the form breaks off."""

    def __init__(
        self, request: Request, parts: Callable[[], AsyncGenerator[bytes]], most: int
    ) -> None:
        super().__init__(request.headers, self._whole(parts()), max_part_size=_FIELD_BYTES)
        self._most, self._num_parts, self._is_whole = most, 0, False

    async def _whole(self, parts: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async for part in parts:
            yield part
        if not self._is_whole:  # Raised here, it makes the parser close its files.
            raise MultiPartException("it breaks off before its end")

    def on_part_begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > self._most:
            raise RefusalError(
                413, f"the form holds more than {self._most:,} images; send fewer at once."
            )
        super().on_part_begin()

    def on_end(self) -> None:
        self._is_whole = True


def _files_of(form: FormData) -> list[UploadFile]:
    """Files of a form, at least one.

    Raises:
        RefusalError: If there is none, or something else (422).
    """
    files = []
    for key, value in form.multi_items():
        if not isinstance(value, UploadFile):
            raise RefusalError(
                422,
                f"the field {key!r} of the form is text; send each image as a file, as curl "
                "does with -F file=@photo.jpg.",
            )
        files.append(value)
    if not files:
        raise RefusalError(422, "the form holds no file; send at least one image.")
    return files


def content_of(file: UploadFile) -> bytes:
    """The bytes of a file of a form; not for the event loop, since they may lie on disk."""
    file.file.seek(0)
    return file.file.read()
