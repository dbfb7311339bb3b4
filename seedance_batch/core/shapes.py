"""Tasks, pages and clips in whatever shape they come; pure.

HiAPI documents one shape of each. Its newer clients, its routes and other sellers of the same
model know others, and a paid clip must not be lost for a name: what can be understood is, and
what cannot is kept as it came (`Task.raw`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from seedance_batch.core.hiapi import (
    OutputFile,
    OutputType,
    Page,
    Task,
    TaskError,
    TaskStatus,
    parse_json,
    storable_text,
    unix_time,
)

LONGEST_RAW: Final = 2_000
"""Characters that are kept of an answer which was not understood."""


def raw_of(body: Any) -> str:
    """An answer as it came, cut where it is long; for people who rescue by hand."""
    try:
        words = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""
    return storable_text(words)[:LONGEST_RAW]


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────

_TASK_NAMES: Final = ("taskId", "task_id", "taskID", "taskid", "taskIds", "task_ids")
_OTHER_NAMES: Final = ("id", "jobId", "job_id", "generationId", "generation_id")
_HOLDERS: Final = ("data", "task", "result", "response", "payload")
"""Where an answer may wrap what it is about."""
_DEPTH: Final = 4


def task_id_of(body: Any, *, surely: bool = False) -> str | None:
    """The task id in a create's answer (or in a 409's), where there is one that can be asked for.

    A name that says *task* is believed wherever it stands; a bare ``id`` in what says that it went
    well only, and not where it must be ``surely`` one: errors have ids of their own.
    """
    inmost_first = list(_mappings(body))[::-1]
    wrong = _mapping(_inside(body, "error"))
    for kind in (str, int):
        for holder in [*inmost_first, *([wrong] if wrong else [])]:
            if (found := _named_id(holder, _TASK_NAMES, kind)) is not None:
                return found
    if surely or not _went_well(body):
        return None
    for holder in inmost_first:
        if (found := _named_id(holder, _OTHER_NAMES, str, int)) is not None:
            return found
    return _bare_id(body) or _bare_id(_inside(body, "data"))


def _went_well(body: Any) -> bool:
    if not isinstance(body, Mapping):
        return True
    code = storable_text(body.get("code")).lower()
    return not body.get("error") and body.get("success") is not False and code in _GOOD_CODES


_GOOD_CODES: Final = frozenset({"", "0", "200", "201", "202", "ok", "success"})


def _mappings(value: Any, depth: int = _DEPTH) -> Iterator[Mapping[str, Any]]:
    """The answer and what it wraps, outmost first; a list of one stands for its entry."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping) and depth:
        yield value
        for name in _HOLDERS:
            yield from _mappings(value.get(name), depth - 1)


def _named_id(holder: Mapping[str, Any], names: tuple[str, ...], *kinds: type) -> str | None:
    for name in names:
        value = holder.get(name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, kinds) and (found := _task_id(value)) is not None:
            return found
    return None


def _task_id(value: Any) -> str | None:
    """A task id that can be stored, printed and asked for; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**40:
        return str(value)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID:
        return None
    is_name = value.isprintable() and " " not in value and "://" not in value
    head, slash, _ = value.partition("/")
    return value if is_name and not (slash and "." in head) else None  # that is an address


_LONGEST_ID: Final = 1_000
"""Characters; other services' ids are paths, or texts that hold a whole order."""


def _bare_id(value: Any) -> str | None:
    """A text that stands alone, where it has the form of an id: letters, digits and more."""
    is_id = isinstance(value, str) and re.fullmatch(r"(?=[^\d]*\d)[\w.:-]{8,255}", value, re.ASCII)
    return value if is_id else None


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────


def task_of(value: Any, *, base: str = "", asked: str | None = None) -> Task | None:
    """A task object, bare as in a callback; None where it names no task.

    ``base`` is the API's address, against which relative URLs are resolved; ``asked`` is the id
    that was asked for, where one was.
    """
    if not isinstance(value, Mapping):
        return None
    task_id = _id_of_task(value, asked)
    if task_id is None:
        return None
    raw = next(
        (storable_text(value[name]) for name in _STATUS_NAMES if value.get(name) is not None), ""
    )
    output = _output(value, base)
    completed, order = _time(value, _COMPLETED), _mapping(value.get("input")) or {}
    status = _status(raw, output, _error(value, plain=False), completed)
    task = Task(
        task_id=task_id,
        status=status,
        model=storable_text(value.get("model")),
        created=_time(value, _CREATED),
        completed=completed,
        output=output,
        error=_error(value, plain=status is TaskStatus.FAIL),
        raw_status=raw,
        duration=_seconds(order.get("duration")),
        resolution=storable_text(order.get("resolution")),
    )
    return task if _understood(task) else replace(task, raw=raw_of(dict(value)))


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < 1e6 else None


