"""Puts the sandbox together and serves its two origins, on loopback sockets or in-process."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.from_thread
import anyio.to_thread
import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from seedance_batch.sandbox.answers import (
    DISCONNECT,
    Reply,
    is_this_machine,
    send_answer,
)
from seedance_batch.sandbox.api import Api, Callbacks
from seedance_batch.sandbox.config import SandboxConfig
from seedance_batch.sandbox.engine import Engine
from seedance_batch.sandbox.file_origin import ClipFiles, Files, Offload
from seedance_batch.sandbox.ledger import Ledger

if TYPE_CHECKING:
    import httpx

# ── Serves the sandbox's two origins on loopback sockets, in one thread with its own event loop ───


DEFAULT_KEY: Final = "sk-sandbox"
"""Good wherever no key is configured; the same in every run, so that a state is continued."""


@dataclass(frozen=True)
class SandboxAddress:
    """Where a sandbox is served; clients add ``/v1`` to ``api_url``."""

    api_url: str
    files_url: str
    api_key: str


class _Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, whose connection the application can drop."""

    def __init__(self, *args: Any, patience: Callable[[], float], **named: Any) -> None:
        super().__init__(*args, **named)
        self._patience = patience
        self._silence: asyncio.TimerHandle | None = None
        self._inner = self.app
        self._lost = asyncio.Event()
        self.app = self._run

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        """Runs the application; an answer that was dropped on purpose is no error to log."""
        scope.setdefault("extensions", {})[DISCONNECT] = self._drop
        try:
            await self._inner(scope, receive, send)
        except asyncio.CancelledError:
            self.transport.abort()  # the server ends
        if self.transport.is_closing():
            with suppress(asyncio.CancelledError):  # it may end here as well
                await self._lost.wait()

    def connection_made(self, transport: Any) -> None:
        """Begins to wait for a request."""
        super().connection_made(transport)
        self._wait_for_the_rest()

    def data_received(self, data: bytes) -> None:
        """Waits on where that was not all of a request."""
        super().data_received(data)
        begun = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        self._wait_for_the_rest(begun or self.conn.their_state is h11.SEND_BODY)

    def _wait_for_the_rest(self, half_sent: bool = True) -> None:
        if self._silence is not None:
            self._silence.cancel()
        wait = self._patience()
        self._silence = self.loop.call_later(wait, self._give_up) if half_sent else None

    def _give_up(self) -> None:
        """Ends a request whose rest does not come."""
        if self.transport.is_closing():
            return
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the wait of `_run`."""
        self._wait_for_the_rest(False)
        super().connection_lost(exc)
        self._lost.set()

    def _drop(self, reset: bool) -> None:
        """A reset (RST), or an orderly close after what was written."""
        if not reset:
            return self.transport.close()
        sock = self.transport.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _LoopbackOnly:
    """Refuses what a web page could send here: a foreign Host (rebinding) or a foreign Origin.

    ``host_names`` are names that it answers to as well.
    """

    def __init__(self, app: ASGIApp, host_names: Collection[str] = ()) -> None:
        self._app = app
        self._names = frozenset(name.casefold() for name in host_names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what comes from this machine."""
        hosts = [_host(b"//" + value) for name, value in scope["headers"] if name == b"host"]
        told = [host for host in hosts if host not in self._names]
        told += [_host(value) for name, value in scope["headers"] if name == b"origin"]
        if all(map(is_this_machine, told)):
            return await self._app(scope, receive, send)
        answer = Reply(403, "", b"the sandbox serves this machine only\n")
        await send_answer(answer, scope, send)


def _host(url: bytes) -> str:
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


