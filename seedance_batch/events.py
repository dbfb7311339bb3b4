"""What a run tells whoever watches: values, no behaviour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from seedance_batch.core.attempt import Attempt, Phase


class Stop(StrEnum):
    """Why a run stopped submitting before its rows were all sent."""

    ACCOUNT = "account"
    """401, 402 or 403 from the API."""
    BUDGET = "budget"
    """The next row would pass ``--max-cost``."""
    DAY_BUDGET = "day_budget"
    """The next row would pass ``--max-cost-per-day``, or that cap cannot be kept."""
    CANARY = "canary"
    """``--canary`` rows did not come back well, so that the others were held back."""
    FAILURES = "failures"
    """``--max-failures`` failures in a row."""
    SIGNAL = "signal"
    """Ctrl-C or SIGTERM."""
    WAIT = "wait"
    """``--wait`` is over."""
    ELSEWHERE = "elsewhere"
    """Who answers is not HiAPI's API."""
    NOT_UNDERSTOOD = "not_understood"
    """Creates are answered with what HiAPI does not say."""
    OWNER = "owner"
    """Another machine has taken over the batch in the store."""
    STORE = "store"
    """The store has not answered for so long that this run may no longer be the only one."""
    ERROR = "error"
    """An error of the program itself."""


@dataclass(frozen=True, slots=True)
class AttemptChanged:
    """An attempt took a step; ``before`` is None for a new one."""

    attempt: Attempt
    before: Phase | None


@dataclass(frozen=True, slots=True)
class BytesArrived:
    """Bytes of a clip were received."""

    count: int


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """A request to the API ended, with its verdict: ``create``, ``list`` or ``get``."""

    what: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """No more submits, and why, in words for people."""

    why: Stop
    message: str


@dataclass(frozen=True, slots=True)
class RowSkipped:
    """A row was left alone although it was planned, and why."""

    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something worth a line on stderr."""

    message: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The service asked to be left alone for so long."""

    seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class PosterMade:
    """After the last row: a poster that the review page lacked was made."""

    count: int
    """How many are made, this one included."""
    of: int


RunEvent = (
    AttemptChanged
    | BytesArrived
    | RequestEnded
    | Stopping
    | RowSkipped
    | Remark
    | Paused
    | PosterMade
)
Observer = Callable[[RunEvent], None]
