"""When requests may go, how many tasks may run, when to look: arithmetic on passed-in time.

Times are seconds on one monotonic clock that the caller reads. Nothing here waits, sends or
draws a random number; jitter comes in as a number between 0 and 1.
"""

from seedance_batch.pacing.budget import BURST, WINDOW, RequestBudget, is_rate_refusal
from seedance_batch.pacing.looks import Demand, Flight, Look, Looks
from seedance_batch.pacing.overdue import (
    is_given_up,
    is_overdue,
    is_unknown,
    overdue_from,
    spare_places,
)
from seedance_batch.pacing.places import PAGE_SIZE, Places
from seedance_batch.pacing.retries import Breaker, RetryBudget, backoff, file_pause
from seedance_batch.pacing.slots import SLOW_START, Slots
from seedance_batch.pacing.spans import Spans
from seedance_batch.pacing.trust import Trust, Word, is_old, wants_check

__all__ = [
    "BURST",
    "PAGE_SIZE",
    "SLOW_START",
    "WINDOW",
    "Breaker",
    "Demand",
    "Flight",
    "Look",
    "Looks",
    "Places",
    "RequestBudget",
    "RetryBudget",
    "Slots",
    "Spans",
    "Trust",
    "Word",
    "backoff",
    "file_pause",
    "is_given_up",
    "is_old",
    "is_overdue",
    "is_rate_refusal",
    "is_unknown",
    "overdue_from",
    "spare_places",
    "wants_check",
]
