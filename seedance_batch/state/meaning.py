"""What follows from a state: may it be sent again, was it charged, what can be done about it."""

from __future__ import annotations

from typing import Final

from seedance_batch.state.attempt import (
    MADE_PHASES,
    RESERVED_PHASES,
    SENDABLE_PHASES,
    Charged,
    ErrorClass,
    Phase,
    State,
    Surety,
)

RESEND_WINDOW: Final = 23 * 3600.0
"""Seconds a key and its bytes may be sent again; the service forgets keys after about 24 h."""
UNTOLD_LIFE: Final = 24 * 3600.0
"""Seconds that a clip's file is waited for where the service does not say how long it is kept."""
_TRANSIENT_CODES: Final = frozenset(
    {"TASK_TIMEOUT", "STORAGE_UNAVAILABLE", "MODEL_UNAVAILABLE", "PROVIDER_ERROR"}
)
_INVALID_CODES: Final = frozenset({"INVALID_REQUEST", "INPUT_TOO_LARGE", "UNSUPPORTED_FORMAT"})
_REFUSED_CODES: Final = frozenset({"TASK_FAILED", "MODEL_ERROR"})
"""Codes of a failed task's ``error``, in capitals, by what can be done about them.

``TASK_FAILED``, ``TASK_TIMEOUT``, ``STORAGE_UNAVAILABLE``, ``MODEL_UNAVAILABLE`` and
``INVALID_REQUEST`` are HiAPI's documentation's; the others are its blog's, in small letters there
(read in November 2026). Which of them are transient follows from their words: the documentation
only says to mend a request rather than send it again.
"""


def classify(code: str) -> ErrorClass:
    """What a failed task's error code allows; a code unknown here is the row's own fault."""
    name = code.upper()
    if name in _TRANSIENT_CODES:
        return ErrorClass.TRANSIENT
    if name in _INVALID_CODES:
        return ErrorClass.INVALID
    return ErrorClass.REFUSED if name in _REFUSED_CODES else ErrorClass.PERMANENT


def url_is_over(state: State, now: float) -> bool:
    """Whether the time of a clip's URL has passed; ``now`` is the earlier of both clocks.

    A time that had passed when the clip was made says nothing; as where none is said, the file
    may still come for `UNTOLD_LIFE` after that.
    """
    made = state.finished_at or state.submitted_at or now
    said = state.url_expires_at
    if said and said > made:
        return now >= said
    return now - made >= UNTOLD_LIFE


def may_resend(state: State, now: float) -> bool:
    """Whether the same key and bytes may be sent (again); ``now`` is the later of both clocks."""
    if state.phase not in SENDABLE_PHASES:
        return False
    return state.first_sent_at is None or now - state.first_sent_at < RESEND_WINDOW


def charged(state: State) -> Charged:
    """Whether the service charged for it: a success is, a refusal is not, the rest is unknown."""
    if state.phase is Phase.PLANNED:
        return Charged.NO
    if state.phase in MADE_PHASES:
        return Charged.YES
    if state.phase is Phase.FAILED and state.task_id is None:
        return Charged.NO if state.error_class is ErrorClass.INVALID else Charged.UNKNOWN
    return Charged.UNKNOWN


def surety(state: State) -> Surety | None:
    """How sure it is that its estimate is spent; None where it is known to be free."""
    if state.phase in RESERVED_PHASES:
        return Surety.RESERVED
    match charged(state):
        case Charged.YES:
            return Surety.SETTLED
        case Charged.UNKNOWN:
            return Surety.UNKNOWN
        case Charged.NO:
            return None


def counts_against_budget(state: State) -> bool:
    """Whether its estimate stays reserved or spent under ``--max-cost``."""
    return surety(state) is not None
