"""Other shapes of an answer than the documented one: the same task under other names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from seedance_batch.sandbox.config import OutputFault, Shape

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


def shown(shape: Shape, task: Fields) -> Any:
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


def _relative(entry: Fields) -> Fields:
    parts = urlsplit(entry["url"])
    return {**entry, "url": f"{parts.path}?{parts.query}"}


def _without_scheme(entry: Fields) -> Fields:
    return {**entry, "url": entry["url"].partition(":")[2]}


def _with_blanks(entry: Fields) -> Fields:
    return {**entry, "url": f"  {entry['url']}\n"}


CLIPS: Final[Mapping[OutputFault, Callable[[Fields], Fields]]] = {
    OutputFault.UNTYPED: typed(None),
    OutputFault.TYPE_MP4: typed("mp4"),
    OutputFault.TYPE_MIME: typed("video/mp4"),
    OutputFault.TYPE_FILE: typed("file"),
    OutputFault.TYPE_RESULT: typed("result"),
    OutputFault.RELATIVE: _relative,
    OutputFault.NO_SCHEME: _without_scheme,
    OutputFault.BLANKS: _with_blanks,
}
"""What becomes of the clip's entry; the others stay."""


def reshaped(fault: OutputFault | None, output: list[Any]) -> Fields:
    """The fields of a finished task that tell of its files."""
    video = output[0] if output else None
    if fault is None or fault not in _WHOLE or video is None:
        return {"output": output}
    others = [entry for entry in output if entry is not video]
    fields: dict[OutputFault, Fields] = {
        OutputFault.STRINGS: {"output": [video["url"], *(e["url"] for e in others)]},
        OutputFault.OBJECT: {"output": {"video": video["url"], "items": others}},
        OutputFault.OUTPUTS: {"outputs": [typed(None)(video), *others]},
        OutputFault.VIDEO_URL: {"video_url": video["url"], "cover_url": _url_of(others)},
        OutputFault.RESULT: {"result": {"videos": [typed(None)(video)], "images": others}},
    }
    return fields[fault]


_WHOLE: Final = frozenset(
    {
        OutputFault.STRINGS,
        OutputFault.OBJECT,
        OutputFault.OUTPUTS,
        OutputFault.VIDEO_URL,
        OutputFault.RESULT,
    }
)


def _url_of(entries: list[Any]) -> str | None:
    return next((entry["url"] for entry in entries), None)
