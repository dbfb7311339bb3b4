"""A file host over real sockets that misbehaves byte by byte, as told."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count


@dataclass
class Exchange:
    """One request and the socket to answer it on."""

    path: str
    headers: dict[str, str]
    connection: socket.socket
    stopped: threading.Event

    @property
    def offset(self) -> int:
        """The first byte asked for."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(match[1]) if match else 0

    def send(self, content: bytes) -> None:
        self.connection.sendall(content)

    def head(self, status: str, *lines: str) -> None:
        self.send("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode())

    def pause(self, seconds: float) -> bool:
        """Wait; False once the server stops."""
        return not self.stopped.wait(seconds)


Answer = Callable[[Exchange], object]
"""Answers one exchange; the connection is closed after it."""


@dataclass
class HostileServer:
    """Serves each registered path with its answers in turn; the last one repeats."""

    tls: ssl.SSLContext | None = None
    requests: list[Exchange] = field(default_factory=list)
    connections: int = 0
    _answers: dict[str, list[Answer]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def url(self, *answers: Answer, host: str = "127.0.0.1") -> str:
        """A new URL with these answers, in order."""
        path = f"/{next(self._numbers)}/clip.mp4?Signature=s3cret"
        self._answers[path] = list(answers)
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def asked(self, url: str) -> list[Exchange]:
        """The requests for one URL."""
        return [request for request in self.requests if url.endswith(request.path)]

    def wait_for(self, requests: int) -> None:
        """Return once so many requests have come."""
        while len(self.requests) < requests:
            time.sleep(0.01)

    def close(self) -> None:
        self._stopped.set()
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes the accept
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # a test took the descriptors away
                time.sleep(0.01)
                continue
            if self._stopped.is_set():
                connection.close()
                return
            self.connections += 1
            self._start(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with contextlib.suppress(OSError), self._secured(connection) as secured:
            exchange = self._read(secured)
            if exchange is None:
                return
            self.requests.append(exchange)
            answers = self._answers.get(exchange.path, [status("404 Not Found")])
            turn = sum(1 for request in self.requests if request.path == exchange.path)
            answers[min(turn, len(answers)) - 1](exchange)

    def _secured(self, connection: socket.socket) -> socket.socket:
        return self.tls.wrap_socket(connection, server_side=True) if self.tls else connection

    def _read(self, connection: socket.socket) -> Exchange | None:
        received = b""
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                return None
            received += more
        first, *lines = received.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in pairs}
        path = re.sub(r"^http://[^/]*", "", first.split(" ")[1])  # whole URLs come to a proxy
        return Exchange(path, headers, connection, self._stopped)


# ── answers ─────────────────────────────────────────────────────────────────────────────────────

ETAG = 'ETag: "v1"'


def whole(content: bytes, *lines: str) -> Answer:
    """The file from its first byte, whatever was asked for."""
    return lambda ask: (
        ask.head("200 OK", f"Content-Length: {len(content)}", *lines),
        ask.send(content),
    )


def ranged(content: bytes, *lines: str) -> Answer:
    """The file from the asked byte on, as a good host does."""

    def answer(ask: Exchange) -> None:
        if not ask.offset:
            whole(content, *lines)(ask)
            return
        part(content, ask.offset, *lines)(ask)

    return answer


def part(content: bytes, start: int, *lines: str, total: int | None = None) -> Answer:
    """A 206 from ``start`` on, whatever was asked for."""
    size = len(content) if total is None else total
    return lambda ask: (
        ask.head(
            "206 Partial Content",
            f"Content-Length: {len(content) - start}",
            f"Content-Range: bytes {start}-{len(content) - 1}/{size}",
            *lines,
        ),
        ask.send(content[start:]),
    )


def cut(content: bytes, at: int, *lines: str) -> Answer:
    """An announced length, fewer bytes, the end."""
    return lambda ask: (
        ask.head("200 OK", f"Content-Length: {len(content)}", *lines),
        ask.send(content[:at]),
    )


def cut_unannounced(content: bytes, at: int, *lines: str) -> Answer:
    """No length, so that the cut looks like the end."""
    return lambda ask: (ask.head("200 OK", "Connection: close", *lines), ask.send(content[:at]))


def cut_chunked(content: bytes, at: int, *lines: str) -> Answer:
    """Chunks, and never the last one."""
    return lambda ask: (
        ask.head("200 OK", "Transfer-Encoding: chunked", *lines),
        ask.send(b"%x\r\n%b\r\n" % (at, content[:at]) if at else b""),
    )


def reset(content: bytes, at: int, *lines: str) -> Answer:
    """A TCP reset in the middle."""

    def answer(ask: Exchange) -> None:
        ask.head("200 OK", f"Content-Length: {len(content)}", *lines)
        ask.send(content[:at])
        time.sleep(0.01)
        ask.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return answer


def chunked(content: bytes, size: int = 65536) -> Answer:
    """The whole file in chunks, no length."""

    def answer(ask: Exchange) -> None:
        ask.head("200 OK", "Transfer-Encoding: chunked")
        for start in range(0, len(content), size):
            piece = content[start : start + size]
            ask.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        ask.send(b"0\r\n\r\n")

    return answer


def paced(content: bytes, pieces: int, pause: float) -> Answer:
    """The whole file at the server's own pace."""

    def answer(ask: Exchange) -> None:
        ask.head("200 OK", f"Content-Length: {len(content)}")
        size = -(-len(content) // pieces)
        for start in range(0, len(content), size):
            ask.send(content[start : start + size])
            ask.pause(pause)

    return answer


def status(line: str, *lines: str, body: bytes = b"") -> Answer:
    """A bare answer."""
    return lambda ask: (ask.head(line, f"Content-Length: {len(body)}", *lines), ask.send(body))


def redirect(target: str) -> Answer:
    return status("302 Found", f"Location: {target}")


def endless(ask: Exchange) -> None:
    """Chunks without end."""
    ask.head("200 OK", "Transfer-Encoding: chunked")
    while ask.pause(0):
        ask.send(b"10000\r\n" + b"\0" * 65536 + b"\r\n")


def stalled(content: bytes, at: int) -> Answer:
    """Some bytes, then silence with the connection open."""

    def answer(ask: Exchange) -> None:
        ask.head("200 OK", f"Content-Length: {len(content)}")
        ask.send(content[:at])
        ask.pause(30)

    return answer


def dripping(content: bytes, pause: float) -> Answer:
    """A byte, a pause, a byte."""

    def answer(ask: Exchange) -> None:
        ask.head("200 OK", f"Content-Length: {len(content)}")
        for byte in content:
            ask.send(bytes([byte]))
            if not ask.pause(pause):
                return

    return answer


def dripping_head(ask: Exchange) -> None:
    """An answer's head that never ends."""
    ask.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while ask.pause(0.02):
        ask.send(b"a")


def silent(ask: Exchange) -> None:
    """Accepts, reads, says nothing."""
    ask.pause(30)


def hung_up(_: Exchange) -> None:
    """Closes without an answer."""
