"""How a stored task looks from outside at a moment, odd outputs, statuses and shapes included."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from seedance_batch.sandbox.asgi import Request
from seedance_batch.sandbox.config import (
    ExpireAt,
    ListedFault,
    OutputFault,
    SandboxConfig,
    Shape,
    StatusFault,
    TaskState,
)
from seedance_batch.sandbox.faults import draw
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
