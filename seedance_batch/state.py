"""The life of an attempt, as one pure function: ``step(state, event) -> state``.

Callback, look, replay, resume and the person's own decisions all arrive here as events, so that
there is one answer to *what happened to this row* and no second code path after a crash::

    planned ⇄ submitting ──► in_flight ──► downloading ──► done
                  │              │              ├──► expired
                  ├──► failed ◄──┘              └──► media_mismatch
                  └──► ambiguous ──► (a person: adopt or release)

Final states absorb every event but a person's own (`Adopted`, `Released`, `Refetch`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from seedance_batch.model import OutputType, Task, TaskError, TaskStatus

RESEND_WINDOW: Final = 23 * 3600.0
"""Seconds a key and its bytes may be sent again; the service forgets keys after about 24 h."""
MISSING_VIDEO_PATIENCE: Final = 600.0
"""Seconds to look again when a successful task shows no video."""


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
    refreshed: bool = False
    """That fresh look was had."""
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


# ── events ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Sent:
    """The body is about to leave. ``at`` is the earlier of wall clock and server time."""

    at: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """A create answered with a task id, by itself, as a replay, or through a callback."""

    task_id: str
    at: float
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """429, 503, 402, 401 or 403 on a create: turned away before processing."""

    message: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Reset, time-out, 5xx, 408, 425 or 409-processing on a create: the outcome is unknown."""

    message: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Any other 4xx on a create: final."""

    error: TaskError
    at: float


@dataclass(frozen=True, slots=True)
class KeyMismatch:
    """422 on a create: the key was used with another body, so a task may exist."""

    message: str
    at: float


@dataclass(frozen=True, slots=True)
class WindowPassed:
    """The key may have been forgotten, or the API key is another one: resending could pay twice."""

    message: str
    at: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at the task, from a list page, a GET, or a signed callback."""

    task: Task
    at: float


@dataclass(frozen=True, slots=True)
class Named:
    """A file name, free on disk and in the journal, is kept for the clip before its download."""

    file: str


@dataclass(frozen=True, slots=True)
class UrlGone:
    """The file host says that the URL is no longer good (or it never worked)."""

    message: str
    at: float


@dataclass(frozen=True, slots=True)
class FileWrong:
    """A complete download that is not what was asked for."""

    sha256: str
    reason: str
    kept: Clip
    at: float


@dataclass(frozen=True, slots=True)
class Published:
    """The clip is on disk, whole, checked and synced."""

    clip: Clip
    at: float


@dataclass(frozen=True, slots=True)
class Adopted:
    """A person says that this task is this row's."""

    task_id: str
    at: float


@dataclass(frozen=True, slots=True)
class Released:
    """A person says that no task exists for this row."""

    at: float


@dataclass(frozen=True, slots=True)
class Refetch:
    """A person asks for the paid clip again."""


Event = (
    Sent
    | Accepted
    | Refused
    | Unanswered
    | Rejected
    | KeyMismatch
    | WindowPassed
    | Seen
    | Named
    | UrlGone
    | FileWrong
    | Published
    | Adopted
    | Released
    | Refetch
)


def step(state: State, event: Event) -> State:
    """The state after ``event``; an event that means nothing here leaves the state as it is."""
    match event:
        case Sent(at):
            return _sent(state, at)
        case Accepted(task_id, at, replayed):
            return _accepted(state, task_id, at, replayed)
        case Refused(message):
            return _refused(state, message)
        case Unanswered(message):
            return _unanswered(state, message)
        case Rejected() | KeyMismatch() | WindowPassed():
            return _create_ended(state, event)
        case Seen(task, at):
            return _seen(state, task, at)
        case Named() | UrlGone() | FileWrong() | Published():
            return _file_event(state, event)
        case Adopted() | Released() | Refetch():
            return _person_decided(state, event)


def _sent(state: State, at: float) -> State:
    if state.phase not in {Phase.PLANNED, Phase.SUBMITTING}:
        return state
    return replace(
        state,
        phase=Phase.SUBMITTING,
        unanswered=state.unanswered + 1,
        first_sent_at=at if state.first_sent_at is None else min(state.first_sent_at, at),
        submitted_at=state.submitted_at or at,
    )


