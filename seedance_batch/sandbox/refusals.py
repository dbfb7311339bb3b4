"""Refusals and the envelopes they come in.

``Refusal`` in ``openapi.yaml`` is the envelope of HiAPI's documentation, the other two are those
of its blog (both read in November 2026); which of them the service sends is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seedance_batch.sandbox.config import Envelope
from seedance_batch.sandbox.wire import Answer, json_answer


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
) -> Answer:
    """The refusal in one of HiAPI's envelopes, or in none; ``in_200``: by its code alone."""
    headers = {**refusal.headers, "x-request-id": request_id}
    if envelope is Envelope.EMPTY:
        return Answer(refusal.status, refusal.verdict, headers=headers)
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


def html_answer(status: int, text: str, verdict: str) -> Answer:
    """What a gateway in between says."""
    body = f"<html><head><title>{status}</title></head><body><h1>{text}</h1></body></html>"
    return Answer(status, verdict, body.encode(), {"content-type": "text/html"})


_GATEWAYS = {
    "429": "rate limit exceeded",
    "503": "upstream connect error or disconnect/reset before headers. reset reason: overflow",
}


def gateway_answer(status: int, form: str, verdict: str) -> Answer:
    """What a gateway says that lets nothing of the service's own answer through."""
    words = _GATEWAYS.get(str(status), "the gateway refused the request")
    if form == "html":
        return html_answer(status, words, verdict)
    if form == "json":
        return json_answer(status, {"message": words}, verdict)
    return Answer(status, verdict, words.encode(), {"content-type": "text/plain"})


def redirect_answer(target: str, verdict: str) -> Answer:
    """307: the same request is to be sent elsewhere."""
    return Answer(307, verdict, b"", {"location": target})
