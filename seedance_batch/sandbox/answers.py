"""Requests and answers as plain values: how one leaves, which fault breaks it, and refusals."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import Enum, auto
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote

import anyio
from starlette import requests
from starlette.types import Receive, Scope, Send

from seedance_batch.sandbox.config import ApiFault, Envelope, FaultConfig, Stranger

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


def is_this_machine(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
    body = await _read_body(scope, receive, max_body) if scope["method"] not in _BODYLESS else b""
    return Request(
        scope["method"],
        unquote(path),
        dict(parse_qsl(query, keep_blank_values=True)),
        headers,
        body,
        f"{path}?{query}" if query else path,
    )


_BODYLESS: Final = frozenset({"GET", "HEAD"})


async def _read_body(scope: Scope, receive: Receive, max_body: int) -> bytes:
    body = bytearray()
    try:
        async for part in requests.Request(scope, receive).stream():
            body += part
            if len(body) > max_body:
                raise TooLarge
    except requests.ClientDisconnect as error:
        raise Disconnected("the client left while sending its body") from error
    return bytes(body)


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


# ── Which fault strikes whom, and what it does to an answer ───────────────────────────────────────
# A draw depends on the seed, the kind of request, its content and how often that content was
# tried: never on the order of requests, so that a concurrent run repeats.


Name = TypeVar("Name", bound=str)


def unit(*parts: object) -> float:
    """A number in [0, 1) that belongs to these parts."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / 2**64


def pick(shares: Mapping[Name, float], where: float) -> Name | None:
    """The name in whose share of [0, 1) the number lies."""
    for name, share in shares.items():
        where -= share
        if where < 0:
            return name
    return None


def draw(
    config: FaultConfig, seed: int, kind: str, shares: Mapping[Name, float], content: str, nth: int
) -> Name | None:
    """The fault of the nth try of a content, or None."""
    if not shares or (config.tries is not None and nth > config.tries):
        return None
    return pick(shares, unit(seed, kind, content, nth))


_REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "404": ("not_found", "nothing is here"),
    "405": ("method_not_allowed", "no such method here"),
    "408": ("request_timeout", "the request took too long"),
    "425": ("too_early", "too early"),
    "429": ("rate_limit_exceeded", "too many requests"),
    "500": ("internal_error", "internal error"),
    "502": ("bad_gateway", "bad gateway"),
    "503": ("service_unavailable", "the platform is busy"),
    "504": ("gateway_timeout", "gateway time-out"),
}

_DONE_AT_ONCE: Final = frozenset({ApiFault.LATE, ApiFault.CUT, ApiFault.PROCESSING})
_BEFORE: Final = frozenset(f for f in ApiFault if not f.endswith("_after")) - _DONE_AT_ONCE


def strikes_before(fault: ApiFault) -> bool:
    """Whether the request has no effect at all."""
    return fault in _BEFORE


def broken(answer: Reply | None, fault: ApiFault, config: FaultConfig, now: float) -> Reply:
    """What the client gets; ``answer`` is what it would have got, None if nothing was done.

    Raises Refusal for the faults that are refusals, so that they wear the configured envelope.
    """
    task_id = answer.task_id if answer else None
    verdict = f"fault {fault.value}"
    name = fault.removesuffix("_after")
    if name in _REFUSED:
        code, message = _REFUSED[name]
        headers, data = {}, None
        if name in ("429", "503"):
            headers, data = retry_after_header(config, now), wait_in_body(config)
            message += wait_in_words(config)
        raise Refusal(int(name), code, message, headers=headers, data=data, verdict=verdict)
    if "_gateway" in fault:
        headers = retry_after_header(config, now) if fault[:3] in ("429", "503") else {}
        answer = gateway_answer(int(fault[:3]), config.gateway_form, verdict)
        return answer.adding(headers).having(task_id=task_id)
    if fault in (ApiFault.REDIRECT, ApiFault.REDIRECT_AFTER):
        return redirect_answer(config.redirect_to, verdict).having(task_id=task_id)
    if fault in (ApiFault.STALL, ApiFault.STALL_AFTER):
        return reset_answer(verdict, pause=config.stall_seconds, task_id=task_id)
    if fault is ApiFault.HTML:
        return html_answer(502, "Bad Gateway", verdict)
    if fault is ApiFault.EMPTY:
        return Reply(502, verdict)
    if answer is None or fault in (ApiFault.RESET, ApiFault.RESET_AFTER, ApiFault.PROCESSING):
        return reset_answer(verdict, task_id=task_id)
    return _SPOILT[fault](answer, config).having(verdict=verdict, task_id=task_id)


