"""The life of an attempt, as one pure function: ``step(state, event) -> state``.

Callback, look, replay, resume and the person's own decisions all arrive here as events, so that
there is one answer to *what happened to this row* and no second code path after a crash::

    planned ⇄ submitting ──► in_flight ──► downloading ──► done
                  │              │              ├──► expired
                  ├──► failed ◄──┘              └──► media_mismatch
                  └──► ambiguous ──► (a person: adopt or release)

Final states absorb every event but a person's own (`Adopted`, `Released`, `Refetch`), save that a
row released by hand still takes the task, or the clip, that turns up after all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from seedance_batch.core.attempt import (
    FINAL_PHASES,
    SENDABLE_PHASES,
    TASKLESS_PHASES,
    Clip,
    ErrorClass,
    Phase,
    State,
    classify,
    url_is_over,
)
from seedance_batch.core.hiapi import OutputType, Task, TaskError, TaskStatus

# ── What can happen to an attempt, as values; `step` says what follows ────────────────────────────


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
    """422 on a create: the key was used with another body, so a task may exist.

    So does an answer that names another attempt's task."""

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
    """The file host refuses the URL: the file is not there yet, or no longer."""

    message: str
    at: float
    server: float | None = None
    """The service's own time, where it is known: one clock alone ends no paid clip."""


@dataclass(frozen=True, slots=True)
class Doubted:
    """The file host cannot be reached at the URL: a fresh look may bring one that works."""

    message: str


@dataclass(frozen=True, slots=True)
class Unstored:
    """The clip is in the run folder, and the store does not take it."""

    message: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The service no longer knows the task, under the API key that the task was made with."""

    message: str
    at: float
    server: float | None = None
    """As in `UrlGone`."""


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
    """A person says that this task is this row's; also of one that was said to have failed."""

    task_id: str
    at: float


@dataclass(frozen=True, slots=True)
class Released:
    """A person says that no task exists for this row, or that the service has forgotten it."""

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
    | Doubted
    | Unstored
    | Forgotten
    | FileWrong
    | Published
    | Adopted
    | Released
    | Refetch
)


# ── The one function from (state, event) to state, and its cases ──────────────────────────────────


MISSING_VIDEO_PATIENCE: Final = 600.0
"""Seconds to look again when a successful task shows no video."""
FRESH: Final = 600.0
"""Seconds after a look within which a URL that fails was not merely old."""
LOOK_AGAIN: Final = 180.0
"""Seconds after a look until another is had for a file that does not come: it may lie elsewhere."""


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
        case Named() | UrlGone() | Doubted() | Unstored() | Forgotten() | FileWrong() | Published():
            return _file_event(state, event)
        case _:
            return _person_decided(state, event)


def _sent(state: State, at: float) -> State:
    if state.phase not in SENDABLE_PHASES:
        return state
    return replace(
        state,
        phase=Phase.SUBMITTING,
        unanswered=state.unanswered + 1,
        first_sent_at=at if state.first_sent_at is None else min(state.first_sent_at, at),
        submitted_at=state.submitted_at or at,
    )


def _accepted(state: State, task_id: str, at: float, replayed: bool) -> State:
    return _has_task(state, task_id, at, replayed) if _awaits_its_task(state) else state


def _has_task(state: State, task_id: str, at: float, replayed: bool) -> State:
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


def _awaits_its_task(state: State) -> bool:
    """Whether a task id is news: also late, for an ambiguous row or one released by hand."""
    return state.phase in TASKLESS_PHASES or (_is_released(state) and state.task_id is None)


def _is_released(state: State) -> bool:
    return state.phase is Phase.FAILED and state.error_class is ErrorClass.RELEASED


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
    if _is_released(state) and task.status is TaskStatus.SUCCESS:
        found = _succeeded(replace(_clear_error(state), finished_at=None), task, at)
        return found if found.phase is Phase.DOWNLOADING else state  # forgotten, and there again
    if state.phase is not Phase.IN_FLIGHT:
        return state
    if task.status is TaskStatus.FAIL:
        error = task.error or TaskError("", "the task failed and gave no reason")
        failed = _failed(state, classify(error.code), error, at)
        has_clip = task.first(OutputType.VIDEO) is not None
        return _with_clip_all_the_same(failed, task) if has_clip else failed
    if task.status is TaskStatus.SUCCESS:
        return _succeeded(state, task, at)
    if task.raw and state.error_message is None:  # an address in it is of use to a person
        return replace(state, error_message=f"this answer is not understood: {task.raw}")
    return state


