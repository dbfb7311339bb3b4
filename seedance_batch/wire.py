"""HiAPI's JSON and headers, read tolerantly into closed values; pure.

Three error envelopes, aliases of statuses, times in seconds or ISO text, bodies that are no JSON:
whatever an answer looks like, something definite comes out of here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from seedance_batch.model import OutputFile, OutputType, Task, TaskError, TaskStatus


class Verdict(StrEnum):
    """What an answer means for the request that it answers."""

    OK = "ok"
    RATE = "rate"
    """429: refused before processing."""
    BUSY = "busy"
    """503: refused before processing."""
    BALANCE = "balance"
    """402: refused before processing, until somebody pays in."""
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
    UNKNOWN = "unknown"
    """Anything that leaves open whether the request was carried out."""


ACCOUNT: Final = frozenset({Verdict.BALANCE, Verdict.KEY, Verdict.FORBIDDEN})
"""The account, not the row: no new submits after one of these."""
REFUSED_BEFORE_PROCESSING: Final = frozenset({Verdict.RATE, Verdict.BUSY, *ACCOUNT})
"""The positive list: after one of these, this send certainly made no task."""


def verdict_of(status: int) -> Verdict:
    """What an HTTP status means; a status not listed leaves the outcome unknown."""
    known = _VERDICTS.get(status)
    if known is not None:
        return known
    return Verdict.INVALID if 400 <= status < 500 else Verdict.UNKNOWN


_VERDICTS: Final = {
    200: Verdict.OK,
    401: Verdict.KEY,
    402: Verdict.BALANCE,
    403: Verdict.FORBIDDEN,
    404: Verdict.NOT_FOUND,
    408: Verdict.UNKNOWN,
    409: Verdict.PROCESSING,
    422: Verdict.MISMATCH,
    425: Verdict.UNKNOWN,
    429: Verdict.RATE,
    503: Verdict.BUSY,
}
"""By HiAPI's table of errors (read in November 2026), which says of 402, 429 and 503 alone that
nothing was created; 408, 425 and the other 5xx are ours: a task may exist after them.
"""


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


def parse_json(content: bytes) -> Any:
    """The JSON in a body, or None where there is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def parse_json_exactly(content: bytes) -> Any:
    """As `parse_json`, with fractions as ``Decimal``: money is never a float."""
    try:
        return json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):  # an exponent beyond any Decimal
        return None


def error_of(body: Any, status: int) -> TaskError:
    """Code and words of an error answer, from any of HiAPI's envelopes or none."""
    if not isinstance(body, Mapping):
        return TaskError("", f"HTTP {status}")
    inner = body.get("error")
    if isinstance(inner, Mapping):
        return TaskError(_text(inner.get("code")), _with_request_id(inner, status))
    code = _text(body.get("error_code")) or _text(body.get("code"))
    return TaskError(code, _text(body.get("message")) or f"HTTP {status}")


def _with_request_id(error: Mapping[str, Any], status: int) -> str:
    words = _text(error.get("message")) or _text(error.get("code")) or f"HTTP {status}"
    request_id = _text(error.get("request_id"))
    return f"{words} (request {request_id})" if request_id else words


def task_id_of(body: Any) -> str | None:
    """``data.taskId`` of a create's answer (or of a 409's body), where there is one."""
    for holder in (_inside(body, "data"), _inside(body, "error"), body):
        if isinstance(holder, Mapping):
            found = _task_id(holder.get("taskId")) or _task_id(holder.get("task_id"))
            if found:
                return found
    return None


def _task_id(value: Any) -> str | None:
    """A task id that can be stored, printed and asked for; None for anything else."""
    fits = isinstance(value, str) and 0 < len(value) <= 255
    return str(value) if fits and value.isprintable() and not set(value) & {" ", "/"} else None


def task_of(value: Any) -> Task | None:
    """A task object, bare as in a callback; None where it names no task."""
    if not isinstance(value, Mapping):
        return None
    task_id = _task_id(value.get("taskId"))
    if task_id is None:
        return None
    raw = _text(value.get("status"))
    return Task(
        task_id=task_id,
        status=_STATUSES.get(raw.lower(), TaskStatus.RUNNING),
        model=_text(value.get("model")),
        created=moment(value.get("created")) or 0.0,
        completed=moment(value.get("completed")) or 0.0,
        output=_output(value.get("output")),
        error=_task_error(value.get("error")),
        raw_status=raw,
    )


