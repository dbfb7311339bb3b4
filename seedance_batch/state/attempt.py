"""What an attempt is: its intent, its state, and the words for both. Values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What an attempt was made for."""

    FINAL = "final"
    DRAFT = "draft"


class Phase(StrEnum):
    """Where an attempt stands."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    IN_FLIGHT = "in_flight"
    DOWNLOADING = "downloading"
    DONE = "done"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"
    EXPIRED = "expired"
    MEDIA_MISMATCH = "media_mismatch"


FINAL_PHASES: Final = frozenset({Phase.DONE, Phase.FAILED, Phase.EXPIRED, Phase.MEDIA_MISMATCH})
"""Nothing more happens by itself."""
UNSETTLED_PHASES: Final = frozenset({Phase.SUBMITTING, Phase.AMBIGUOUS})
"""A task may or may not exist; no new attempt until that is known."""


class ErrorClass(StrEnum):
    """Why an attempt failed, by what can be done about it."""

    INVALID = "invalid"
    """The API refused the request: the row needs an edit."""
    REFUSED = "refused"
    """The generation was refused or failed for good: the content needs an edit."""
    TRANSIENT = "transient"
    """The service's own trouble: a new attempt may well succeed."""
    PERMANENT = "permanent"
    """An error code unknown here; treated as the row's own."""
    RELEASED = "released"
    """A person said that no task exists."""
    EXPIRED = "expired"
    """Paid, and the file could not be had any more."""
    MEDIA_MISMATCH = "media_mismatch"
    """Paid, and the file is not what was asked for."""
    AMBIGUOUS = "ambiguous"
    """Whether a task exists is not known."""


class Charged(StrEnum):
    """Whether the service charged for an attempt, as far as that can be known."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Intent:
    """What an attempt asks for; written before the first POST and never changed."""

    key: str
    kind: Kind
    number: int
    content: str
    model: str
    resolution: str
    duration: int
    aspect_ratio: str
    generate_audio: bool
    return_last_frame: bool
    idempotency_key: str
    template: str
    body_sha256: str
    key_fingerprint: str
    est_cost: Decimal | None
    planned_at: float


@dataclass(frozen=True, slots=True)
class Clip:
    """A published file and what was measured in it. Lengths are seconds, sides pixels."""

    file: str
    """Relative to the run folder."""
    bytes: int
    sha256: str
    seconds: float
    width: int
    height: int
    has_audio: bool
    last_frame_file: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Where an attempt stands; everything the next step needs."""

    phase: Phase = Phase.PLANNED
    unanswered: int = 0
    """Sends whose outcome is not known."""
    first_sent_at: float | None = None
    """The earliest unanswered send: the wall clock or the server's, whichever is earlier."""
    submitted_at: float | None = None
    task_id: str | None = None
    replayed: bool = False
    finished_at: float | None = None
    error_class: ErrorClass | None = None
    error_code: str | None = None
    error_message: str | None = None
    video_url: str | None = None
    url_expires_at: float | None = None
    last_frame_url: str | None = None
    no_video_since: float | None = None
    needs_look: bool = False
    """The URL failed; a fresh look at the task comes first."""
    refreshed_at: float | None = None
    """When that fresh look was had."""
    file: str | None = None
    """The name kept for the clip, relative to the run folder; ours, whatever lies there."""
    rejected_sha256: str | None = None
    """A whole file that was not what was asked for, seen once."""
    clip: Clip | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One paid try of a job: its intent and its state."""

    id: int
    """The journal's number for it."""
    intent: Intent
    state: State
