"""Intents, clips and tasks for tests of what happens to them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from seedance_batch.core.attempt import Clip, Intent, Kind
from seedance_batch.core.hiapi import OutputFile, OutputType, Task, TaskError, TaskStatus

TASK = "tk-1"
CLIP = Clip("videos/a.mp4", 10, "ab" * 32, 4.04, 864, 496, has_audio=True)
VIDEO = OutputFile("https://files.example/v.mp4", OutputType.VIDEO, 900.0)
LAST = OutputFile("https://files.example/l.png", OutputType.LAST_FRAME)


def intent(**changes: Any) -> Intent:
    """What a small row asks for."""
    values: dict[str, Any] = {
        "key": "a",
        "kind": Kind.FINAL,
        "number": 1,
        "content": "c" * 64,
        "model": "seedance-2-0",
        "resolution": "480p",
        "duration": 4,
        "aspect_ratio": "16:9",
        "generate_audio": True,
        "return_last_frame": False,
        "idempotency_key": "sb-1",
        "template": "{}",
        "body_sha256": "b" * 64,
        "key_fingerprint": "f",
        "est_cost": Decimal("0.192"),
        "planned_at": 1.5,
    }
    return Intent(**{**values, **changes})


def task(status: TaskStatus, *output: OutputFile, task_id: str = TASK, **more: Any) -> Task:
    """A task object as the service shows it."""
    return Task(task_id, status, output=output, **more)


RUNNING = task(TaskStatus.RUNNING)
MADE = task(TaskStatus.SUCCESS, VIDEO, LAST, completed=50.0)
EMPTY = task(TaskStatus.SUCCESS)
FAILED = task(TaskStatus.FAIL, error=TaskError("TASK_TIMEOUT", "too slow"))
