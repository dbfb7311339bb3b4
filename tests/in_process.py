"""Reaches a sandbox in this process as httpx does a real one: time-outs and resets included."""

from __future__ import annotations

import anyio
import httpx
from starlette.types import ASGIApp

from seedance_batch.sandbox.answers import Disconnected


class InProcess(httpx.AsyncBaseTransport):
    """httpx's ASGI transport ignores time-outs and lets our resets through untranslated; this one
    raises `httpx.ReadTimeout` and `httpx.ReadError`. Bodies arrive whole, so a read time-out
    bounds the whole answer, and a body that is cut arrives as an error."""

    def __init__(self, app: ASGIApp) -> None:
        self._inner = httpx.ASGITransport(app=app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request into the application."""
        limit = request.extensions.get("timeout", {}).get("read")
        try:
            with anyio.fail_after(limit):
                return await self._inner.handle_async_request(request)
        except TimeoutError as error:
            raise httpx.ReadTimeout("the sandbox stalled", request=request) from error
        except Disconnected as error:
            raise httpx.ReadError(str(error), request=request) from error
