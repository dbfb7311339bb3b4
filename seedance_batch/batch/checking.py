"""``verify``: whether every clip on disk still is what was downloaded, and what was asked for."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from seedance_batch import media
from seedance_batch.folder import RunFolder
from seedance_batch.guard import guarded
from seedance_batch.media import MediaUnreadable
from seedance_batch.publish import replacing
from seedance_batch.state import Attempt, Charged, Clip, Intent, Phase, charged

_HAS_CLIP = frozenset({Phase.DONE, Phase.MEDIA_MISMATCH})


@dataclass(frozen=True, slots=True)
class Finding:
    """An attempt and what is wrong with its clip; None where all is well."""

    attempt: Attempt
    fault: str | None

    @property
    def is_claim(self) -> bool:
        """Whether money was paid and the right clip was not had."""
        return self.fault is not None and charged(self.attempt.state) is Charged.YES


def verify(folder: RunFolder, attempts: Iterable[Attempt]) -> list[Finding]:
    """Check every paid attempt: its file's bytes, and what they decode to."""
    return [
        Finding(attempt, _fault(folder, attempt))
        for attempt in attempts
        if attempt.state.phase in _HAS_CLIP | {Phase.EXPIRED}
    ]


def _fault(folder: RunFolder, attempt: Attempt) -> str | None:
    clip = attempt.state.clip
    if clip is None:
        return attempt.state.error_message or "there is no clip"
    path = folder.path / clip.file
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{clip.file} cannot be read: {error.strerror or error}"
    if sha256 != clip.sha256:
        return f"{clip.file} is not the file that was downloaded"
    try:
        return media.judge(media.probe(path), attempt.intent)
    except MediaUnreadable as error:
        return str(error)


CLAIM_COLUMNS = ("id", "task_id", "asked", "got", "paid_usd", "reason", "finished_at")


def write_claims(path: Path, found: Iterable[Finding]) -> int:
    """Write what to claim back as CSV: asked, got, paid. Returns the number of claims."""
    claims = [finding for finding in found if finding.is_claim]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as out:
        sheet = csv.writer(out)
        sheet.writerow(CLAIM_COLUMNS)
        sheet.writerows([guarded(cell) for cell in _claim(finding)] for finding in claims)
    return len(claims)


def _claim(finding: Finding) -> tuple[str, ...]:
    intent, state = finding.attempt.intent, finding.attempt.state
    cost = "" if intent.est_cost is None else f"{intent.est_cost:f}"
    finished = "" if state.finished_at is None else str(int(state.finished_at))
    return (
        intent.key,
        state.task_id or "",
        _asked(intent),
        _got(state.clip),
        cost,
        finding.fault or "",
        finished,
    )


def _asked(intent: Intent) -> str:
    sound = "sound" if intent.generate_audio else "silent"
    return f"{intent.duration} s {intent.resolution} {intent.aspect_ratio} {sound}"


def _got(clip: Clip | None) -> str:
    if clip is None:
        return "no file"
    sound = "sound" if clip.has_audio else "silent"
    return f"{clip.seconds:.2f} s {clip.width}x{clip.height} {sound}"
