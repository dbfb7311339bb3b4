"""What comes back from the API: tasks as values; an answer's verdict, errors, times, waits. Pure.

Three error envelopes, times in seconds or ISO text, waits in headers, bodies and words, bodies that
are no JSON: whatever an answer looks like, something definite comes out of here. What it says of
tasks is read by `core.shapes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

# ── HiAPI's objects, as values ────────────────────────────────────────────────────────────────────


class TaskStatus(StrEnum):
    """A task's status, closed: every name HiAPI has used maps here, an unknown one is RUNNING."""

    RUNNING = "running"
    SUCCESS = "success"
    FAIL = "fail"


class OutputType(StrEnum):
    """``output[].type``, closed: what is not a clip or a returned frame is OTHER."""

    VIDEO = "video"
    LAST_FRAME = "last_frame"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One entry of ``output``: where it lies, and until when (Unix seconds, None if not said)."""

    url: str
    type: OutputType
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class TaskError:
    """``error`` of a failed task: HiAPI's code and words."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Task:
    """HiAPI's task object. ``created`` and ``completed`` are Unix seconds; 0 means not yet."""

    task_id: str
    status: TaskStatus
    model: str = ""
    created: float = 0.0
    completed: float = 0.0
    output: tuple[OutputFile, ...] = ()
    error: TaskError | None = None
    raw_status: str = ""
    raw: str = ""
    """The answer as it came, where it says more than was understood."""
    duration: float | None = None
    """Seconds that were asked for, where the service repeats the order; it need not."""
    resolution: str = ""

    def first(self, kind: OutputType) -> OutputFile | None:
        """The first output of that type, never merely ``output[0]``."""
        return next((file for file in self.output if file.type is kind), None)


@dataclass(frozen=True, slots=True)
class RateInfo:
    """``X-RateLimit-*``: requests a window, how many are left, when it resets (Unix seconds)."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the task list. ``size`` is what the server used, not what was asked for."""

    page: int
    size: int
    total: int
    tasks: tuple[Task, ...]


# ── Whose an answer is, and what it means for the request ─────────────────────────────────────────


class Verdict(StrEnum):
    """What an answer means for the request that it answers."""

    OK = "ok"
    RATE = "rate"
    """429: refused before processing, where HiAPI itself says so."""
    BUSY = "busy"
    """503: refused before processing, where HiAPI itself says so."""
    BALANCE = "balance"
    """402: refused until somebody pays in."""
    KEY = "key"
    """401: the API key is not good."""
    FORBIDDEN = "forbidden"
    """403: not permitted, or a quota."""
    INVALID = "invalid"
    """Any other 4xx: the request itself is refused, for good."""
    NOT_FOUND = "not_found"
    """404: no such task, or no such model."""
    PROCESSING = "processing"
    """409: the first request with this key is still running."""
    MISMATCH = "mismatch"
    """422: the key was used with another body."""
    ELSEWHERE = "elsewhere"
    """A redirect, a web page, nothing at this address: who answers is not this API."""
    UNKNOWN = "unknown"
    """Anything that leaves open whether the request was carried out."""


class Voice(StrEnum):
    """Who has made an answer, as far as its form tells."""

    HIAPI = "hiapi"
    """It stands in one of HiAPI's envelopes."""
    SOME_API = "some_api"
    """JSON with a code or an error, in nobody's known form."""
    OTHER = "other"
    """A gateway, a proxy, a web server: text, a page, nothing, or JSON of theirs."""


ACCOUNT: Final = frozenset({Verdict.BALANCE, Verdict.KEY, Verdict.FORBIDDEN})
"""The account, not the row: no new submits after one of these."""
REFUSED_BEFORE_PROCESSING: Final = frozenset({Verdict.RATE, Verdict.BUSY, *ACCOUNT})
"""The positive list: after one of these, in HiAPI's own voice, this send certainly made no task."""


def verdict_of(status: int) -> Verdict:
    """What an HTTP status means; a status not listed leaves the outcome unknown."""
    known = _VERDICTS.get(status)
    if known is not None:
        return known
    if 300 <= status < 400:
        return Verdict.ELSEWHERE
    return Verdict.INVALID if 400 <= status < 500 else Verdict.UNKNOWN


