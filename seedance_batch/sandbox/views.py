"""How a stored task looks from outside at a moment, odd shapes included, and the clip it gets."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from seedance_batch.sandbox.answers import Request, draw
from seedance_batch.sandbox.config import (
    ExpireAt,
    ListedFault,
    OutputFault,
    SandboxConfig,
    Shape,
    StatusFault,
    TaskState,
)
from seedance_batch.sandbox.ledger import StoredTask

VIDEO: Final = "video.mp4"
LAST_FRAME: Final = "last_frame.png"
THUMBNAIL: Final = "thumbnail.jpg"

_METADATA: Final = "http://169.254.169.254/latest/meta-data/video.mp4"
_ALIASES: Final = {
    TaskState.QUEUED: "pending",
    TaskState.HANDLING: "pending",
    TaskState.ARCHIVING: "pending",
    TaskState.SUCCESS: "succeeded",
    TaskState.FAIL: "failed",
}


_ENDINGS: Final[dict[StatusFault, str | int | None]] = {
    StatusFault.DONE: "done",
    StatusFault.NUMBER: 2,
    StatusFault.NONE: None,
}


def told_id(task_id: str) -> str | int:
    """A task id as it is told: one of digits only is a number."""
    return int(task_id) if task_id.isdigit() else task_id


def output_fault(config: SandboxConfig, task: StoredTask) -> OutputFault | None:
    """What is odd about this task's output, for good."""
    faults = config.faults
    return draw(faults, config.seed, "outputs", faults.outputs, task.content, task.nth)


@dataclass(frozen=True, slots=True)
class View:
    """One look at tasks: the configuration, the links and the time of the look."""

    config: SandboxConfig
    links: Links
    now: float

    def status(self, task: StoredTask) -> TaskState:
        """The documented status."""
        return task.times.status(self.now, failed=task.error_code is not None)

    def task(self, task: StoredTask) -> dict[str, Any]:
        """HiAPI's task object."""
        status = self.status(task)
        final = status in (TaskState.SUCCESS, TaskState.FAIL)
        seen: dict[str, Any] = {
            "taskId": told_id(task.task_id),
            "model": self._model(task),
            "status": self._spelled(task, status),
            "created": int(task.times.created),
            "completed": int(task.times.final) if final else 0,
        }
        if self.config.faults.repeat_input and task.input:
            seen["input"] = task.input
        if task.storage:
            seen["storage"] = task.storage
        if task.route:
            seen["route"] = task.route
        if status is TaskState.SUCCESS:
            seen |= reshaped(output_fault(self.config, task), self._output(task))
        if status is TaskState.FAIL:
            seen |= self._reason(task)
        return seen

    def _reason(self, task: StoredTask) -> dict[str, Any]:
        """Why a task failed, where the configuration wants it told."""
        form, words = self.config.faults.reasons_as, f"{task.error_code}: {task.error_message}"
        error = {"code": task.error_code, "message": task.error_message}
        if form in ("error", "list"):
            return {"error": error if form == "error" else [error]}
        return {"error" if form == "text" else form: words}

    def _model(self, task: StoredTask) -> str:
        name = self.config.faults.model_name
        shown = task.model if name is None else name.replace("{}", task.model)
        return f"{shown}@{task.route}" if task.route else shown

    def listed(self, task: StoredTask) -> dict[str, Any]:
        """The task object without its output and error."""
        whole = self.task(task)
        return {name: whole[name] for name in whole if name not in ("output", "error")}

    def listed_wrongly(self, task: StoredTask, odd: ListedFault) -> dict[str, Any]:
        """The task object as a list page has it that is wrong about the task."""
        seen = {name: value for name, value in self.task(task).items() if name != "output"}
        if odd is ListedFault.STALE:
            return {**seen, "status": TaskState.HANDLING.value, "completed": 0}
        error = {"code": "TASK_FAILED", "message": "the list says so"}
        return {**seen, "status": TaskState.FAIL.value, "completed": int(self.now), "error": error}

    def _spelled(self, task: StoredTask, status: TaskState) -> str | int | None:
        faults = self.config.faults
        odd = draw(faults, self.config.seed, "statuses", faults.statuses, task.content, task.nth)
        if odd is StatusFault.ALIAS:
            return _ALIASES[status]
        if odd is not None and status in (TaskState.SUCCESS, TaskState.FAIL) and odd in _ENDINGS:
            return _ENDINGS[odd]
        if odd is StatusFault.UNKNOWN and status is TaskState.HANDLING:
            return "reviewing"
        return status.value

    def _output(self, task: StoredTask) -> list[Any]:
        odd = output_fault(self.config, task)
        video = self._entry(task, VIDEO, "video", odd)
        others = [self._entry(task, THUMBNAIL, "thumbnail", odd)]
        if task.wants_last_frame:
            others.append(self._entry(task, LAST_FRAME, "last_frame", odd))
        if odd is OutputFault.NO_VIDEO:
            return others
        late = task.times.final + self.config.faults.late_seconds
        if odd is OutputFault.LATE_VIDEO and self.now < late:
            return []
        if odd is not None and odd in CLIP_FIELDS:
            return [CLIP_FIELDS[odd](video), *others]
        if odd is OutputFault.VIDEO_LAST:
            return [*others, video]
        if odd is OutputFault.MALFORMED:
            return [None, "video", {"type": "video"}, {"url": 7, "type": "video"}, video, *others]
        return [video, *others]

    def _entry(
        self, task: StoredTask, name: str, kind: str, odd: OutputFault | None
    ) -> dict[str, Any]:
        start = self.now if self.config.expire_at is ExpireAt.FRESH else task.times.final
        expires = int(start + self.config.compressed(self.config.url_ttl))
        forbidden = odd is OutputFault.FORBIDDEN_URL and name == VIDEO
        entry: dict[str, Any] = {
            "url": _METADATA if forbidden else self.links.url(task.task_id, name, expires),
            "type": kind,
            "expireAt": _told(expires, odd, self.now),
        }
        if odd is OutputFault.EXPIRE_MISSING:
            del entry["expireAt"]
        return entry