def knows_status(raw: str) -> bool:
    """Whether a status name is one that HiAPI has published somewhere."""
    return raw.lower() in _STATUSES


_STATUSES: Final = {
    "queued": TaskStatus.RUNNING,
    "pending": TaskStatus.RUNNING,
    "handling": TaskStatus.RUNNING,
    "archiving": TaskStatus.RUNNING,
    "success": TaskStatus.SUCCESS,
    "succeeded": TaskStatus.SUCCESS,
    "completed": TaskStatus.SUCCESS,
    "fail": TaskStatus.FAIL,
    "failed": TaskStatus.FAIL,
    "error": TaskStatus.FAIL,
    "timeout": TaskStatus.FAIL,
    "cancelled": TaskStatus.FAIL,
    "canceled": TaskStatus.FAIL,
}
"""``queued``, ``handling``, ``archiving``, ``success`` and ``fail`` stand in HiAPI's documentation,
the others in its blog and newer examples (all read in November 2026).
"""


def page_of(body: Any) -> Page | None:
    """A page of the task list, from its envelope; entries that are no tasks are skipped."""
    holder = _inside(body, "data")
    if not isinstance(holder, Mapping) or not isinstance(holder.get("tasks"), list):
        return None
    found = tuple(task for task in map(task_of, holder["tasks"]) if task is not None)
    return Page(
        page=_number(holder.get("page"), 1),
        size=_number(holder.get("size"), len(holder["tasks"])),
        total=_number(holder.get("total"), len(found)),
        tasks=found,
    )


def detail_of(body: Any) -> Task | None:
    """The task in a detail's envelope."""
    return task_of(_inside(body, "data"))


def _number(value: Any, otherwise: int) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return int(value) if is_count else otherwise


def _inside(body: Any, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None


def _output(value: Any) -> tuple[OutputFile, ...]:
    entries = value if isinstance(value, list) else []
    return tuple(file for file in map(_output_file, entries) if file is not None)


def _output_file(value: Any) -> OutputFile | None:
    if not isinstance(value, Mapping):
        return None
    url = value.get("url")
    if not isinstance(url, str) or not url:
        return None
    return OutputFile(
        url=_text(url),
        type=_OUTPUT_TYPES.get(_text(value.get("type")).lower(), OutputType.OTHER),
        expires_at=moment(value.get("expireAt")),
    )


_OUTPUT_TYPES: Final = {"video": OutputType.VIDEO, "last_frame": OutputType.LAST_FRAME}


def _task_error(value: Any) -> TaskError | None:
    if isinstance(value, str) and value:
        return TaskError("", _text(value))
    if not isinstance(value, Mapping):
        return None
    return TaskError(_text(value.get("code")), _text(value.get("message")))


def _text(value: Any) -> str:
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
_LONGEST_WAIT: Final = 3600.0
"""Seconds; a server that wishes for more is asked again after these."""


def moment(value: Any) -> float | None:
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
        return moment(float(text))
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from ``Retry-After`` as seconds or as an HTTP date; None if not said.

    At most an hour: whoever waited that long may ask again.
    ``now`` is the server's time where it is known: a date is the server's word.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.replace(".", "", 1).isdigit():
        return min(float(value), _LONGEST_WAIT)
    at = http_date(value)
    return None if at is None else min(max(0.0, at - now), _LONGEST_WAIT)


def http_date(value: str | None) -> float | None:
    """Unix seconds of an HTTP date, or None; without a time zone it is UTC."""
    try:
        found = parsedate_to_datetime(value or "")
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def rate_of(headers: Mapping[str, str]) -> RateInfo | None:
    """``X-RateLimit-*`` of an answer, or None where it has none."""
    limit, remaining = (_count(headers.get(f"x-ratelimit-{n}")) for n in ("limit", "remaining"))
    reset = moment(headers.get("x-ratelimit-reset"))
    if limit is None and remaining is None and reset is None:
        return None
    return RateInfo(limit, remaining, reset)


def _count(value: str | None) -> int | None:
    text = (value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
