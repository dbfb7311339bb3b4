"""The life of an attempt, as one pure function: ``step(state, event) -> state``.

Callback, look, replay, resume and the person's own decisions all arrive here as events, so that
there is one answer to *what happened to this row* and no second code path after a crash::

    planned ⇄ submitting ──► in_flight ──► downloading ──► done
                  │              │              ├──► expired
                  ├──► failed ◄──┘              └──► media_mismatch
                  └──► ambiguous ──► (a person: adopt or release)

Final states absorb every event but a person's own (`Adopted`, `Released`, `Refetch`), save that a
row released by hand still takes the task that turns up after all.
"""

from seedance_batch.state.attempt import (
    FINAL_PHASES,
    UNSETTLED_PHASES,
    Attempt,
    Charged,
    Clip,
    ErrorClass,
    Intent,
    Kind,
    Phase,
    State,
)
from seedance_batch.state.events import (
    Accepted,
    Adopted,
    Doubted,
    Event,
    FileWrong,
    Forgotten,
    KeyMismatch,
    Named,
    Published,
    Refetch,
    Refused,
    Rejected,
    Released,
    Seen,
    Sent,
    Unanswered,
    UrlGone,
    WindowPassed,
)
from seedance_batch.state.lifecycle import (
    FRESH,
    MISSING_VIDEO_PATIENCE,
    step,
)
from seedance_batch.state.meaning import (
    RESEND_WINDOW,
    charged,
    classify,
    counts_against_budget,
    may_resend,
)

__all__ = [
    "FINAL_PHASES",
    "FRESH",
    "MISSING_VIDEO_PATIENCE",
    "RESEND_WINDOW",
    "UNSETTLED_PHASES",
    "Accepted",
    "Adopted",
    "Attempt",
    "Charged",
    "Clip",
    "Doubted",
    "ErrorClass",
    "Event",
    "FileWrong",
    "Forgotten",
    "Intent",
    "KeyMismatch",
    "Kind",
    "Named",
    "Phase",
    "Published",
    "Refetch",
    "Refused",
    "Rejected",
    "Released",
    "Seen",
    "Sent",
    "State",
    "Unanswered",
    "UrlGone",
    "WindowPassed",
    "charged",
    "classify",
    "counts_against_budget",
    "may_resend",
    "step",
]