_VERDICTS: Final = {
    200: Verdict.OK,
    201: Verdict.OK,
    202: Verdict.OK,
    203: Verdict.OK,  # a 200 that passed through a proxy which says that it touched it
    401: Verdict.KEY,
    402: Verdict.BALANCE,
    403: Verdict.FORBIDDEN,
    404: Verdict.NOT_FOUND,
    405: Verdict.ELSEWHERE,
    407: Verdict.ELSEWHERE,
    408: Verdict.UNKNOWN,
    409: Verdict.PROCESSING,
    422: Verdict.MISMATCH,
    425: Verdict.UNKNOWN,
    429: Verdict.RATE,
    501: Verdict.ELSEWHERE,
    503: Verdict.BUSY,
}
"""By HiAPI's table of errors (read in November 2026), which says of 402, 429 and 503 alone that
nothing was created; 408, 425 and the other 5xx are ours: a task may exist after them.
"""


def voice_of(status: int, body: Any) -> Voice:
    """Who has made an answer that is an error by its status or by its content."""
    if not isinstance(body, Mapping):
        return Voice.OTHER
    error = body.get("error")
    if isinstance(error, Mapping) and error:
        return Voice.HIAPI if storable_text(error.get("type")) in _TYPES else Voice.SOME_API
    if not storable_text(body.get("code")) and not storable_text(body.get("error_code")):
        return Voice.OTHER
    # What comes as a success has passed every gateway, and was written by who was asked.
    whole = {"data", "error_code"} & body.keys() or 200 <= status < 300
    told = isinstance(body.get("message"), str) and storable_text(body.get("code"))
    return Voice.HIAPI if whole and told else Voice.SOME_API


_TYPES: Final = frozenset({"hiapi_error", "invalid_request_error"})
"""``error.type`` in the two envelopes that HiAPI's blog shows (read in November 2026)."""


def meaning_of(status: int, body: Any, *, page: bool = False) -> tuple[Verdict, Voice]:
    """What an answer means and who has made it; ``body`` is its JSON, None where there is none.

    HiAPI's own envelope outweighs the HTTP status of an error, and so does the code of a success
    that brings nothing. ``page``: it is a web page.
    """
    voice, verdict, told = voice_of(status, body), verdict_of(status), _status_in(body)
    if verdict is Verdict.OK:
        outweighed = told is not None and not brings(body)
    else:
        outweighed = told is not None and voice is Voice.HIAPI
    if outweighed and told is not None:
        return verdict_of(told), voice
    lost = verdict is Verdict.NOT_FOUND and voice is Voice.OTHER
    return (Verdict.ELSEWHERE if lost or (page and verdict is Verdict.OK) else verdict), voice


def is_page(content: bytes) -> bool:
    """Whether a body is a web page (or XML), as far as its first characters tell."""
    return content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def brings(body: Any) -> bool:
    """Whether an answer holds more than a code and words."""
    data = body.get("data") if isinstance(body, Mapping) else body
    return bool(data)


def _status_in(body: Any) -> int | None:
    """The HTTP status that an error's own code names, if it does."""
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    holders = (error, body) if isinstance(error, Mapping) else (body,)
    codes = [
        storable_text(holder.get(name)) for holder in holders for name in ("code", "error_code")
    ]
    return next((told for code in codes if (told := _status_named(code)) is not None), None)


def _status_named(code: str) -> int | None:
    if len(code) == 3 and code.isascii() and code.isdigit() and code[0] in "45":
        return int(code)
    return _NAMED_CODES.get(code.lower())


_NAMED_CODES: Final = {
    "invalid_request": 400,
    "invalid_parameter": 400,
    "model_not_found": 404,
    "idempotency_key_processing": 409,
    "idempotency_key_mismatch": 422,
    "rate_limit_exceeded": 429,
}
"""Codes whose HTTP status HiAPI's documentation names (read in November 2026)."""