def _cut(answer: Reply) -> Reply:
    whole = answer.body if isinstance(answer.body, bytes) else b""
    return answer.having(body=whole[: len(whole) // 2], length=len(whole), ending=Ending.CUT)


_SPOILT: Final[dict[ApiFault, Callable[[Reply, FaultConfig], Reply]]] = {
    ApiFault.LATE: lambda answer, config: answer.having(pause=config.late_seconds),
    ApiFault.CUT: lambda answer, _: _cut(answer),
    ApiFault.HTML_AFTER: lambda *_: html_answer(200, "Welcome", ""),
    ApiFault.EMPTY_AFTER: lambda *_: Reply(200, ""),
}


def retry_after_header(
    config: FaultConfig, now: float, seconds: float | None = None
) -> dict[str, str]:
    """The Retry-After header, as seconds or as a date, rounded up."""
    wait = -int(-(config.retry_after_seconds if seconds is None else seconds) // 1)
    if config.retry_after == "date":
        return {"retry-after": formatdate(-int(-(now + wait) // 1), usegmt=True)}
    return {"retry-after": str(wait)} if config.retry_after == "seconds" else {}


def wait_in_body(config: FaultConfig) -> dict[str, float] | None:
    """The wait among a refusal's data, where it is told there."""
    seconds = config.retry_after_seconds
    bodies = {"body": {"retryAfter": seconds}, "body_ms": {"retry_after_ms": seconds * 1000}}
    return bodies.get(config.retry_after)


def wait_in_words(config: FaultConfig) -> str:
    """The wait as the end of a refusal's words, where it is told there."""
    words = f", try again in {config.retry_after_seconds:g} s"
    return words if config.retry_after == "words" else ""


def strange_answer(stranger: Stranger, config: FaultConfig) -> Reply:
    """What somebody else answers at the service's address."""
    verdict = f"stranger {stranger.value}"
    if stranger is Stranger.REDIRECT:
        return redirect_answer(config.redirect_to, verdict)
    if stranger is Stranger.PAGE:
        return html_answer(200, "Welcome", verdict)
    return html_answer(int(stranger), "nginx", verdict)


# ── Refusals and the envelopes they come in ───────────────────────────────────────────────────────
# ``Refusal`` in ``openapi.yaml`` is the envelope of HiAPI's documentation, the other two are those
# of its blog (both read in November 2026); which of them the service sends is not known.


class Refusal(Exception):
    """A request that is answered with an error and has no effect."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, object] | None = None,
        verdict: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.data = data
        self.verdict = verdict or f"refused {code}"


def invalid(message: str) -> Refusal:
    """400: the request must be mended."""
    return Refusal(400, "INVALID_REQUEST", message)


def refusal_answer(
    refusal: Refusal, envelope: Envelope, request_id: str, *, in_200: bool = False
) -> Reply:
    """The refusal in one of HiAPI's envelopes, or in none; ``in_200``: by its code alone."""
    headers = {**refusal.headers, "x-request-id": request_id}
    if envelope is Envelope.EMPTY:
        return Reply(refusal.status, refusal.verdict, headers=headers)
    if envelope is Envelope.HTML:
        return html_answer(refusal.status, refusal.message, refusal.verdict).adding(headers)
    content = _content(refusal, envelope, request_id)
    return json_answer(200 if in_200 else refusal.status, content, refusal.verdict, headers=headers)


def _content(refusal: Refusal, envelope: Envelope, request_id: str) -> dict[str, Any]:
    if envelope is Envelope.DOC:
        return {
            "code": refusal.status,
            "message": refusal.message,
            "data": refusal.data,
            "error_code": refusal.code,
        }
    error = {
        "type": envelope.value,
        "code": refusal.code,
        "message": refusal.message,
        "request_id": request_id,
        **(refusal.data or {}),
    }
    return {"error": error}


def html_answer(status: int, text: str, verdict: str) -> Reply:
    """What a gateway in between says."""
    body = f"<html><head><title>{status}</title></head><body><h1>{text}</h1></body></html>"
    return Reply(status, verdict, body.encode(), {"content-type": "text/html"})


_GATEWAYS = {
    "429": "rate limit exceeded",
    "503": "upstream connect error or disconnect/reset before headers. reset reason: overflow",
}


def gateway_answer(status: int, form: str, verdict: str) -> Reply:
    """What a gateway says that lets nothing of the service's own answer through."""
    words = _GATEWAYS.get(str(status), "the gateway refused the request")
    if form == "html":
        return html_answer(status, words, verdict)
    if form == "json":
        return json_answer(status, {"message": words}, verdict)
    return Reply(status, verdict, words.encode(), {"content-type": "text/plain"})


def redirect_answer(target: str, verdict: str) -> Reply:
    """307: the same request is to be sent elsewhere."""
    return Reply(307, verdict, b"", {"location": target})
