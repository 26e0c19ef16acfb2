"""The service as an ASGI application: its addresses, and what each failure is answered with."""

import hmac
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

import ltood
from ltood.core.errors import LtoodError
from ltood.serving.answering import Answering
from ltood.serving.bodies import Body
from ltood.serving.counts import Counts
from ltood.serving.describing import PREDICT, described
from ltood.serving.judge import Judge
from ltood.serving.limits import Limits
from ltood.serving.refusals import RefusalError

_log = logging.getLogger("ltood.serving")
#: What is answered to a client that has gone; nobody reads it.
_GONE = 499


def make_app(judge: Judge, limits: Limits | None = None, *, token: str | None = None) -> FastAPI:
    """The application for any ASGI server, as one process and one event loop.

    Args:
        judge: Runs network and detector; whoever made it closes it.
        limits: How much is let in.
        token: What clients must send as `Authorization: Bearer TOKEN`, except for /health.
    """
    # Their pages load scripts from elsewhere; /openapi.json is for any viewer.
    app = FastAPI(
        title="ltood",
        version=ltood.__version__,
        docs_url=None,
        redoc_url=None,
        description="ID or OOD: verdicts of a detector on images and features.",
    )
    service = _Service(judge, limits or Limits(), token)
    app.add_api_route("/predict", service.predict, methods=["POST"], **PREDICT)
    app.add_api_route("/health", service.health, methods=["GET"], response_model=None)
    app.add_route("/health", service.health, methods=["HEAD"], include_in_schema=False)
    app.add_api_route("/metrics", service.metrics, methods=["GET"], response_model=None)
    app.add_api_route("/", service.description, methods=["GET"], response_model=None)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(RefusalError, _refused)
    return app


class _Service:
    """What the addresses do."""

    def __init__(self, judge: Judge, limits: Limits, token: str | None) -> None:
        self._judge, self._limits, self._token = judge, limits, token
        self._answering, self._counts = Answering(judge, limits), Counts()
        self._described = described(judge.detector, judge.embedder)

    async def predict(self, request: Request) -> Response:
        """Verdicts on an image, a form of images, or rows of features."""
        began = time.monotonic()
        self._counts.in_work += 1
        try:
            response = await self._predicted(request)
        finally:
            self._counts.in_work -= 1
            self._counts.seconds += time.monotonic() - began
        self._counts.answers[response.status_code] += 1
        return response

    async def health(self, request: Request) -> Response:
        """Whether verdicts can be had, and of which detector."""
        ready = self._judge.is_ready
        found: dict[str, Any] = {"status": "ready" if ready else "failing"}
        if self._is_allowed(request):
            found |= self._described
        return JSONResponse(found, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Counts since the start, for Prometheus."""
        self._allow(request)
        return PlainTextResponse(
            self._counts.text(self._judge), media_type="text/plain; version=0.0.4"
        )

    async def description(self, request: Request) -> Response:
        """What this is, and which addresses there are."""
        self._allow(request)
        limits = self._limits
        return JSONResponse(
            {
                **self._described,
                "addresses": {
                    "POST /predict": "verdicts on an image, a form of images, or features in JSON",
                    "GET /health": "whether verdicts can be had",
                    "GET /metrics": "counts for Prometheus",
                    "GET /openapi.json": "this interface for programs",
                },
                "limits": {
                    "body_bytes": limits.body,
                    "images": limits.images,
                    "rows": limits.rows,
                    "pixels": limits.pixels,
                    "requests": limits.requests,
                    "seconds": limits.seconds,
                },
            }
        )

    async def _predicted(self, request: Request) -> Response:
        body = Body(request, self._limits)
        try:
            self._allow(request)
            found = await self._answering.answer(request, body)
        except RefusalError as refusal:
            error = refusal
        except LtoodError as unusable:
            error = RefusalError(422, str(unusable))
        except ClientDisconnect:
            return Response(status_code=_GONE)
        except Exception as failure:
            _log.exception("a request failed")
            error = RefusalError(
                500, f"the service failed ({type(failure).__name__}); its log says more."
            )
        else:
            rows = found.get("rows", [found])
            self._counts.rows.update(row["verdict"] for row in rows)
            return Response(_json(found), media_type="application/json")
        await body.drain()
        return _answered(error)

    def _is_allowed(self, request: Request) -> bool:
        if self._token is None:
            return True
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._token.encode())
        return same and kind.lower() == "bearer"

    def _allow(self, request: Request) -> None:
        if not self._is_allowed(request):
            raise RefusalError(
                401,
                "the token is missing or wrong; send the header Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )


def _json(found: Mapping[str, Any]) -> bytes:
    return json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")


def _answered(refusal: RefusalError) -> Response:
    # What was not read of the body is not read any more, so the connection ends.
    headers = {**refusal.headers, "Connection": "close"}
    return JSONResponse({"detail": refusal.sentence}, refusal.status, headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return _answered(error)


async def _unknown(request: Request, error: Exception) -> Response:
    """An address or method that is not there."""
    assert isinstance(error, HTTPException)
    sentence = f"there is nothing at {request.url.path}; GET / lists what there is."
    if error.status_code == 405:
        sentence = f"{request.url.path} does not take {request.method}; GET / lists what there is."
    return JSONResponse(
        {"detail": RefusalError(error.status_code, sentence).sentence},
        error.status_code,
        error.headers,
    )