def _told(expires: int, odd: OutputFault | None, now: float) -> int | str:
    if odd is OutputFault.EXPIRE_ISO:
        return datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z")
    if odd is OutputFault.EXPIRE_ZERO:
        return 0
    return int(now) - 3600 if odd is OutputFault.EXPIRE_PAST else expires


# ── Other shapes of an answer than the documented one: the same task under other names ────────────


Fields = dict[str, Any]


# ── envelopes ───────────────────────────────────────────────────────────────────────────────────


def created(shape: Shape, task_id: str | int) -> Any:
    """A create's answer in this shape."""
    bodies: dict[Shape, Any] = {
        Shape.BARE: {"taskId": task_id},
        Shape.TASK: {"code": 200, "data": {"task": {"taskId": task_id}}},
        Shape.ID: {"code": 200, "data": {"id": task_id}},
        Shape.LIST: {"data": [{"task_id": task_id}]},
        Shape.ARRAY: [{"id": task_id}],
        Shape.NAMELESS: {"code": 200, "message": "success", "data": {"accepted": True}},
    }
    return bodies.get(shape, _enveloped({"taskId": task_id}))


def detailed(shape: Shape, task: Fields) -> Any:
    """A detail's answer in this shape."""
    renamed = {**task, "id": task["taskId"]}
    del renamed["taskId"]
    bodies: dict[Shape, Any] = {
        Shape.BARE: task,
        Shape.TASK: _enveloped({"task": task}),
        Shape.ID: _enveloped(renamed),
        Shape.LIST: _enveloped([task]),
        Shape.ARRAY: [task],
        Shape.NAMELESS: _enveloped({k: v for k, v in task.items() if k != "taskId"}),
    }
    return bodies.get(shape, _enveloped(task))


def listed(shape: Shape, page: Fields) -> Any:
    """A list page's answer in this shape."""
    tasks = page["tasks"]
    rest = {name: value for name, value in page.items() if name != "tasks"}
    bodies: dict[Shape, Any] = {
        Shape.BARE: page,
        Shape.TASK: _enveloped({**rest, "items": tasks}),
        Shape.ID: _enveloped({**rest, "records": tasks}),
        Shape.LIST: _enveloped({"list": tasks}),
        Shape.ARRAY: tasks,
        Shape.NAMELESS: _enveloped(tasks),
    }
    return bodies.get(shape, _enveloped(page))