def _accepted(state: State, task_id: str, at: float, replayed: bool) -> State:
    # Ambiguous too: a late answer or a callback with our token settles it.
    if state.phase not in {Phase.PLANNED, Phase.SUBMITTING, Phase.AMBIGUOUS}:
        return state
    return _clear_error(
        replace(
            state,
            phase=Phase.IN_FLIGHT,
            task_id=task_id,
            replayed=replayed,
            unanswered=0,
            first_sent_at=None,
            submitted_at=state.submitted_at or at,
            finished_at=None,
        )
    )


def _refused(state: State, message: str) -> State:
    if state.phase is not Phase.SUBMITTING:
        return state
    left = max(0, state.unanswered - 1)
    if left:  # this send was refused, but an earlier one may have been accepted
        return replace(state, unanswered=left, error_message=message)
    return replace(
        state, phase=Phase.PLANNED, unanswered=0, first_sent_at=None, error_message=message
    )


def _unanswered(state: State, message: str) -> State:
    if state.phase is not Phase.SUBMITTING:
        return state
    return replace(state, error_message=message)


def _create_ended(state: State, event: Rejected | KeyMismatch | WindowPassed) -> State:
    if state.phase is not Phase.SUBMITTING:
        return state
    if isinstance(event, Rejected) and state.unanswered <= 1:
        return _failed(state, ErrorClass.INVALID, event.error, event.at)
    # A mismatch, a passed window, or a refusal after a send whose fate is unknown: a task may
    # exist, and only a person may decide to risk paying again.
    error = event.error if isinstance(event, Rejected) else TaskError("", event.message)
    return replace(
        state,
        phase=Phase.AMBIGUOUS,
        finished_at=event.at,
        error_class=ErrorClass.AMBIGUOUS,
        error_code=error.code or None,
        error_message=error.message,
    )


def _seen(state: State, task: Task, at: float) -> State:
    if state.task_id is None or task.task_id != state.task_id:
        return state
    if state.phase is Phase.DOWNLOADING:
        return _seen_again(state, task, at)
    if state.phase is not Phase.IN_FLIGHT:
        return state
    if task.status is TaskStatus.FAIL:
        error = task.error or TaskError("", "the task failed and gave no reason")
        return _failed(state, classify(error.code), error, at)
    if task.status is TaskStatus.SUCCESS:
        return _succeeded(state, task, at)
    return state


def _succeeded(state: State, task: Task, at: float) -> State:
    video = task.first(OutputType.VIDEO)
    if video is None:
        since = at if state.no_video_since is None else state.no_video_since
        if at - since >= MISSING_VIDEO_PATIENCE:
            return _expired(state, "the task succeeded, but its answer names no video", at)
        return replace(state, no_video_since=since)
    return _with_urls(replace(state, phase=Phase.DOWNLOADING), task)


def _with_urls(state: State, task: Task) -> State:
    video, last = task.first(OutputType.VIDEO), task.first(OutputType.LAST_FRAME)
    return replace(
        state,
        video_url=video.url if video else state.video_url,
        url_expires_at=video.expires_at if video else state.url_expires_at,
        last_frame_url=last.url if last else state.last_frame_url,
        finished_at=task.completed or state.finished_at,
    )


def _seen_again(state: State, task: Task, at: float) -> State:
    if task.status is not TaskStatus.SUCCESS:  # a stale page; the clip was already announced
        return state
    if not state.needs_look:
        return state
    if task.first(OutputType.VIDEO) is None:
        return _expired(state, "the clip's URL is gone, and the task names no new one", at)
    return replace(_with_urls(state, task), needs_look=False, refreshed=True)