_STATUS_NAMES: Final = ("status", "state", "taskStatus", "task_status")
_CREATED: Final = ("created", "createdAt", "created_at", "createTime", "create_time")
_COMPLETED: Final = (
    "completed", "completedAt", "completed_at", "completeTime", "complete_time", "finished",
    "finishedAt", "finished_at",
)  # fmt: skip


def _id_of_task(value: Mapping[str, Any], asked: str | None) -> str | None:
    named = [_task_id(value.get(name)) for name in (*_TASK_NAMES, *_OTHER_NAMES)]
    found = [task_id for task_id in named if task_id is not None]
    if asked is not None and not found and _is_a_task(value):
        return asked
    if asked is not None and any(_is_spelling(task_id, asked) for task_id in found):
        return asked
    return found[0] if found else None


def _is_spelling(task_id: str, asked: str) -> bool:
    """Whether an id is the one that was asked for, in other capitals or with a prefix."""
    return re.split(r"[:@]", task_id.casefold())[-1] == re.split(r"[:@]", asked.casefold())[-1]


def _is_a_task(value: Mapping[str, Any]) -> bool:
    """Whether an object without an id is a task all the same: envelopes have a status as well."""
    return any(name in value for name in ("output", "outputs", "model", *_CREATED, *_COMPLETED))


def _time(value: Mapping[str, Any], names: tuple[str, ...]) -> float:
    return next((at for name in names if (at := unix_time(value.get(name)))), 0.0)


def _status(
    raw: str, output: tuple[OutputFile, ...], error: TaskError | None, completed: float
) -> TaskStatus:
    """A name that is known, else what the rest of the task proves; still running otherwise."""
    known = _STATUSES.get(raw.lower())
    if known is not None:
        return known
    if completed > 0 or _is_over(raw):
        if any(file.type is OutputType.VIDEO for file in output):
            return TaskStatus.SUCCESS
        if error is not None:
            return TaskStatus.FAIL
    return TaskStatus.RUNNING


def knows_status(raw: str) -> bool:
    """Whether a status name is one that HiAPI has published somewhere."""
    return raw.lower() in _STATUSES


_STATUSES: Final = {
    **dict.fromkeys(("queued", "pending", "handling", "archiving"), TaskStatus.RUNNING),
    **dict.fromkeys(("success", "succeeded", "completed"), TaskStatus.SUCCESS),
    **dict.fromkeys(
        ("fail", "failed", "error", "timeout", "cancelled", "canceled", "expired"), TaskStatus.FAIL
    ),
}
"""``queued``, ``handling``, ``archiving``, ``success`` and ``fail`` stand in HiAPI's documentation,
``expired`` in the upstream's, the others in HiAPI's blog and newer examples (all read in November
2026).
"""
_OVER: Final = frozenset(
    "done finished finish complete completed ok ready end ended succeed succeeds success succeeded "
    "successful fail failed failure failures error errored timeout canceled cancelled expired "
    "rejected aborted terminated".split()
)
"""Last words of names that HiAPI has not published and that can only mean that a task is over, as
in ``TASK_STATUS_SUCCEED``: believed where its output or its error says the same."""


def _is_over(raw: str) -> bool:
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", raw).lower())
    return bool(words) and words[-1] in _OVER and not _NOT_YET & {*words}


_NOT_YET: Final = frozenset(
    "not non no in un pre preview previews partial partially draft first step stage queue".split()
)
"""Words beside the last that say that something else is over: ``PREVIEW_READY``."""


def _understood(task: Task) -> bool:
    if task.status is TaskStatus.SUCCESS:
        return task.first(OutputType.VIDEO) is not None
    if task.status is TaskStatus.FAIL:
        return task.error is not None
    is_over = task.completed > 0 or task.output or task.error or _is_over(task.raw_status)
    return knows_status(task.raw_status) or not is_over


# ── why a task failed ───────────────────────────────────────────────────────────────────────────

_REASONS: Final = (
    "error", "errors", "failReason", "fail_reason", "failureReason", "failure_reason",
    "errorMessage", "error_message", "errorMsg", "error_msg", "failMsg", "fail_msg", "fail_message",
)  # fmt: skip
_PLAIN_REASONS: Final = ("message", "msg", "reason", "detail")
"""Where a task that failed may say why; elsewhere they are words of no weight."""
_CODES: Final = ("error_code", "errorCode", "failCode", "fail_code", "code", "type")


def _error(value: Mapping[str, Any], *, plain: bool) -> TaskError | None:
    """Code and words of a failure; ``plain`` also believes names that need not be about one."""
    for name in (*_REASONS, *(_PLAIN_REASONS if plain else ())):
        found = _error_in(value.get(name))
        if found is not None:
            code = found.code or _first_text(value, _CODES[:-2])
            return TaskError(code, found.message)
    code = _first_text(value, _CODES[:-2])
    return TaskError(code, "") if code and plain else None


