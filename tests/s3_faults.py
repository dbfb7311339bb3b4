"""A relay on a real socket before the S3 server, which spoils what is asked about clips."""

from __future__ import annotations

import contextlib
import enum
import random
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


class Fault(enum.Enum):
    """What becomes of a PUT of a clip."""

    CUT = "half of it arrives, then the connection is reset"
    ACCEPTED = "it is accepted, and the answer is 500"
    LOST = "it is accepted, and the answer never comes"
    CONFLICT = 409, "ConditionalRequestConflict"
    PRECONDITION = 412, "PreconditionFailed"
    SLOW_DOWN = 503, "SlowDown"
    EXPIRED = 403, "ExpiredToken"
    SKEWED = 403, "RequestTimeTooSkewed"


_SHARE = 0.3


@dataclass
class FaultyStore:
    """Passes bytes on to the S3 server, and spoils the next so many PUTs of clips."""

    upstream: tuple[str, int]
    address: str = ""
    faults: list[Fault] = field(default_factory=list)
    """What becomes of the next PUTs of clips."""
    always: Fault | None = None
    """What becomes of all others."""
    spoilt: int = 0
    without_conditions: bool = False
    """Whether it takes every PUT, as old servers do that do not know If-None-Match."""
    at_random: random.Random | None = None
    """Spoils about a third of all PUTs of clips, each in some way."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while request := _message(client):
                answer = self._answer(request)  # moto closes its connections
                if answer is None:
                    return _reset(client)
                client.sendall(answer)

    def _answer(self, request: bytes) -> bytes | None:
        fault = self._fault_of(request)
        if fault is not None and not isinstance(fault.value, str):
            return _refusal(*fault.value)
        with socket.create_connection(self.upstream) as server:
            if fault is Fault.CUT:
                server.sendall(request[: len(request) // 2])
                return None
            if self.without_conditions:
                head, _, body = request.partition(b"\r\n\r\n")
                lines = head.split(b"\r\n")
                kept = [line for line in lines if not line.lower().startswith(b"if-none-match")]
                request = b"\r\n".join(kept) + b"\r\n\r\n" + body
            server.sendall(request)
            answer = _message(server, bodiless=request.startswith(b"HEAD "))
        if fault is Fault.ACCEPTED:
            return _refusal(500, "InternalError")
        return None if fault is Fault.LOST or not answer else answer

    def _fault_of(self, request: bytes) -> Fault | None:
        line = request.partition(b"\r\n")[0]
        with self._lock:
            if not line.startswith(b"PUT ") or b"/videos/" not in line:
                return None
            if self.at_random is not None and self.at_random.random() < _SHARE:
                self.spoilt += 1
                return self.at_random.choice(list(Fault))
            fault = self.faults.pop() if self.faults else self.always
            self.spoilt += fault is not None
            return fault


def _refusal(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>hush</Message></Error>".encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def _message(peer: socket.socket, *, bodiless: bool = False) -> bytes:
    """A whole HTTP message with a Content-Length; empty at the end of the connection."""
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = peer.recv(65536)
        if not chunk:
            return b""
        head += chunk
    head, _, body = head.partition(b"\r\n\r\n")
    lengths = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")[1:]
        if line.lower().startswith(b"content-length:")
    ]
    while not bodiless and lengths and len(body) < lengths[0]:
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def before(address: str) -> Iterator[FaultyStore]:
    """The relay before the server at ``address``, for the length of a block."""
    parts = urlsplit(address)
    relay = FaultyStore((parts.hostname or "", parts.port or 0))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=relay.serve, args=(listener,), daemon=True)
        thread.start()
        yield relay
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
