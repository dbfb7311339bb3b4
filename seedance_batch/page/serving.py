"""Serves the review page under an address that nobody can guess, to this machine unless told else.

Hands out the page, what is new on it, and the files that it shows; takes marks. Reads no journal:
what is shown comes from a `Show`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from seedance_batch.errors import FolderUnusable, SeedanceBatchError, UsageError
from seedance_batch.page.page import values_json

MOST_BODY: Final = 128 * 1024
"""Bytes of a mark with its note, which is `marks.LONGEST_NOTE` characters at most."""
_CONNECTIONS: Final = 400
"""More at once are answered with 503; a browser opens six."""
_PATIENCE: Final = 15.0
"""Seconds that a mark may take to arrive; a connection on which nothing comes has twice as long."""
_MOST_CHANGES: Final = 2**53
"""A greater count is nobody's; SQLite's numbers end later."""
_KINDS: Final = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""What is served at all, by its ending."""
_HEADERS: Final = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}
_NOTHING: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
"""The policy of whatever is not the page."""
_ENDING: Final = "; frame-ancestors 'none'"
"""What a page's own policy can say in a header only."""


class Show(Protocol):
    """What is served; all of it is called from several threads."""

    def page(self) -> tuple[str, str]:
        """The whole page as it is now, and its content security policy."""

    def news(self, rows: int, marks: int) -> Mapping[str, Any]:
        """What changed on the page since these counts of changes, as JSON values."""

    def mark(self, key: str, take: str, said: dict[str, Any]) -> int:
        """Save what is said of a take; the count of changes. Raises ``ValueError``."""

    def file(self, name: str) -> Path | None:
        """The file of this name that the page shows; None for any other name."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens, and the address of the page on it."""

    sock: socket.socket
    token: str
    host: str

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.sock.getsockname()[1])

    @property
    def address(self) -> str:
        """Where the page is. Whoever has it may look and mark."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/{self.token}/"


def listening(bind: str, port: int) -> Listening:
    """A socket on an address of this machine; port 0 takes a free one.

    Raises `UsageError` where that is not to be had.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        sock = socket.create_server((bind, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"The page cannot be served at {bind}, port {port}: {error}.",
            hint="leave out --port, or choose another one",
        ) from error
    host = _own_address(family) if bind in {"0.0.0.0", "::"} else bind  # noqa: S104 - a question
    return Listening(sock, secrets.token_urlsafe(24), host)


def is_loopback_bind(bind: str) -> bool:
    """Whether nobody but this machine can reach what listens there."""
    try:
        return bind == "localhost" or ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return False


def _own_address(family: socket.AddressFamily) -> str:
    """This machine's address in its network; nothing is sent to find it."""
    target = ("2001:db8::1", 9) if family == socket.AF_INET6 else ("192.0.2.1", 9)
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])
    return "::1" if family == socket.AF_INET6 else "127.0.0.1"


