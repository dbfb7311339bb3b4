"""Outcomes to write sheets from, and a few real clips."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path

from seedance_batch.core.attempt import Attempt, Clip, ErrorClass, Intent, Kind, Phase, State
from seedance_batch.core.outcome import Outcome, RowRecord, outcomes
from seedance_batch.writer.files import SheetSource

PERSON = ("shot", "prompt", "client")
NOON = 1_780_000_000.0
"""2026-05-28T20:26:40Z."""


def row(number: int, *, key: str | None = None, **cells: str) -> RowRecord:
    """A manifest row of 5 s at 720p."""
    name = key or f"shot-{number:02}"
    return RowRecord(
        number=number,
        key=name,
        content=f"content of {name}",
        cells=cells or {"shot": str(number), "prompt": f"A cat, take {number}", "client": "Acme"},
        model="seedance-2-0",
        resolution="720p",
        duration=5,
        aspect_ratio="16:9",
    )


def attempt(
    of: RowRecord,
    phase: Phase = Phase.DONE,
    *,
    id: int | None = None,
    number: int = 1,
    kind: Kind = Kind.FINAL,
    est_cost: Decimal | None = Decimal("0.7125"),
    **state: object,
) -> Attempt:
    """An attempt of a row that came as far as ``phase``."""
    intent = Intent(
        key=of.key,
        kind=kind,
        number=number,
        content=of.content,
        model=of.model,
        resolution="480p" if kind is Kind.DRAFT else of.resolution,
        duration=4 if kind is Kind.DRAFT else of.duration,
        aspect_ratio=of.aspect_ratio,
        generate_audio=True,
        return_last_frame=False,
        idempotency_key=f"sb-{of.key}-{number}",
        template=json.dumps({"model": of.model, "input": {"prompt": of.cells.get("prompt", "")}}),
        body_sha256="0" * 64,
        key_fingerprint="f",
        est_cost=est_cost,
        planned_at=NOON,
    )
    base = _STATES[phase](of, kind)
    return Attempt(id or of.number * 100 + number, intent, replace(base, **state))


def clip(of: RowRecord, kind: Kind = Kind.FINAL) -> Clip:
    """The clip of a row, as it would be named."""
    folder = "drafts" if kind is Kind.DRAFT else "videos"
    digest = hashlib.sha256(f"{folder} {of.key}".encode()).hexdigest()
    return Clip(f"{folder}/{of.key}.mp4", 123_456, digest, 5.0417, 1280, 720, True)


def _taken(of: RowRecord) -> State:
    return State(Phase.IN_FLIGHT, submitted_at=NOON, task_id=f"tk-hiapi-{of.key}")


def _made(of: RowRecord) -> State:
    return replace(
        _taken(of),
        phase=Phase.DOWNLOADING,
        finished_at=NOON + 130,
        video_url=f"https://cdn.example/{of.key}.mp4?sign=a1b2&expires=9",
        url_expires_at=NOON + 86_400,
    )


_STATES = {
    Phase.PLANNED: lambda of, kind: State(),
    Phase.SUBMITTING: lambda of, kind: State(Phase.SUBMITTING, 1, NOON, NOON),
    Phase.IN_FLIGHT: lambda of, kind: _taken(of),
    Phase.DOWNLOADING: lambda of, kind: _made(of),
    Phase.DONE: lambda of, kind: replace(_made(of), phase=Phase.DONE, clip=clip(of, kind)),
    Phase.FAILED: lambda of, kind: replace(
        _taken(of),
        phase=Phase.FAILED,
        finished_at=NOON + 60,
        error_class=ErrorClass.REFUSED,
        error_code="TASK_FAILED",
        error_message="the prompt was refused by moderation",
    ),
    Phase.AMBIGUOUS: lambda of, kind: State(
        Phase.AMBIGUOUS,
        submitted_at=NOON,
        finished_at=NOON,
        error_class=ErrorClass.AMBIGUOUS,
        error_message="no answer within 23 h",
    ),
    Phase.EXPIRED: lambda of, kind: replace(
        _made(of),
        phase=Phase.EXPIRED,
        error_class=ErrorClass.EXPIRED,
        error_message="the file is gone",
    ),
    Phase.MEDIA_MISMATCH: lambda of, kind: replace(
        _made(of),
        phase=Phase.MEDIA_MISMATCH,
        clip=replace(clip(of, kind), file=f"videos/{of.key}.mismatch.mp4", seconds=3.1),
        error_class=ErrorClass.MEDIA_MISMATCH,
        error_message="3.1 s long where 5 s were asked for",
    ),
}


def every_status() -> list[Outcome]:
    """A row in every status, one with a draft and two takes, and a removed one at the end."""
    rows = [row(number) for number in range(1, 11)]
    attempts = [attempt(of, phase) for of, phase in zip(rows[1:], Phase, strict=True)]
    done = rows[5]
    attempts += [
        attempt(done, Phase.DONE, kind=Kind.DRAFT, number=7, est_cost=Decimal("0.2")),
        attempt(done, Phase.FAILED, number=3, id=3),
        attempt(row(99, key="old-shot"), Phase.DONE),
    ]
    return outcomes(rows, attempts)


def source(
    folder: Path,
    found: Sequence[Outcome],
    *,
    columns: Sequence[str] = PERSON,
    written: Mapping[str, str] | None = None,
    **more: object,
) -> SheetSource:
    """Sheets of these outcomes in ``folder``."""
    return SheetSource(
        folder=folder,
        columns=tuple(columns),
        outcomes=found,
        prices_note="sandbox prices of 2026-05-28, no real money",
        written_hashes=written or {},
        manifest_name="storyboard",
        **more,
    )


def add_clips(folder: Path, found: Sequence[Outcome], size: tuple[int, int] = (320, 180)) -> None:
    """Put a playable file wherever these outcomes say that a clip lies."""
    for outcome in found:
        for one in outcome.attempts:
            if one.state.clip:
                path = folder / one.state.clip.file
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(playable(size))


@cache
def playable(size: tuple[int, int]) -> bytes:
    """A short MP4 with a picture that moves."""
    import av
    from PIL import Image, ImageDraw

    out = BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(24), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(25):
            picture = Image.new("RGB", size, (20, 60 + 4 * number, 110))
            ImageDraw.Draw(picture).ellipse((number * 8, 30, number * 8 + 90, 120), "orange")
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return out.getvalue()