def _enveloped(data: object) -> Fields:
    return {"code": 200, "message": "success", "data": data}


# ── outputs ─────────────────────────────────────────────────────────────────────────────────────


def typed(kind: str | None) -> Callable[[Fields], Fields]:
    """An entry of another type, or of none."""

    def changed(entry: Fields) -> Fields:
        rest = {name: value for name, value in entry.items() if name != "type"}
        return rest if kind is None else {**rest, "type": kind}

    return changed


def _at(change: Callable[[str], str]) -> Callable[[Fields], Fields]:
    """An entry at an address that is written otherwise."""
    return lambda entry: {**entry, "url": change(entry["url"])}


CLIP_FIELDS: Final[Mapping[OutputFault, Callable[[Fields], Fields]]] = {
    OutputFault.UNTYPED: typed(None),
    OutputFault.TYPE_MP4: typed("mp4"),
    OutputFault.TYPE_MIME: typed("video/mp4"),
    OutputFault.TYPE_FILE: typed("file"),
    OutputFault.TYPE_RESULT: typed("result"),
    OutputFault.RELATIVE: _at(lambda url: urlunsplit(("", "", *urlsplit(url)[2:]))),
    OutputFault.NO_SCHEME: _at(lambda url: url.partition(":")[2]),
    OutputFault.BLANKS: _at(lambda url: f"  {url}\n"),
}
"""What becomes of the clip's entry; the others stay."""


_RESHAPED: Final[Mapping[OutputFault, Callable[[Fields, list[Any]], Fields]]] = {
    OutputFault.STRINGS: lambda video, others: {
        "output": [video["url"], *(each["url"] for each in others)]
    },
    OutputFault.OBJECT: lambda video, others: {"output": {"video": video["url"], "items": others}},
    OutputFault.OUTPUTS: lambda video, others: {"outputs": [typed(None)(video), *others]},
    OutputFault.VIDEO_URL: lambda video, others: {
        "video_url": video["url"],
        "cover_url": next((each["url"] for each in others), None),
    },
    OutputFault.RESULT: lambda video, others: {
        "result": {"videos": [typed(None)(video)], "images": others}
    },
}


def reshaped(fault: OutputFault | None, output: list[Any]) -> Fields:
    """The fields of a finished task that tell of its files."""
    reshape = None if fault is None else _RESHAPED.get(fault)
    if reshape is None or not output or output[0] is None:
        return {"output": output}
    return reshape(output[0], [entry for entry in output if entry is not output[0]])


# ── Signed, expiring addresses of output files ────────────────────────────────────────────────────


@dataclass(slots=True)
class Links:
    """Makes and checks file URLs; ``base`` changes with the port, signatures do not."""

    secret: str
    base: str = "http://files.sandbox"

    def url(self, task_id: str, name: str, expires: int) -> str:
        """The address of a task's file until ``expires`` (Unix seconds)."""
        path = f"/tasks/{task_id}/{name}"
        return f"{self.base}{path}?expires={expires}&signature={self._sign(path, expires)}"

    def problem(self, request: Request, now: float) -> str | None:
        """Why the address of this request is not good, or None."""
        expires = request.query.get("expires", "")
        signature = request.query.get("signature", "")
        if not (expires.isascii() and expires.isdigit() and len(expires) < 20):
            return "unsigned"
        wanted = self._sign(request.path, int(expires))
        if not hmac.compare_digest(wanted.encode(), signature.encode()):
            return "unsigned"
        return "expired" if now >= int(expires) else None

    def _sign(self, path: str, expires: int) -> str:
        text = f"{path}\n{expires}".encode()
        return hmac.new(self.secret.encode(), text, hashlib.sha256).hexdigest()[:32]


# ── Which clip a task gets, as a value: size, length, sound and everything drawn on it ────────────

FPS: Final = 24

_SIZES: Final = {
    "480p": {"16:9": (864, 496), "4:3": (752, 560), "1:1": (640, 640), "21:9": (992, 432)},
    "720p": {"16:9": (1280, 720), "4:3": (1112, 834), "1:1": (960, 960), "21:9": (1470, 630)},
}
_UPRIGHT: Final = {"9:16": "16:9", "3:4": "4:3"}
_SCALES: Final = {"480p": 1.0, "720p": 1.0, "1080p": 1.5, "4k": 3.0}
"""1080p and 4k scale the sizes of 720p."""


