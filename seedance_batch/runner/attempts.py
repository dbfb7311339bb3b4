"""What a run is to send, and all attempts of its folder, kept in step with the journal."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import anyio

from seedance_batch.api.client import Answer, Created
from seedance_batch.core.attempt import (
    FINAL_PHASES,
    Attempt,
    Intent,
    Kind,
    Phase,
    State,
    counts_against_budget,
)
from seedance_batch.core.hiapi import Verdict, Voice
from seedance_batch.core.lifecycle import (
    Accepted,
    Event,
    KeyMismatch,
    Refused,
    Rejected,
    Sent,
    Unanswered,
    step,
)
from seedance_batch.events import AttemptChanged, Observer
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal

# ── What is to be bought and on which terms, and what a create's answer means for it ──────────────


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
    kind: Kind = Kind.FINAL
    waits_for: tuple[str, ...] = ()
    """Rows whose clips are to be there first."""
    takes: Mapping[str, int] = field(default_factory=dict)
    """Of these rows and others that feed it, the attempts that it is made from; where a row has
    none, its newest one."""
    height: int = 1
    """Rows that wait in a line for this one, itself included: the highest goes first."""
    fits: bool = True
    """Whether it fits under the cap, as the plan foresees it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What every submit obeys, beside the settings."""

    key_fingerprint: str
    body_of: Callable[[Intent], bytes]
    """The exact bytes of an intent, rebuilt from the journal and checked; raises `BodyLost`."""
    room: Callable[[], bool]
    """Whether clips can still be taken in: lanes, expiry, disk."""
    left_alone: frozenset[int] = frozenset()
    """Unanswered sends that no row asks for any more, and that nobody agreed to resend."""
    may_send: Callable[[], bool] = lambda: True
    """Whether this machine is known to be the batch's only owner; asked right before each POST."""
    lost_since: Callable[[str], float | None] = lambda key: None
    """Of a row: since when an order of it may have been sent of which the record is lost, in Unix
    seconds; None where none was."""
    only_settled: frozenset[int] = frozenset()
    """Those that somebody agreed to: resent to learn whether they exist. Once one is refused, it is
    known that none does, and it is never sent again."""


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


# ── Attempts under way: where an event becomes a state, durably, and then known to everyone ───────
# The states in memory are always those that the journal was handed, in the same order.


_ENDED: Final = FINAL_PHASES | {Phase.AMBIGUOUS}


class Attempts:
    """All attempts of a run folder, kept in step with its journal.

    ``wall`` is the wall clock in Unix seconds.
    """

    def __init__(
        self,
        journal: Journal,
        attempts: Iterable[Attempt],
        *,
        wall: Callable[[], float],
        observer: Observer,
    ) -> None:
        self._journal = journal
        self._wall = wall
        self._observer = observer
        self._pulse = anyio.Event()
        self.by_id: dict[int, Attempt] = {}
        self.by_task: dict[str, int] = {}
        self._phases: dict[Phase, dict[int, None]] = defaultdict(dict)
        self._newest: dict[tuple[str, Kind], int] = {}
        self.ended: deque[Attempt] = deque()
        """Attempts that came to an end, or to one that a person decides, since last looked at."""
        self.committed = Decimal(0)
        """Estimates that count against ``--max-cost``; unknown ones count nothing here."""
        for attempt in attempts:
            self._take(attempt)

    def in_phase(self, *phases: Phase) -> list[Attempt]:
        """Attempts in these phases, in the order in which they came there."""
        return [self.by_id[id] for phase in phases for id in self._phases[phase]]

    def count(self, *phases: Phase) -> int:
        """How many attempts are in these phases."""
        return sum(len(self._phases[phase]) for phase in phases)

    def newest(self, key: str, kind: Kind) -> Attempt | None:
        """A row's newest attempt of a kind."""
        found = self._newest.get((key, kind))
        return None if found is None else self.by_id[found]

    async def add(self, intent: Intent, at: float) -> Attempt:
        """Record an intent that is about to be sent, before it is sent. ``at`` as in `Sent`."""
        state = step(State(), Sent(at))
        (attempt,) = await self._journal.awrite(records.add_attempts([intent], state))
        self._take(attempt)
        self._tell(attempt, None)
        return attempt

    async def apply(self, attempt_id: int, event: Event, detail: str = "") -> Attempt:
        """Take a step; returns once it is durable. An event that changes nothing costs nothing."""
        before = self.by_id[attempt_id]
        state = step(before.state, event)
        if state == before.state:
            return before
        after = Attempt(before.id, before.intent, state)
        self._drop(before)
        self._take(after)
        name = type(event).__name__
        await self._journal.awrite(records.save(after, at=self._wall(), event=name, detail=detail))
        if state.phase in _ENDED:
            self.ended.append(after)
        self._tell(after, before.state.phase)
        return after

    def check(self) -> None:
        """Raises `StorageFailed` where nothing can be recorded any more."""
        self._journal.check()

    async def changed(self, within: float | None = None) -> None:
        """Wait until any attempt takes a step, or for ``within`` seconds."""
        pulse = self._pulse
        with anyio.move_on_after(within):
            await pulse.wait()

    def wake(self) -> None:
        """Let everyone who waits in `changed` look again."""
        self._pulse.set()
        self._pulse = anyio.Event()

    def _tell(self, attempt: Attempt, before: Phase | None) -> None:
        self._observer(AttemptChanged(attempt, before))
        self.wake()

    def _take(self, attempt: Attempt) -> None:
        self.by_id[attempt.id] = attempt
        self._phases[attempt.state.phase][attempt.id] = None
        who = attempt.intent.key, attempt.intent.kind
        self._newest[who] = max(attempt.id, self._newest.get(who, 0))
        if attempt.state.task_id is not None:
            self.by_task[attempt.state.task_id] = attempt.id
        self.committed += _committed(attempt)

    def _drop(self, attempt: Attempt) -> None:
        del self._phases[attempt.state.phase][attempt.id]
        self.committed -= _committed(attempt)


def _committed(attempt: Attempt) -> Decimal:
    if not counts_against_budget(attempt.state):
        return Decimal(0)
    return attempt.intent.est_cost or Decimal(0)