@contextlib.contextmanager
def serving(show: Show, where: Listening) -> Iterator[None]:
    """Serve in a thread of its own, for the length of a block."""
    config = uvicorn.Config(
        application(show, where.token, where.port),
        lifespan="off",
        ws="none",
        http=_Hasty,
        log_config=None,
        log_level="critical",  # a browser that leaves in the middle of a clip is nobody's business
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([where.sock],), name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(30.0)
        where.sock.close()


class _Server(uvicorn.Server):
    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Without the loop's own words on standard error: it writes a traceback for each
        connection that it has no room for, and stands still where nobody reads them."""
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await super().serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """With what is left of connections: a clip that nobody takes would stay open for good."""
        await super().shutdown(sockets)
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        tasks = tuple(self.server_state.tasks)
        if tasks:  # they were cancelled, and close their files
            await asyncio.wait(tasks, timeout=5.0)
        await asyncio.sleep(0)  # the loop closes connections in its next turn


class _Hasty(H11Protocol):
    """A connection on which no whole request comes makes room for others."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at what comes."""
        super().connection_made(transport)
        self._seen: object = self
        self._look()

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self.cycle is self._seen:
            self.transport.close()
            return
        self._seen = self.cycle
        self.loop.call_later(_PATIENCE, self._look)


def application(show: Show, token: str, port: int) -> ASGIApp:
    """The page as an ASGI application, below ``/token/``."""
    pages = _Pages(show)
    routes = [
        Route("/favicon.ico", pages.nothing),  # asked for by every browser
        Route(f"/{token}/", pages.page),
        Route(f"/{token}/news", pages.news),
        Route(f"/{token}/marks", pages.mark, methods=["POST"]),
        Route(f"/{token}/{{name:path}}", pages.file),
    ]
    return _OwnPagesOnly(Starlette(routes=routes), port)


class _OwnPagesOnly:
    """Refuses what another web page could make a browser send here.

    A foreign Host is a name turned to this machine (DNS rebinding), a foreign Origin another page
    that posts here. There is no CORS header, so that no other page reads an answer either.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port
        own = socket.gethostname().casefold()
        self._names = {"localhost", own, f"{own}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes from the page itself, or from an address that a person opened."""
        if scope["type"] == "http" and self._is_own(scope):
            return await self._app(scope, receive, send)
        refusal = PlainTextResponse("not for other pages\n", 403, _headers())
        await refusal(scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        told: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            told.setdefault(name, []).append(value)
        hosts, origins = told.get(b"host", []), told.get(b"origin", [])
        if len(hosts) != 1 or not self._is_mine(hosts[0]):
            return False
        if any(origin != b"http://" + hosts[0] for origin in origins):
            return False
        if scope["method"] in {"GET", "HEAD"}:
            site, mode = told.get(b"sec-fetch-site", []), told.get(b"sec-fetch-mode", [])
            return site not in ([b"cross-site"], [b"same-site"]) or mode == [b"navigate"]
        return len(origins) == 1

    def _is_mine(self, host: bytes) -> bool:
        """An address, or this machine's own name: no name that somebody else gives out."""
        try:
            parts = urlsplit(b"//" + host)
            name, port = (parts.hostname or b"").decode("ascii"), parts.port or 80
        except ValueError:
            return False
        if port != self._port or parts.username is not None:
            return False
        if name.casefold() in self._names:
            return True
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def _headers(policy: str = _NOTHING) -> dict[str, str]:
    return {**_HEADERS, "content-security-policy": policy}


class _Pages:
    """The answers. What reads a disk runs in a thread, as Starlette has it for plain functions."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def page(self, request: Request) -> Response:
        try:
            html, policy = self._show.page()
        except SeedanceBatchError as error:  # the folder was moved away, its disk is gone
            words = f"{error}\n\nLoad this page again once that is mended.\n"
            return PlainTextResponse(words, 503, _headers())
        return HTMLResponse(html, headers=_headers(policy + _ENDING))

    def nothing(self, request: Request) -> Response:
        return Response(None, 204, _headers())

    def news(self, request: Request) -> Response:
        try:
            rows, marks = (int(request.query_params.get(n, "0")) for n in ("rows", "marks"))
        except ValueError:
            return _said(400, "counts are numbers")
        if not 0 <= min(rows, marks) <= max(rows, marks) < _MOST_CHANGES:
            return _said(400, "no count is as large")
        try:
            return _json(200, self._show.news(rows, marks))
        except SeedanceBatchError as error:
            return _said(503, str(error))

    async def mark(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _said(415, "a mark is JSON")
        body = bytearray()
        try:
            with anyio.fail_after(_PATIENCE):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MOST_BODY:
                        return _said(413, "the note is too long")
        except ClientDisconnect:
            return _said(400, "the mark was cut off")
        except TimeoutError:
            return _said(408, "the mark took too long to arrive")
        try:
            return await run_in_threadpool(self._mark, bytes(body))
        except FolderUnusable as error:
            return _said(507, str(error))

    def _mark(self, body: bytes) -> Response:
        try:
            told = json.loads(body)
            key, take, said = told["id"], told["take"], dict(told["said"])
            if not (isinstance(key, str) and isinstance(take, str)):
                raise TypeError
            return _json(200, {"change": self._show.mark(key, take, said)})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return _said(400, f"no mark can be made of this: {error}")

    def file(self, request: Request) -> Response:
        name = str(request.path_params["name"])
        path = self._show.file(name)
        kind = None if path is None else _KINDS.get(path.suffix.lower())
        if path is None or kind is None:
            return _said(404, "there is no such file on the page")
        # A poster's name has its clip's hash in it; a damaged clip may be fetched again.
        lasting = 3600 if kind.startswith("image/") else 60
        kept = _headers() | {"cache-control": f"private, max-age={lasting}"}
        return FileResponse(path, media_type=kind, headers=kept)


def _json(status: int, value: Mapping[str, Any]) -> Response:
    data = values_json(value).encode(errors="replace")
    return Response(data, status, _headers(), "application/json")


def _said(status: int, words: str) -> Response:
    return _json(status, {"error": words})
