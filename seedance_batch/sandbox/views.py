"""How a stored task looks from outside at a moment, odd outputs and odd statuses included."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from seedance_batch.sandbox.config import (
    ExpireAt,
    ListedFault,
    OutputFault,
    SandboxConfig,
    StatusFault,
)
from seedance_batch.sandbox.faults import draw
from seedance_batch.sandbox.links import Links
from seedance_batch.sandbox.shapes import CLIPS, reshaped
from seedance_batch.sandbox.store import StoredTask
from seedance_batch.sandbox.timing import Status

VIDEO: Final = "video.mp4"
LAST_FRAME: Final = "last_frame.png"
THUMBNAIL: Final = "thumbnail.jpg"

_METADATA: Final = "http://169.254.169.254/latest/meta-data/video.mp4"
_ALIASES: Final = {
    Status.QUEUED: "pending",
    Status.HANDLING: "pending",
    Status.ARCHIVING: "pending",
    Status.SUCCESS: "succeeded",
    Status.FAIL: "failed",
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

    def status(self, task: StoredTask) -> Status:
        """The documented status."""
        return task.times.status(self.now, failed=task.error_code is not None)

    def task(self, task: StoredTask) -> dict[str, Any]:
        """HiAPI's task object."""
        status = self.status(task)
        final = status in (Status.SUCCESS, Status.FAIL)
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
        if status is Status.SUCCESS:
            seen |= reshaped(output_fault(self.config, task), self._output(task))
        if status is Status.FAIL:
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
            return {**seen, "status": Status.HANDLING.value, "completed": 0}
        error = {"code": "TASK_FAILED", "message": "the list says so"}
        return {**seen, "status": Status.FAIL.value, "completed": int(self.now), "error": error}

    def _spelled(self, task: StoredTask, status: Status) -> str | int | None:
        faults = self.config.faults
        odd = draw(faults, self.config.seed, "statuses", faults.statuses, task.content, task.nth)
        if odd is StatusFault.ALIAS:
            return _ALIASES[status]
        if odd is not None and status in (Status.SUCCESS, Status.FAIL) and odd in _ENDINGS:
            return _ENDINGS[odd]
        if odd is StatusFault.UNKNOWN and status is Status.HANDLING:
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
        if odd is not None and odd in CLIPS:
            return [CLIPS[odd](video), *others]
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
