"""What is to be bought and on which terms, and what a create's answer means for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from seedance_batch.client import Answer, Created
from seedance_batch.state import (
    Accepted,
    Attempt,
    Event,
    Intent,
    KeyMismatch,
    Refused,
    Rejected,
    Unanswered,
)
from seedance_batch.wire import Verdict, Voice


class MediaChanged(Exception):
    """A local file is not what it was when the plan was made."""


class BodyLost(Exception):
    """The exact bytes of an intent cannot be rebuilt from the journal: it is not sent again."""


@dataclass(frozen=True, slots=True)
class Order:
    """A row to buy: its intent is made when its turn comes.

    ``prepare`` stores what the journal lacks of the row's media, and returns the intent; it raises
    `MediaChanged` where a file is no longer what was planned. ``attempt`` is set where an earlier,
    refused try left its intent behind.
    """

    key: str
    cost: Decimal | None
    prepare: Callable[[], Awaitable[Intent]]
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What every submit obeys."""

    key_fingerprint: str
    max_cost: Decimal | None
    max_failures: int | None
    body_of: Callable[[Intent], bytes]
    """The exact bytes of an intent, rebuilt from the journal and checked; raises `BodyLost`."""
    room: Callable[[], bool]
    """Whether clips can still be taken in: lanes, expiry, disk."""
    left_alone: frozenset[int] = frozenset()
    """Unanswered sends that no row asks for any more, and that nobody agreed to resend."""
    only_settled: frozenset[int] = frozenset()
    """Those that somebody agreed to: resent to learn whether they exist. Once one is refused, it is
    known that none does, and it is never sent again."""


def again(order: Order, attempt: Attempt) -> Order:
    """The same order, to be tried with the intent that a refused try left behind."""
    return Order(order.key, order.cost, order.prepare, attempt)


def event_of(answer: Answer[Created], at: float) -> Event:
    """What a create's answer means for its attempt.

    What a gateway or a proxy says is no answer of HiAPI's: a task may have been made before it.
    """
    message = answer.error.message
    if answer.verdict is Verdict.OK and answer.value is not None:
        return Accepted(answer.value.task_id, at, answer.value.replayed)
    if answer.refused or not answer.connected:
        return Refused(message)
    if answer.verdict is Verdict.MISMATCH:
        return KeyMismatch(message, at)
    if answer.verdict is Verdict.INVALID and answer.voice is not Voice.OTHER:
        return Rejected(answer.error, at)
    return Unanswered(message)
