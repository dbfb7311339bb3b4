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

from seedance_batch.state.attempt import (
    COMING_PHASES,
    FINAL_PHASES,
    GENERATING_PHASES,
    KEPT_PHASES,
    SENDABLE_PHASES,
    TASKLESS_PHASES,
    UNDER_WAY_PHASES,
    UNFINISHED_PHASES,
    UNSETTLED_PHASES,
    Attempt,
    Charged,
    Clip,
    ErrorClass,
    Intent,
    Kind,
    Phase,
    State,
    Surety,
    TakeName,
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
    LOOK_AGAIN,
    MISSING_VIDEO_PATIENCE,
    step,
    was_given_up_early,
)
from seedance_batch.state.meaning import (
    RESEND_WINDOW,
    UNTOLD_LIFE,
    charged,
    classify,
    counts_against_budget,
    may_resend,
    surety,
    url_is_over,
)
from seedance_batch.state.sums import Sum, spent, sums

__all__ = [
    "COMING_PHASES",
    "FINAL_PHASES",
    "FRESH",
    "GENERATING_PHASES",
    "KEPT_PHASES",
    "LOOK_AGAIN",
    "MISSING_VIDEO_PATIENCE",
    "RESEND_WINDOW",
    "SENDABLE_PHASES",
    "TASKLESS_PHASES",
    "UNDER_WAY_PHASES",
    "UNFINISHED_PHASES",
    "UNSETTLED_PHASES",
    "UNTOLD_LIFE",
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
    "Sum",
    "Surety",
    "TakeName",
    "Unanswered",
    "UrlGone",
    "WindowPassed",
    "charged",
    "classify",
    "counts_against_budget",
    "may_resend",
    "spent",
    "step",
    "sums",
    "surety",
    "url_is_over",
    "was_given_up_early",
]
