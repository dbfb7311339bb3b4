"""A relay on a real socket between a run and the sandbox, which loses answers on demand."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


class Loss(enum.Enum):
    """How the answer to a create is lost; the server has accepted by then."""

    RESET = "reset"
    HALF_A_HEADER = "half a header"
    SILENCE = "silence"
    ANOTHERS = "another's"
    """Not lost but wrong: every create is told the first one's task."""


@dataclass
class Relay:
    """Passes bytes on, and loses the answer to each first POST of a body."""

    upstream: tuple[str, int]
    loss: Loss | None = None
    lost: list[bytes] = field(default_factory=list)
    """Answers that never arrived."""
    _seen: set[bytes] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with (
            client,
            socket.create_connection(self.upstream) as server,
            contextlib.suppress(OSError),
        ):
            while request := _message(client):
                server.sendall(request)
                answer = _message(server)
                if self.loss is Loss.ANOTHERS and request.startswith(b"POST"):
                    answer = self._first(answer)
                elif self._loses(request, answer):
                    return self._lose(client, answer)
                client.sendall(answer)

    def _lose(self, client: socket.socket, answer: bytes) -> None:
        if self.loss is Loss.SILENCE:
            client.recv(1)  # until the client gives up, or dies
        elif self.loss is Loss.HALF_A_HEADER:
            client.sendall(answer[:11])
        else:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _first(self, answer: bytes) -> bytes:
        with self._lock:
            self.lost.append(answer)
            return self.lost[0]

    def _loses(self, request: bytes, answer: bytes) -> bool:
        body = request.partition(b"\r\n\r\n")[2]
        with self._lock:
            if self.loss is None or not request.startswith(b"POST") or body in self._seen:
                return False
            self._seen.add(body)
            self.lost.append(answer)
            return True


def _message(peer: socket.socket) -> bytes:
    """A whole HTTP message with a Content-Length; empty at the end of the connection."""
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = peer.recv(65536)
        if not chunk:
            return b""
        head += chunk
    head, _, body = head.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def relaying(api_url: str, loss: Loss) -> Iterator[tuple[str, Relay]]:
    """The relay's own API address, and the relay."""
    parts = urlsplit(api_url)
    relay = Relay((parts.hostname or "", parts.port or 0), loss)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=relay.serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", relay
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
