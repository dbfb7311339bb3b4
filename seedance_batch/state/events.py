"""What can happen to an attempt, as values; `seedance_batch.state.step` says what follows."""

from __future__ import annotations

from dataclasses import dataclass

from seedance_batch.model import Task, TaskError
from seedance_batch.state.attempt import Clip


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
    | Forgotten
    | FileWrong
    | Published
    | Adopted
    | Released
    | Refetch
)
