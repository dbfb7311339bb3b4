"""Builds jobs, attempts and price lists for the tests of planning."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from seedance_batch.core.attempt import Attempt, Clip, ErrorClass, Intent, Kind, Phase, State
from seedance_batch.core.manifest import Job, LocalMedia, Place, Row, body_template, content_hash
from seedance_batch.core.model import Allow, TaskInput
from seedance_batch.core.pricing import PriceTable, parse_pricing

MODEL = "seedance-2-0"
CLIP = Clip("videos/a.mp4", 4_000_000, "0" * 64, 5.0, 1280, 720, True)


def task_input(**fields: Any) -> TaskInput:
    """A valid input; only what the test is about needs to be said."""
    allow = Allow(resolution_4k=True, mixed_references=True, blobs=True)
    return TaskInput.model_validate({"prompt": "a red fox", **fields}, context=allow)


def job(
    key: str = "a",
    number: int = 1,
    *,
    model: str = MODEL,
    cells: Mapping[str, str] | None = None,
    media: tuple[LocalMedia, ...] = (),
    **fields: Any,
) -> Job:
    """A job; its prompt is the same for every key unless given."""
    found = task_input(**fields)
    row = Row(number, Place("shots.csv", line=number + 1), cells or {})
    return Job(row, key, model, found, content_hash(model, found), media)


def attempt(
    of: Job,
    phase: Phase,
    *,
    id: int = 1,
    number: int = 1,
    kind: Kind = Kind.FINAL,
    cost: str | None = "0.50",
    error: ErrorClass | None = None,
    **state: Any,
) -> Attempt:
    """An attempt at a job, as the journal would hold it; failed ones have had a task."""
    lost = {Phase.FAILED: ErrorClass.TRANSIENT, Phase.EXPIRED: ErrorClass.EXPIRED}
    lost[Phase.MEDIA_MISMATCH] = ErrorClass.MEDIA_MISMATCH
    lost[Phase.AMBIGUOUS] = ErrorClass.AMBIGUOUS
    if phase not in {Phase.PLANNED, Phase.SUBMITTING, Phase.AMBIGUOUS}:
        state.setdefault("task_id", f"tk-{id}")
    return Attempt(
        id,
        Intent(
            key=of.key,
            kind=kind,
            number=number,
            content=of.content,
            model=of.model,
            resolution=of.input.resolution.value,
            duration=of.input.duration,
            aspect_ratio=of.input.aspect_ratio.value,
            generate_audio=of.input.generate_audio,
            return_last_frame=of.input.return_last_frame,
            idempotency_key=f"sb-{id}",
            template=body_template(of.model, of.input),
            body_sha256="0" * 64,
            key_fingerprint="f",
            est_cost=None if cost is None else Decimal(cost),
            planned_at=0.0,
        ),
        State(phase=phase, error_class=error or lost.get(phase), **state),
    )


def prices(
    *policies: object,
    model: str = MODEL,
    source: str = "https://api.example/api/pricing",
    **entry: Any,
) -> PriceTable:
    """A table of one model, ten cents a second unless said otherwise."""
    entry = {"model_name": model, "factors": ["duration"], "base_usd_value": "0.10"} | entry
    answer = {"data": [{**entry, "policies": list(policies)}]}
    return parse_pricing(answer, source=source, dated=1_790_000_000.0)


def rule(tests: Mapping[str, object], price: object = None, **rest: object) -> dict[str, object]:
    """A policy: a fixed price unless said otherwise."""
    return {"rule": dict(tests), "pricing_type": "fixed", "usd_value": price} | rest