def _file_event(state: State, event: Named | UrlGone | FileWrong | Published) -> State:
    if state.phase is not Phase.DOWNLOADING:
        return state
    match event:
        case Named(file):
            return replace(state, file=file)
        case UrlGone(message, at):
            if state.refreshed:
                return _expired(state, message, at)
            return replace(state, needs_look=True, error_message=message)
        case FileWrong(sha256, reason, kept, at):
            if state.rejected_sha256 != sha256:
                return replace(state, rejected_sha256=sha256, error_message=reason)
            return replace(
                state,
                phase=Phase.MEDIA_MISMATCH,
                clip=kept,
                error_class=ErrorClass.MEDIA_MISMATCH,
                error_message=reason,
                finished_at=state.finished_at or at,
            )
        case Published(clip, at):
            done = replace(state, phase=Phase.DONE, clip=clip, finished_at=state.finished_at or at)
            return _clear_error(done)


def _person_decided(state: State, event: Adopted | Released | Refetch) -> State:
    match event:
        case Adopted(task_id, at) if state.phase is Phase.AMBIGUOUS:
            return _accepted(state, task_id, at, False)
        case Released(at) if state.phase is Phase.AMBIGUOUS:
            error = TaskError("", "released by hand: no task was found for it")
            return _failed(state, ErrorClass.RELEASED, error, at)
        case Refetch() if state.task_id and state.phase in FINAL_PHASES - {Phase.FAILED}:
            return _clear_error(
                replace(
                    state,
                    phase=Phase.DOWNLOADING if state.video_url else Phase.IN_FLIGHT,
                    needs_look=True,
                    refreshed=False,
                    no_video_since=None,
                    rejected_sha256=None,
                    clip=None,
                )
            )
        case _:
            return state


def _failed(state: State, error_class: ErrorClass, error: TaskError, at: float) -> State:
    return replace(
        state,
        phase=Phase.FAILED,
        error_class=error_class,
        error_code=error.code or None,
        error_message=error.message,
        finished_at=at,
    )


def _expired(state: State, message: str, at: float) -> State:
    return replace(
        state,
        phase=Phase.EXPIRED,
        error_class=ErrorClass.EXPIRED,
        error_message=message,
        finished_at=state.finished_at or at,
    )


def _clear_error(state: State) -> State:
    return replace(state, error_class=None, error_code=None, error_message=None)


# ── what follows from a state ───────────────────────────────────────────────────────────────────

_TRANSIENT_CODES: Final = frozenset(
    {"TASK_TIMEOUT", "STORAGE_UNAVAILABLE", "MODEL_UNAVAILABLE", "PROVIDER_ERROR"}
)
_INVALID_CODES: Final = frozenset({"INVALID_REQUEST", "INPUT_TOO_LARGE", "UNSUPPORTED_FORMAT"})
_REFUSED_CODES: Final = frozenset({"TASK_FAILED", "MODEL_ERROR"})


def classify(code: str) -> ErrorClass:
    """What a failed task's error code allows; a code unknown here is the row's own fault."""
    name = code.upper()
    if name in _TRANSIENT_CODES:
        return ErrorClass.TRANSIENT
    if name in _INVALID_CODES:
        return ErrorClass.INVALID
    return ErrorClass.REFUSED if name in _REFUSED_CODES else ErrorClass.PERMANENT


def may_resend(state: State, now: float) -> bool:
    """Whether the same key and bytes may be sent (again); ``now`` is the later of both clocks."""
    if state.phase not in {Phase.PLANNED, Phase.SUBMITTING}:
        return False
    return state.first_sent_at is None or now - state.first_sent_at < RESEND_WINDOW


def charged(state: State) -> Charged:
    """Whether the service charged for it: a success is, a refusal is not, the rest is unknown."""
    if state.phase is Phase.PLANNED:
        return Charged.NO
    if state.phase in {Phase.DOWNLOADING, Phase.DONE, Phase.EXPIRED, Phase.MEDIA_MISMATCH}:
        return Charged.YES
    if state.phase is Phase.FAILED and state.task_id is None:
        return Charged.NO if state.error_class is ErrorClass.INVALID else Charged.UNKNOWN
    return Charged.UNKNOWN


def counts_against_budget(state: State) -> bool:
    """Whether its estimate stays reserved or spent under ``--max-cost``."""
    return state.phase is Phase.SUBMITTING or charged(state) is not Charged.NO
