"""Events in words for people, and as JSON values for machines."""

from __future__ import annotations

from seedance_batch.events import (
    AttemptChanged,
    BytesArrived,
    Paused,
    Remark,
    RequestEnded,
    RowSkipped,
    RunEvent,
    Stopping,
)
from seedance_batch.redact import redact, shown


def line_of(event: RunEvent) -> str | None:
    """An event in words, where it is worth a line."""
    match event:
        case Stopping(_, message):
            return f"No more rows are sent: {shown(message)}."
        case RowSkipped(key, message):
            return f"Row {shown(key)} was left out: {shown(message)}."
        case Remark(message) | Paused(_, message):
            return shown(message)
        case _:
            return None


def as_json(event: RunEvent, at: str) -> dict[str, object] | None:
    """An event at a `moment` as JSON values; None for what would only be noise."""
    match event:
        case AttemptChanged(attempt, before) if attempt.state.phase is not before:
            state, intent = attempt.state, attempt.intent
            return {
                "event": "row",
                "time": at,
                "id": intent.key,
                "kind": intent.kind,
                "attempt": intent.number,
                "before": before,
                "status": state.phase,
                "task_id": state.task_id,
                "error_class": state.error_class,
                "message": redact(state.error_message or "") or None,
                "video_file": state.clip.file if state.clip else None,
            }
        case Stopping(why, message):
            return {"event": "stopping", "time": at, "why": why, "message": redact(message)}
        case RowSkipped(key, message):
            return {"event": "skipped", "time": at, "id": key, "message": redact(message)}
        case Remark(message) | Paused(_, message):
            return {"event": "remark", "time": at, "message": redact(message)}
        case AttemptChanged() | BytesArrived() | RequestEnded():
            return None