def _with_clip_all_the_same(failed: State, task: Task) -> State:
    """A failure that names a clip: a person may want to see it before the row is bought again."""
    words = f"{failed.error_message} (it names a clip all the same, at video_url)"
    return replace(_with_urls(failed, task), error_message=words, finished_at=failed.finished_at)


def _succeeded(state: State, task: Task, at: float) -> State:
    video = task.first(OutputType.VIDEO)
    if video is None:
        since = at if state.no_video_since is None else state.no_video_since
        message = "the task succeeded, but its answer names no video"
        message += f": {task.raw}" if task.raw else ""
        if at - since >= MISSING_VIDEO_PATIENCE:
            return _expired(state, message, at)
        return replace(state, no_video_since=since, error_message=message)
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


def was_given_up_early(state: State, now: float) -> bool:
    """Whether an attempt ended as expired (as earlier versions did) while its file may still come.

    ``now`` is the wall clock.
    """
    known = state.phase is Phase.EXPIRED and state.video_url is not None
    return known and not url_is_over(state, now)


def _seen_again(state: State, task: Task, at: float) -> State:
    if not state.needs_look or task.status is TaskStatus.RUNNING:  # at most a stale page
        return state
    # Where the look names no clip any more, the URL that is known is tried again.
    found = state if task.first(OutputType.VIDEO) is None else _with_urls(state, task)
    return replace(found, needs_look=False, refreshed_at=at)


def _file_event(
    state: State,
    event: Named | UrlGone | Doubted | Unstored | Forgotten | FileWrong | Published,
) -> State:
    if state.phase is not Phase.DOWNLOADING:
        return state
    match event:
        case Named(file):
            return replace(state, file=file)
        case UrlGone():
            return _url_gone(state, event)
        case Doubted(message):
            return replace(state, needs_look=True, error_message=message)
        case Unstored(message):
            return replace(state, error_message=message)
        case Forgotten():
            return _forgotten(state, event) if state.needs_look else state
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
        case _:
            finished = state.finished_at or event.at
            done = replace(state, phase=Phase.DONE, clip=event.clip, finished_at=finished)
            return _clear_error(done)


def _url_gone(state: State, event: UrlGone) -> State:
    """A refused URL ends a clip only after its time, and after a look that brought nothing new."""
    if _time_is_over(state, event) and _looked_since_it_was_over(state, event.at):
        return _expired(state, event.message, event.at)
    looked = state.refreshed_at is not None and 0 <= event.at - state.refreshed_at < LOOK_AGAIN
    again = _time_is_over(state, event) or not looked
    return replace(state, needs_look=again, error_message=event.message)


def _forgotten(state: State, event: Forgotten) -> State:
    if _time_is_over(state, event):
        return _expired(state, event.message, event.at)
    return replace(state, needs_look=False, refreshed_at=event.at, error_message=event.message)


def _time_is_over(state: State, event: UrlGone | Forgotten) -> bool:
    now = event.at if event.server is None else min(event.at, event.server)
    return url_is_over(state, now)


def _looked_since_it_was_over(state: State, at: float) -> bool:
    # A look of an earlier run says nothing about a URL that has aged since.
    looked = state.refreshed_at
    return looked is not None and 0 <= at - looked < FRESH and url_is_over(state, looked)


def _person_decided(state: State, event: Adopted | Released | Refetch) -> State:
    match event:
        case Adopted(task_id, at) if state.phase in {Phase.AMBIGUOUS, Phase.FAILED}:
            return _has_task(state, task_id, at, False)
        case Released(at) if state.phase in {Phase.AMBIGUOUS, Phase.IN_FLIGHT}:
            found = (
                "no task was found for it" if state.task_id is None else "its task was forgotten"
            )
            error = TaskError("", f"released by hand: {found}")
            return _failed(state, ErrorClass.RELEASED, error, at)
        case Refetch() if state.task_id and state.phase in FINAL_PHASES - {Phase.FAILED}:
            return _clear_error(
                replace(
                    state,
                    phase=Phase.DOWNLOADING if state.video_url else Phase.IN_FLIGHT,
                    needs_look=True,
                    refreshed_at=None,
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
