"""Which fault strikes whom, what it does to an answer, and the envelopes of refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any, Final, TypeVar

from seedance_batch.sandbox.asgi import Ending, Reply, json_answer, reset_answer
from seedance_batch.sandbox.config import ApiFault, Envelope, FaultConfig, Stranger

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


_REFUSED: Final = {
    ApiFault.TOO_MANY: (429, "rate_limit_exceeded", "too many requests"),
    ApiFault.BUSY: (503, "service_unavailable", "the platform is busy"),
    ApiFault.MISSING_404: (404, "not_found", "nothing is here"),
    ApiFault.NO_METHOD_405: (405, "method_not_allowed", "no such method here"),
    ApiFault.TIMEOUT_408: (408, "request_timeout", "the request took too long"),
    ApiFault.EARLY_425: (425, "too_early", "too early"),
    ApiFault.ERROR_500: (500, "internal_error", "internal error"),
    ApiFault.ERROR_502: (502, "bad_gateway", "bad gateway"),
    ApiFault.ERROR_504: (504, "gateway_timeout", "gateway time-out"),
    ApiFault.ERROR_500_AFTER: (500, "internal_error", "internal error"),
    ApiFault.ERROR_502_AFTER: (502, "bad_gateway", "bad gateway"),
    ApiFault.ERROR_504_AFTER: (504, "gateway_timeout", "gateway time-out"),
}

_BEFORE: Final = frozenset(
    {
        ApiFault.TOO_MANY, ApiFault.BUSY, ApiFault.MISSING_404, ApiFault.NO_METHOD_405,
        ApiFault.TIMEOUT_408, ApiFault.EARLY_425,
        ApiFault.ERROR_500, ApiFault.ERROR_502, ApiFault.ERROR_504, ApiFault.RESET,
        ApiFault.STALL, ApiFault.HTML, ApiFault.EMPTY, ApiFault.REDIRECT,
        ApiFault.TOO_MANY_GATEWAY, ApiFault.BUSY_GATEWAY, ApiFault.UNPAID_GATEWAY,
        ApiFault.DENIED_GATEWAY, ApiFault.MISSING_GATEWAY, ApiFault.METHOD_GATEWAY,
        ApiFault.LARGE_GATEWAY,
    }
)  # fmt: skip


def strikes_before(fault: ApiFault) -> bool:
    """Whether the request has no effect at all."""
    return fault in _BEFORE


def broken(answer: Reply | None, fault: ApiFault, config: FaultConfig, now: float) -> Reply:
    """What the client gets; ``answer`` is what it would have got, None if nothing was done.

    Raises Refusal for the faults that are refusals, so that they wear the configured envelope.
    """
    task_id = answer.task_id if answer else None
    verdict = f"fault {fault.value}"
    if fault in _REFUSED:
        status, code, message = _REFUSED[fault]
        headers, data = {}, None
        if status in (429, 503):
            headers, data = retry_after_header(config, now), wait_in_body(config)
            message += wait_in_words(config)
        raise Refusal(status, code, message, headers=headers, data=data, verdict=verdict)
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
