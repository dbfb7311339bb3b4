"""Requests and answers as plain values, and how an answer leaves, whole or broken on purpose."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import anyio

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

DISCONNECT: Final = "seedance.sandbox.disconnect"
"""ASGI extension of the sandbox's server: a function (reset: bool) that drops the connection."""


class Disconnected(ConnectionResetError):
    """Stands for a dropped connection where no socket is there to drop (in-process transport)."""


class TooLarge(Exception):
    """The request's body is over the limit."""


class Ending(Enum):
    """How the connection ends after an answer."""

    WHOLE = auto()
    RESET = auto()
    """Nothing is sent; the connection is reset."""
    CUT = auto()
    """The headers promise more than arrives, then the connection closes."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    target: str = ""
    """Path and query as they came."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, its verdict for the ledger, and how it is to be broken."""

    status: int
    verdict: str
    body: bytes | AsyncIterator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = Ending.WHOLE
    pause: float = 0.0
    """Seconds to wait before anything is sent."""
    length: int | None = None
    """Content-Length to promise for a streamed or cut body; None: what the body has."""
    task_id: str | None = None

    def having(self, **changes: Any) -> Reply:
        """The same answer with some fields changed."""
        return replace(self, **changes)

    def adding(self, headers: Mapping[str, str]) -> Reply:
        """The same answer with more headers."""
        return replace(self, headers={**self.headers, **headers})


def json_answer(status: int, content: object, verdict: str, **more: Any) -> Reply:
    """An answer with a JSON body."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"content-type": "application/json", **more.pop("headers", {})}
    return Reply(status, verdict, body, headers, **more)


def reset_answer(verdict: str, **more: Any) -> Reply:
    """No answer: the connection is reset."""
    return Reply(0, verdict, ending=Ending.RESET, **more)


async def read_request(scope: Scope, receive: Receive, max_body: int) -> Request:
    """The whole request; raises `TooLarge` as soon as the body passes ``max_body`` bytes."""
    query = scope.get("query_string", b"").decode("latin-1")
    headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > max_body:
        raise TooLarge
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else scope["path"]
    body = await _read_body(receive, max_body) if scope["method"] not in _BODYLESS else b""
    return Request(
        scope["method"],
        unquote(path),
        dict(parse_qsl(query, keep_blank_values=True)),
        headers,
        body,
        f"{path}?{query}" if query else path,
    )


_BODYLESS: Final = frozenset({"GET", "HEAD"})


async def _read_body(receive: Receive, max_body: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected("the client left while sending its body")
        part = message.get("body", b"")
        size += len(part)
        if size > max_body:
            raise TooLarge
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def send_answer(answer: Reply, scope: Scope, send: Send, *, head: bool = False) -> None:
    """Sends the answer as its fields ask; ``head`` leaves the body out."""
    if answer.pause:
        await anyio.sleep(answer.pause)
    if answer.ending is Ending.RESET:
        return _disconnect(scope, reset=True)
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": _header_list(answer),
        }
    )
    if head:
        await send({"type": "http.response.body", "body": b""})
    elif isinstance(answer.body, bytes):
        await _send_bytes(answer, answer.body, scope, send)
    else:
        await _send_stream(answer, answer.body, scope, send)


def _header_list(answer: Reply) -> list[tuple[bytes, bytes]]:
    headers = dict(answer.headers)
    length = answer.length
    if length is None and isinstance(answer.body, bytes):
        length = len(answer.body)
    if length is not None and length >= 0:
        headers.setdefault("content-length", str(length))
    return [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in headers.items()]


async def _send_bytes(answer: Reply, body: bytes, scope: Scope, send: Send) -> None:
    cut = answer.ending is Ending.CUT
    await send({"type": "http.response.body", "body": body, "more_body": cut})
    if cut:
        _disconnect(scope, reset=False)


async def _send_stream(answer: Reply, body: AsyncIterator[bytes], scope: Scope, send: Send) -> None:
    async for part in body:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    if answer.ending is Ending.CUT:
        return _disconnect(scope, reset=False)
    await send({"type": "http.response.body", "body": b""})


def _disconnect(scope: Scope, *, reset: bool) -> None:
    drop = scope.get("extensions", {}).get(DISCONNECT)
    if drop is None:
        raise Disconnected("the sandbox dropped the connection")
    drop(reset)