class Form(StrEnum):
    """How a clip is put into a file."""

    PLAIN = "plain"
    FRAGMENTED = "fragmented"
    ROTATED = "rotated"
    """Its picture is stored on its side; ``width`` and ``height`` are those that are stored."""
    WEBM = "webm"


_FORMS: Final = {
    OutputFault.FRAGMENTED: Form.FRAGMENTED,
    OutputFault.ROTATED: Form.ROTATED,
    OutputFault.WEBM: Form.WEBM,
}


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Everything that decides a clip's bytes."""

    width: int
    height: int
    frames: int
    audio: bool
    drawn: Drawn | None = None
    """None: a plain clip, equal for every task of its size and length."""
    form: Form = Form.PLAIN


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a full clip shows."""

    content: str
    """Seeds colours, movement and tone."""
    prompt: str
    caption: str
    first_frame: str | None
    last_frame: str | None
    references: tuple[str, ...]
    """Images; other references are only named."""
    others: tuple[tuple[str, int], ...]
    """Kind and number."""


def clip_of(task: StoredTask, config: SandboxConfig, adaptive: float | None = None) -> ClipSpec:
    """The task's clip; ``adaptive`` is its first frame's ratio, where one is known."""
    fields, odd = task.input, output_fault(config, task)
    ratio = fields.get("aspect_ratio", "16:9")
    width, height = frame_size(_resolution(fields, odd), ratio, adaptive)
    seconds = fields.get("duration", 5) + (2 if odd is OutputFault.OTHER_LENGTH else 0)
    audio = fields.get("generate_audio", True) ^ (odd is OutputFault.OTHER_AUDIO)
    drawn = _drawn(task, fields) if config.clips == "full" else None
    form = _FORMS.get(odd, Form.PLAIN) if odd else Form.PLAIN
    if form is Form.ROTATED:
        width, height = height, width
    return ClipSpec(width, height, FPS * seconds + 1, audio, drawn, form)


def _resolution(fields: dict[str, Any], odd: OutputFault | None) -> str:
    asked: str = fields.get("resolution", "720p")
    if odd is OutputFault.OTHER_SIZE:
        return "480p" if asked != "480p" else "720p"
    return asked


def frame_size(resolution: str, ratio: str, adaptive: float | None = None) -> tuple[int, int]:
    """Width and height: a resolution fixes the area, not a side.

    HiAPI names no sizes; these were measured on clips of the same model from other resellers.
    """
    sizes = _SIZES.get(resolution, _SIZES["720p"])
    scale = _SCALES[resolution]
    if ratio == "adaptive" and adaptive is not None:
        width, height = _by_area(sizes["1:1"], min(max(adaptive, 0.4), 2.5))
    elif ratio in _UPRIGHT:
        height, width = sizes[_UPRIGHT[ratio]]
    else:
        width, height = sizes.get(ratio, sizes["16:9"])
    return even(width * scale), even(height * scale)


def _by_area(square: tuple[int, int], ratio: float) -> tuple[int, int]:
    side = square[0]
    return round(side * math.sqrt(ratio)), round(side / math.sqrt(ratio))


def even(side: float) -> int:
    """Whole pixels, as YUV planes of half the size want them."""
    return int(side) // 2 * 2


def _drawn(task: StoredTask, fields: dict[str, Any]) -> Drawn:
    seed = fields.get("seed")
    facts = (
        task.model,
        fields.get("resolution", "720p"),
        fields.get("aspect_ratio", "16:9"),
        f"{fields.get('duration', 5)} s",
        "no seed" if seed is None else f"seed {seed}",
    )
    return Drawn(
        task.content,
        fields["prompt"],
        " · ".join(facts),
        fields.get("first_frame_url"),
        fields.get("last_frame_url"),
        tuple(fields.get("reference_image_urls", ())),
        (*_numbered("video", fields), *_numbered("audio", fields)),
    )


def _numbered(kind: str, fields: dict[str, Any]) -> list[tuple[str, int]]:
    count = len(fields.get(f"reference_{kind}_urls", ()))
    return [(kind, number + 1) for number in range(count)]
