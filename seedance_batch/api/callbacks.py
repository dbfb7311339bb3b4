"""Hears HiAPI's callbacks: proves or doubts them, answers at once, and passes them on.

Decides nothing about rows: `Hear` says what becomes of a callback, and the work comes after.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio

from seedance_batch.api import addresses
from seedance_batch.core import shapes
from seedance_batch.core.hiapi import OutputType, Task
from seedance_batch.errors import SettingsError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

MAX_CALLBACK: Final = 1 << 20
"""Bytes; a task object has about a thousand."""
TOLERANCE: Final = 300.0
"""Seconds between a callback's timestamp and our clock."""
_PATIENCE: Final = 0.8
"""Seconds in which a body has to arrive, so that every answer is given within one."""
_CONNECTIONS: Final = 200
_TOKEN: Final = re.compile(r"cb-[A-Za-z0-9_-]{32}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_STAMP: Final = re.compile(r"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")


class Reception(Enum):
    """What becomes of a callback, and its answer."""

    TAKEN = 200
    HELD = 202
    """Proven, but of no task that is known yet."""
    NOT_OURS = 404
    CONTRADICTS = 409
    """It names another row's task, or another task than its row has."""
    TOO_BUSY = 503
    """Not now: it comes again."""


@dataclass(frozen=True, slots=True)
class ToldTask:
    """A callback: the task, the token of its path, and whether a signature proves it."""

    token: str | None
    task: Task
    signed: bool


Hear = Callable[[ToldTask], Reception]


# ── addresses ───────────────────────────────────────────────────────────────────────────────────


def attempt_url(base: str, token: str) -> str:
    """The callback address of one attempt: its token (`manifest.callback_token`) ends the path.

    A path, since it is not stated whether the service keeps a query.
    """
    return f"{base.rstrip('/')}/cb-{token}"


def token_of(template: str) -> str | None:
    """The token in the callback address of a create's body; None where it has none."""
    callback = json.loads(template).get("callback")
    return token_in(urlsplit(callback["url"]).path) if callback else None


def token_in(path: str) -> str | None:
    """The token at a path's end, whatever a proxy has put before it."""
    last = path.rstrip("/").rpartition("/")[2]
    return last if _TOKEN.fullmatch(last) else None


def check_url(url: str, *, allow_private: bool) -> str:
    """A callback address as HiAPI accepts it. Raises `SettingsError`.

    ``allow_private``: the API is on loopback, so that http and private hosts are fine.
    """
    reason = addresses.refusal(url, allow_private=allow_private)
    if reason:
        raise SettingsError(
            f"--callback-url {url!r}: {reason}.", hint="give a public https address of this machine"
        )
    if urlsplit(url).query or urlsplit(url).fragment:
        raise SettingsError(f"--callback-url {url!r} has a query or a fragment; use a path.")
    return url


def listen(bind: str) -> socket.socket:
    """A socket at ``HOST:PORT``; port 0 takes a free one. Raises `SettingsError`."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not host.isprintable() or not _PORT.fullmatch(port) or int(port) > 65535:
        raise SettingsError(f"--callback-bind {bind!r} is not of the form HOST:PORT.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        host.encode("idna")  # what no resolver takes would leave an open socket behind
        return socket.create_server((host, int(port)), family=family, backlog=_CONNECTIONS)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"--callback-bind {bind!r}: {reason}.") from error


def local_url(sock: socket.socket) -> str:
    """The address of a listening socket, for senders on this machine."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# ── proof ───────────────────────────────────────────────────────────────────────────────────────


def is_signed(keys: Sequence[str], stamp: str, signature: str, body: bytes, now: float) -> bool:
    """Whether one of the keys signed exactly these bytes, at most 300 s from ``now``.

    HiAPI sends hex(HMAC-SHA256(key, timestamp + "." + raw body)) in lower case.
    """
    if not (_STAMP.fullmatch(stamp) and _SIGNATURE.fullmatch(signature)):
        return False
    if abs(now - int(stamp)) > TOLERANCE:
        return False
    message = f"{stamp}.".encode() + body
    wanted = [hmac.new(key.encode(), message, hashlib.sha256).hexdigest() for key in keys]
    # Every key is compared, so that the time taken tells nothing.
    matches = [hmac.compare_digest(each, signature) for each in wanted]
    return any(matches)


# ── the application ─────────────────────────────────────────────────────────────────────────────


class _Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Receiver:
    """An ASGI application that takes callbacks at any path.

    With signing keys only signed callbacks count. ``wall`` is the wall clock in Unix seconds.
    """

    def __init__(
        self, hear: Hear, *, keys: Sequence[str], wall: Callable[[], float], allow_private: bool
    ) -> None:
        self._hear = hear
        self._keys = keys
        self._wall = wall
        self._allow_private = allow_private

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        from starlette.requests import Request

        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        from starlette.responses import Response

        try:
            if request.method != "POST":
                raise _Refused(405)
            told = self._read(request, await _body(request))
        except _Refused as refused:
            return Response(status_code=refused.status, headers={"connection": "close"})
        reception = self._hear(told)
        # Whoever sends must not learn more than whether to send again.
        return Response(status_code=200 if reception is Reception.HELD else reception.value)

    def _read(self, request: Request, body: bytes) -> ToldTask:
        if self._keys and not self._is_signed(request, body):
            raise _Refused(401)
        task = shapes.task_of(_parsed(body))
        if task is None or self._leads_astray(task):
            raise _Refused(400)
        return ToldTask(token_in(request.url.path), task, signed=bool(self._keys))

    def _is_signed(self, request: Request, body: bytes) -> bool:
        stamp = request.headers.getlist("x-hiapi-timestamp")
        signature = request.headers.getlist("x-hiapi-signature")
        if len(stamp) != 1 or len(signature) != 1:
            return False
        return is_signed(self._keys, stamp[0], signature[0], body, self._wall())

    def _leads_astray(self, task: Task) -> bool:
        """Whether it names a clip where no clip of HiAPI's lies."""
        video = task.first(OutputType.VIDEO)
        return video is not None and bool(
            addresses.refusal(video.url, allow_private=self._allow_private)
        )


async def _body(request: Request) -> bytes:
    """The raw body, if it comes in time and is not too large."""
    from starlette.requests import ClientDisconnect

    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length) > MAX_CALLBACK:
        raise _Refused(413)
    body = bytearray()
    try:
        with anyio.fail_after(_PATIENCE):
            async with contextlib.aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MAX_CALLBACK:
                        raise _Refused(413)
    except (TimeoutError, ClientDisconnect):
        raise _Refused(408) from None
    return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@contextlib.asynccontextmanager
async def served(receiver: Receiver, sock: socket.socket) -> AsyncIterator[None]:
    """Serve the receiver on a socket, in this event loop, for the length of a block."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield  # the run has its own way with signals

    config = uvicorn.Config(
        receiver,
        lifespan="off",
        ws="none",
        http="h11",
        log_config=None,
        access_log=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: server.serve(sockets=[sock]))
        try:
            yield
        finally:
            server.should_exit = True