def parse_json(content: bytes) -> Any:
    """The JSON in a body, or None where there is none."""
    try:
        return json.loads(_as_text(content))
    except (ValueError, RecursionError):
        return None


def parse_json_exactly(content: bytes) -> Any:
    """As `parse_json`, with fractions as ``Decimal``: money is never a float."""
    try:
        return json.loads(_as_text(content), parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):  # an exponent beyond any Decimal
        return None


def _as_text(content: bytes) -> str:
    """JSON's bytes as text: a letter that is broken, as in a prompt cut short, costs no more."""
    return content.decode(json.detect_encoding(content), "replace").removeprefix("\ufeff")


def error_of(body: Any, status: int) -> TaskError:
    """Code and words of an error answer, from any of HiAPI's envelopes or none."""
    if not isinstance(body, Mapping):
        return TaskError("", f"HTTP {status}")
    inner = body.get("error")
    if isinstance(inner, Mapping):
        return TaskError(storable_text(inner.get("code")), _with_request_id(inner, status))
    code = storable_text(body.get("error_code")) or storable_text(body.get("code"))
    words = (storable_text(body.get(name)) for name in ("message", "msg", "detail", "error"))
    return TaskError(code, next(filter(None, words), f"HTTP {status}"))


def _with_request_id(error: Mapping[str, Any], status: int) -> str:
    words = (
        storable_text(error.get("message")) or storable_text(error.get("code")) or f"HTTP {status}"
    )
    request_id = storable_text(error.get("request_id"))
    return f"{words} (request {request_id})" if request_id else words


def storable_text(value: Any) -> str:
    """A text or a number as text that can be stored; empty for anything else."""
    if isinstance(value, str):
        # JSON can spell half a surrogate pair, which no file and no database takes.
        return value.encode("utf-8", "replace").decode("utf-8")
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


_MILLISECONDS_FROM: Final = 1e11
"""A number this large counts milliseconds: as seconds it would lie beyond the year 5000."""
_END_OF_TIME: Final = 253_402_300_800.0
"""The year 10000; what lies beyond is no time that anything could be done with."""
USER_AGENT: Final = "seedance-batch"
"""What servers are told of who asks."""
LONGEST_WAIT: Final = 3600.0
"""Seconds; a server that wishes for more is asked again after these."""


def unix_time(value: Any) -> float | None:
    """Unix seconds of a time given as seconds, milliseconds or ISO text; None for no time and 0."""
    if isinstance(value, str):
        return _moment_of_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value < _END_OF_TIME * 1000:
        return None
    return value / 1000 if value >= _MILLISECONDS_FROM else float(value)