def _error_in(value: Any) -> TaskError | None:
    if isinstance(value, str):
        return TaskError("", storable_text(value)) if value.strip() else None
    if isinstance(value, list):
        return next((found for found in map(_error_in, value) if found is not None), None)
    if not isinstance(value, Mapping) or not value:
        return None
    code = _first_text(value, ("code", *_CODES))
    words = _first_text(value, (*_PLAIN_REASONS, "description", *_REASONS))
    return TaskError(code, words or ("" if code else raw_of(dict(value))[:300]))


def _first_text(value: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((words for name in names if (words := storable_text(value.get(name)))), "")


# ── what a task made ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Found:
    """An address in a task: what its type says, and what the name says under which it stands."""

    url: str
    type: str
    name: str
    expires_at: float | None


_OUTPUT_NAMES: Final = (
    "output", "outputs", "result", "results", "resultJson", "result_json", "response", "content",
    "video", "videos", "video_url", "videoUrl", "video_urls", "videoUrls", "url", "urls", "files",
    "file", "assets", "media", "artifacts", "last_frame_url", "lastFrameUrl", "last_frame",
    "data",
)  # fmt: skip
_URL_NAMES: Final = (
    "url", "video_url", "videoUrl", "uri", "href", "src", "link", "download_url", "downloadUrl",
    "file_url", "fileUrl", "file_uri", "resource", "location", "path",
)  # fmt: skip
_TYPE_NAMES: Final = (
    "type", "kind", "mimeType", "mime_type", "mime", "contentType", "content_type", "media_type",
    "mediaType", "format", "role",
)  # fmt: skip
_EXPIRY_NAMES: Final = (
    "expireAt", "expire_at", "expiresAt", "expires_at", "expires", "expiry", "expireTime",
)  # fmt: skip


def _output(task: Mapping[str, Any], base: str) -> tuple[OutputFile, ...]:
    found = [entry for name in _OUTPUT_NAMES for entry in _found(task.get(name), name, _DEPTH)]
    files = [_resolved(entry, base) for entry in found]
    ranks = [_rank(file) for file in files]
    likely = min((rank for rank in ranks if rank < _Rank.SIDE), default=None)
    clip = None if likely is None or likely == _Rank.CLIP else ranks.index(likely)
    return tuple(
        OutputFile(file.url, _type(rank, place == clip), file.expires_at)
        for place, (file, rank) in enumerate(zip(files, ranks, strict=True))
    )


def _type(rank: int, chosen: bool) -> OutputType:
    if rank == _Rank.CLIP or chosen:
        return OutputType.VIDEO
    return OutputType.LAST_FRAME if rank == _Rank.LAST_FRAME else OutputType.OTHER


def _found(value: Any, name: str, depth: int) -> Iterator[_Found]:
    if isinstance(value, str):
        yield from _found_in_text(value, name, depth)
    elif isinstance(value, list) and depth:
        for entry in value:
            yield from _found(entry, name, depth - 1)
    elif isinstance(value, Mapping) and depth:
        yield from _found_in_entry(value, name, depth)


def _found_in_text(value: str, name: str, depth: int) -> Iterator[_Found]:
    """A text that is an address, or JSON in a text."""
    text = value.strip()
    if text[:1] in {"{", "["} and depth:
        yield from _found(parse_json(text.encode("utf-8", "replace")), name, depth - 1)
    elif _is_address(text):
        yield _Found(text, "", name, None)


def _found_in_entry(entry: Mapping[str, Any], name: str, depth: int) -> Iterator[_Found]:
    """The entry's own address, then what it holds under other names."""
    kind = _first_text(entry, _TYPE_NAMES)
    own = next((n for n in _URL_NAMES if isinstance(entry.get(n), str) and entry[n].strip()), None)
    if own is not None:
        expires_at = next((at for n in _EXPIRY_NAMES if (at := unix_time(entry.get(n)))), None)
        yield _Found(str(entry[own]).strip(), kind, name, expires_at)
    for inner, value in entry.items():
        if inner != own and inner not in _TYPE_NAMES and isinstance(inner, str):
            yield from _found(value, inner, depth - 1)


def _is_address(text: str) -> bool:
    if re.match(r"(?:https?:)?//[^\s/]", text, re.IGNORECASE):
        return True
    return bool(re.fullmatch(r"/?[^\s:]+(?:/\S+)*\.\w{2,5}(?:\?\S*)?", text)) and "/" in text


def _resolved(entry: _Found, base: str) -> _Found:
    url = "%20".join(storable_text(entry.url).split())
    try:
        return replace(entry, url=urljoin(f"{base}/", url) if base else url)
    except ValueError:
        return replace(entry, url=url)


class _Rank:
    """How likely an address is the clip; the lowest is taken."""

    CLIP = 0
    """It says so in HiAPI's own word."""
    LIKELY = 1
    POSSIBLE = 2
    SIDE = 3
    """A picture, a frame, a sound, or nothing that could be fetched."""
    LAST_FRAME = 4


_PICTURES: Final = "png jpg jpeg webp gif bmp avif heic svg".split()
_SOUNDS: Final = "mp3 wav aac m4a ogg flac opus".split()
_TEXTS: Final = "json txt vtt srt html log".split()
_CLIPS: Final = "mp4 mov webm mkv m4v avi mpeg mpg".split()
_SIDE_WORDS: Final = (
    "frame", "image", "thumb", "cover", "poster", "picture", "photo", "audio", "sound", "music",
    "subtitle", "caption", "callback", "webhook", "input", "reference",
)  # fmt: skip


def _rank(file: _Found) -> int:
    """By its type, else by the name under which it stands and by its path."""
    words = re.sub(r"[^a-z0-9]", "", (file.type or file.name).lower())
    ending = _ending(file.url)
    if "lastframe" in words:
        return _Rank.LAST_FRAME
    if file.type.lower() == "video" and ending is not None:
        return _Rank.CLIP
    side = (*_SIDE_WORDS, *_PICTURES, *_SOUNDS, *_TEXTS) if file.type else _SIDE_WORDS
    if ending is None or any(word in words for word in side):
        return _Rank.SIDE
    says_video = any(word in words for word in ("video", *_CLIPS))
    if file.type and says_video:
        return _Rank.LIKELY
    if ending in {*_PICTURES, *_SOUNDS, *_TEXTS}:
        return _Rank.SIDE
    return _Rank.LIKELY if says_video or ending in _CLIPS else _Rank.POSSIBLE


def _ending(url: str) -> str | None:
    """The ending of an http(s) URL's path, in small letters; None for any other URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return None
    return parts.path.rpartition("/")[2].rpartition(".")[2].lower()


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


def detail_of(body: Any, *, asked: str | None = None, base: str = "") -> Task | None:
    """The task in a detail's answer: in its envelope, deeper in it, or bare."""
    found = [
        task
        for holder in list(_mappings(body))[::-1]
        if (task := task_of(holder, base=base, asked=asked)) is not None
    ]
    wanted = [task for task in found if asked is None or task.task_id == asked]
    return max(wanted or found, key=_worth, default=None)


def _worth(task: Task) -> int:
    """How much a holder says of the task: an envelope's own id and status say little."""
    return bool(task.raw_status) + 2 * bool(task.output or task.error) + bool(task.created)


_LISTS: Final = ("tasks", "items", "list", "records", "results", "rows", "data")


def page_of(body: Any, *, page: int = 1, size: int | None = None, base: str = "") -> Page | None:
    """A page of the task list, from its envelope or bare; entries that are no tasks are skipped.

    ``page`` and ``size`` are what was asked for: what counts where the answer does not say.
    """
    holder, entries = _listed(body)
    if entries is None:
        return None
    tasks = (task_of(entry, base=base) or task_of(_inside(entry, "task")) for entry in entries)
    found = tuple(task for task in tasks if task is not None)
    told = _count(holder, ("total", "total_count", "totalCount", "count"), -1)
    number = _count(holder, ("page", "pageNum", "page_num", "current"), page)
    real = _count(holder, ("size", "pageSize", "page_size", "limit", "per_page"), len(entries))
    return Page(number, real, told if told >= 0 else _total(len(found), page, size), found)


def _listed(body: Any) -> tuple[Mapping[str, Any], list[Any] | None]:
    """The list of tasks in an answer, and what stands beside it."""
    if isinstance(body, list):
        return {}, body
    data = _inside(body, "data")
    for holder in (data, body):
        if isinstance(holder, list):
            return _mapping(body) or {}, holder
        for name in _LISTS:
            entries = _inside(holder, name)
            if isinstance(entries, list) and (holder is data or name != "data"):
                return holder, entries
    empty = _mapping(data) or {}
    if any(name in empty and empty[name] is None for name in _LISTS):  # so some write no tasks
        return empty, []
    return {}, None


def _total(found: int, page: int, size: int | None) -> int:
    """How many tasks there are at least: one more than were seen, where a page was full."""
    if size is None:
        return found
    return page * size + 1 if found >= size else (page - 1) * size + found


def _count(holder: Mapping[str, Any], names: tuple[str, ...], otherwise: int) -> int:
    for name in names:
        value = holder.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return int(value)
    return otherwise


def _inside(body: Any, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None
