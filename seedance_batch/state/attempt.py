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
    """The row's: its id, or one derived from its content."""
    kind: Kind
    number: int
    """Counted by key and kind, from 1."""
    content: str
    """`identity.content_hash` of what decides the clip: 64 hexadecimal digits."""
    model: str
    """As the row spells it."""
    resolution: str
    duration: int
    """Seconds."""
    aspect_ratio: str
    generate_audio: bool
    return_last_frame: bool
    idempotency_key: str
    template: str
    """The request's JSON, with ``sha256:…`` where a local file's data URI belongs."""
    body_sha256: str
    """Of the exact bytes that are sent, files included: 64 hexadecimal digits."""
    key_fingerprint: str
    """Of the API key, salted by the journal: tells another key, and not which."""
    est_cost: Decimal | None
    """US dollars by the price list of that moment; None where there is no estimate."""
    planned_at: float
    """Unix seconds."""


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
    """Where an attempt stands; everything the next step needs. Times are Unix seconds."""

    phase: Phase = Phase.PLANNED
    unanswered: int = 0
    """Sends whose outcome is not known."""
    first_sent_at: float | None = None
    """The earliest unanswered send: the wall clock or the server's, whichever is earlier."""
    submitted_at: float | None = None
    """The first send."""
    task_id: str | None = None
    replayed: bool = False
    """The service gave back an earlier task for the same key."""
    finished_at: float | None = None
    """By the service's word for a task, by our clock where there was none."""
    error_class: ErrorClass | None = None
    error_code: str | None = None
    """HiAPI's own, as it was spelled."""
    error_message: str | None = None
    """The last trouble in words, also while the attempt goes on; not redacted."""
    video_url: str | None = None
    url_expires_at: float | None = None
    """None where the service does not say."""
    last_frame_url: str | None = None
    no_video_since: float | None = None
    """When a task was first seen to have succeeded without naming a video."""
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