def _moment_of_text(text: str) -> float | None:
    try:
        return unix_time(float(text))
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return unix_time((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def retry_after(headers: Mapping[str, str], now: float, body: Any = None) -> float | None:
    """Seconds to wait, from ``Retry-After`` as seconds or as an HTTP date, else from the body.

    None if not said. ``now`` is the server's time where it is known: a date is its word.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        return _until(min(float(value), _END_OF_TIME * 1000), now)
    if (seconds := _span_of(value)) is not None:
        return seconds
    at = http_date(value)
    return _until(_wait_in(body), now) if at is None else max(0.0, at - now)


def _until(seconds: float | None, now: float) -> float | None:
    """A wait in seconds; so many that they count from 1970 are the moment of its end."""
    at = unix_time(seconds)
    return seconds if at is None or abs(at - now) > _NEAR else max(0.0, at - now)


_NEAR: Final = 366 * 86_400.0
"""Seconds: a wait of as many years as have passed since 1970 is none that anybody asks for."""


def at_most(seconds: float | None) -> float | None:
    """A wished wait as it is obeyed: whoever waited an hour may ask again."""
    return None if seconds is None else min(seconds, LONGEST_WAIT)


def _wait_in(body: Any, depth: int = 3) -> float | None:
    """A wait in an error's content: under a name that says so, or in its words with a unit."""
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, Mapping) or not depth:
        return None
    for name, value in body.items():
        unit = _WAIT_NAMES.get(re.sub(r"[^a-z]", "", name.lower()))
        if unit is not None and (seconds := _number(value, unit)) is not None:
            return seconds
    inner = (_wait_in(body.get(n), depth - 1) for n in ("error", "errors", "data", "details"))
    found = next((seconds for seconds in inner if seconds is not None), None)
    return _wait_in_words(body) if found is None else found


_WAIT_NAMES: Final = {
    "retryafter": 1.0,
    "retryafterseconds": 1.0,
    "retryaftersec": 1.0,
    "retryafters": 1.0,
    "retryafterms": 0.001,
    "retryaftermilliseconds": 0.001,
    "retryin": 1.0,
    "retryinseconds": 1.0,
    "waitseconds": 1.0,
}
"""Names of a wait, in small letters without what joins their words, and their unit in seconds."""
_UNIT: Final = r"(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)"
_SPAN: Final = rf"\d{{1,9}}(?:\.\d{{1,9}})?\s?{_UNIT}(?![a-z])"


def _number(value: Any, unit: float) -> float | None:
    if isinstance(value, str):
        spelled = _span_of(value)
        return _number_of_text(value, unit) if spelled is None else spelled
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value * unit if is_number and 0 <= value < _END_OF_TIME else None


def _number_of_text(text: str, unit: float) -> float | None:
    found = re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", text.strip(), re.ASCII)
    return float(found.group()) * unit if found else None


def _wait_in_words(body: Mapping[str, Any]) -> float | None:
    """``try again in 12 s``, ``Expected available in 2 minutes``: with a unit, or not believed."""
    words = " ".join(
        storable_text(body.get(name)) for name in ("message", "msg", "detail", "error")
    )
    asked = rf"\b(?:again|retry|available|wait)\b[^\d.]{{0,20}}((?:{_SPAN}\s*)+)"
    found = re.search(asked, words[:2_000], re.IGNORECASE | re.ASCII)
    return _span_of(found.group(1)) if found else None


def _span_of(text: str) -> float | None:
    """Seconds of a span with units: ``12s``, ``1 m 30 s``, ``250 ms``; None for anything else."""
    parts = re.findall(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]+)", text.lower()[:80], re.ASCII)
    rest = re.sub(r"\d{1,9}(?:\.\d{1,9})?\s*[a-z]+", "", text.lower()[:80], flags=re.ASCII)
    if not parts or rest.strip():
        return None
    units = [_unit(name) for _, name in parts]
    if None in units:
        return None
    return sum(float(n) * (unit or 0.0) for (n, _), unit in zip(parts, units, strict=True))


def _unit(name: str) -> float | None:
    if not re.fullmatch(_UNIT, name):
        return None
    if name.startswith(("ms", "milli")):
        return 0.001
    return {"s": 1.0, "m": 60.0, "h": 3600.0}[name[0]]


def http_date(value: str | None) -> float | None:
    """Unix seconds of an HTTP date, or None; without a time zone it is UTC."""
    try:
        found = parsedate_to_datetime(value or "")
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def rate_of(headers: Mapping[str, str], now: float = 0.0) -> RateInfo | None:
    """``X-RateLimit-*`` of an answer, or None where it has none; ``now`` as in `retry_after`."""
    limit, remaining = (_count(_limit(headers, name)) for name in ("limit", "remaining"))
    reset = _reset((_limit(headers, "reset") or "").strip(), now)
    if limit is None and remaining is None and reset is None:
        return None
    return RateInfo(limit, remaining, reset)


def _limit(headers: Mapping[str, str], name: str) -> str | None:
    spellings = (f"x-ratelimit-{name}", f"x-rate-limit-{name}", f"ratelimit-{name}")
    return next((headers[spelling] for spelling in spellings if spelling in headers), None)


def _reset(value: str, now: float) -> float | None:
    """When the window resets; what is below a day counts from now, and is no time in 1970."""
    seconds = _span_of(value) if _number_of_text(value, 1.0) is None else float(value)
    if seconds is not None and seconds < _DAY:
        return now + seconds
    return unix_time(value)


_DAY: Final = 86_400.0


def _count(value: str | None) -> int | None:
    text = (value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