@contextmanager
def running(
    config: SandboxConfig,
    *,
    state: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    files_port: int = 0,
    host_names: Collection[str] = (),
) -> Iterator[SandboxAddress]:
    """Serves the sandbox until the block ends; port 0 takes a free one.

    It answers to ``host_names`` too, for clients that are pointed here by name.
    """
    with ExitStack() as stack:
        api_socket = stack.enter_context(_listen(host, port))
        files_socket = stack.enter_context(_listen(host, files_port))
        sandbox = build(config, state=state)
        stack.callback(sandbox.close)
        address = SandboxAddress(
            _url(host, api_socket), _url(host, files_socket), config.api_key or DEFAULT_KEY
        )
        sandbox.engine.links.base = address.files_url
        portal = stack.enter_context(anyio.from_thread.start_blocking_portal("asyncio"))
        sockets = api_socket, files_socket
        served, _ = portal.start_task(_serve, sandbox, sockets, host_names)
        stack.callback(_finish, served)
        yield address


def _finish(served: Future[None]) -> None:
    """Ends the serving; raises what had ended it before."""
    if not served.cancel():
        served.result()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's delay (40 ms an answer) off only then.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name != "nt":  # there it would share the port with whoever has it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(512)
    except BaseException:
        sock.close()
        raise
    return sock


def _url(host: str, sock: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{sock.getsockname()[1]}"


async def _serve(
    sandbox: Sandbox,
    sockets: tuple[socket.socket, socket.socket],
    host_names: Collection[str],
    *,
    task_status: Any = anyio.TASK_STATUS_IGNORED,
) -> None:
    async with anyio.create_task_group() as tasks:
        engine = sandbox.engine

        def patience() -> float:
            return engine.config.half_sent_seconds

        apps: tuple[ASGIApp, ASGIApp] = sandbox.api, sandbox.files
        for app, sock in zip(apps, sockets, strict=True):
            guarded = _LoopbackOnly(app, host_names)
            await tasks.start(_serve_one, guarded, sock, engine.clock, patience)
        tasks.start_soon(sandbox.callbacks.serve)
        task_status.started()


async def _serve_one(
    app: ASGIApp,
    sock: socket.socket,
    clock: Callable[[], float] = time.time,
    patience: Callable[[], float] = lambda: 30.0,
    *,
    task_status: Any = anyio.TASK_STATUS_IGNORED,
) -> None:
    config = Config(app, lifespan="off", ws="none", access_log=False, log_config=None)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Protocol(
            config=config, server_state=state, app_state={}, _loop=loop, patience=patience
        ),
        sock=sock,
    )
    task_status.started()
    try:
        while True:
            state.default_headers = [(b"date", formatdate(clock(), usegmt=True).encode())]
            await anyio.sleep(1)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()


# ── Puts the sandbox together: state, engine, the two ASGI applications, callbacks, rendering ─────


T = TypeVar("T")
Clock = Callable[[], float]


async def in_thread(work: Callable[[], T]) -> T:
    """Runs work beside the event loop; a cancelled caller does not wait for it."""
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


async def inline(work: Callable[[], T]) -> T:
    """Runs work at once: for virtual time, whose clock jumps while a thread works."""
    return work()


class Sandbox:
    """The sandbox in process: ``api`` and ``files`` are ASGI applications.

    ``callbacks.serve`` must run in a task group for callbacks to be sent.
    """

    def __init__(
        self, engine: Engine, offload: Offload, callback_transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.engine = engine
        self.callbacks = Callbacks(engine, callback_transport)
        self.clip_files = ClipFiles(engine, offload)
        self.api = Api(engine, self.clip_files.reference_seconds, self.callbacks.wake)
        self.files = Files(engine, self.clip_files.contents)

    def close(self) -> None:
        """Ends the use of the state and whatever is being rendered."""
        self.clip_files.close()
        self.engine.ledger.close()


def build(
    config: SandboxConfig,
    *,
    state: Path | None = None,
    clock: Clock = time.time,
    offload: Offload = in_thread,
    callback_transport: httpx.AsyncBaseTransport | None = None,
) -> Sandbox:
    """The sandbox, ready to be mounted; ``state`` is continued where the file exists.

    For virtual time pass its ``clock`` (Unix seconds) and ``offload=inline``; in-process
    receivers of callbacks are reached through ``callback_transport``.
    """
    return Sandbox(Engine(config, Ledger(state), clock), offload, callback_transport)
