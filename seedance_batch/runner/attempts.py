"""What a run sends, and in what order; all attempts of its folder, in step with its journal."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import anyio

from seedance_batch.core.attempt import (
    FINAL_PHASES,
    UNDER_WAY_PHASES,
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

if TYPE_CHECKING:
    from seedance_batch.api.client import Answer, Created

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


# ── Which order is next; those that another row's clip feeds wait for it. No I/O ──────────────────


class Queue:
    """Hands out the order that the longest chain waits for, else the first in the plan's order.

    Orders that do not fit under the cap come last, once no other one waits: what a failed row sets
    free may be enough for them.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._places: dict[str, int] = {}
        self._ready: list[tuple[bool, int, int, Order]] = []
        self._waiting: dict[str, tuple[Order, set[str]]] = {}
        """By row: the order, and the rows whose clips it still lacks."""
        self._followers: dict[str, list[str]] = defaultdict(list)
        self._coming: set[str] = set()
        """Rows with an order that was not recorded as an attempt yet."""
        self._fitting = 0
        self.held_back: deque[tuple[Order, str]] = deque()
        """Orders that will not be sent, each with the row that has no clip for it."""

    def __len__(self) -> int:
        return len(self._ready) + len(self._waiting)

    @property
    def is_ready(self) -> bool:
        """Whether an order may be sent now."""
        if not self._ready:
            return False
        return self._ready[0][3].fits or not self._fitting

    @property
    def ready(self) -> int:
        """Orders that may be sent now, one after another."""
        return len(self._ready) if self.is_ready else 0

    @property
    def first(self) -> Order:
        """The order that is next; only where one `is_ready`."""
        return self._ready[0][3]

    def fill(self, orders: Iterable[Order]) -> None:
        """Take the orders of a run, in the plan's order."""
        added = list(orders)
        self._coming.update(order.key for order in added)
        for order in added:
            self._places[order.key] = len(self._places)
            self._fitting += order.fits
        for order in added:
            lacks = set(order.waits_for)
            for key in lacks:
                self._followers[key].append(order.key)
            if lacks:
                self._waiting[order.key] = order, lacks
            else:
                self.put_back(order, again=False)
        for key in self._followers.keys() - self._coming:  # on its way before the run began
            self._row_ended(key)

    def take(self) -> Order:
        """The next order; it is nobody's until it was recorded, put back, or given up."""
        order = heapq.heappop(self._ready)[3]
        self._fitting -= order.fits
        return order

    def put_back(self, order: Order, *, again: bool = True) -> None:
        """An order that was refused: it keeps its place."""
        self._fitting += order.fits and again
        self._coming.add(order.key)
        place = self._places[order.key]
        heapq.heappush(self._ready, (not order.fits, -order.height, place, order))

    def recorded(self, order: Order) -> None:
        """The order is an attempt now, whose state says what becomes of it."""
        self._coming.discard(order.key)

    def give_up(self, order: Order) -> None:
        """The order is not sent in this run, and so no row that waits for it."""
        self._coming.discard(order.key)
        for follower in self._followers.pop(order.key, ()):
            self._hold_back(follower, order.key)

    def hear(self) -> None:
        """Take in which rows came to an end since: who waited for them is ready, or never will."""
        while self._attempts.ended:
            ended = self._attempts.ended.popleft()
            if ended.intent.key in self._followers:
                self._row_ended(ended.intent.key)

    def _row_ended(self, key: str) -> None:
        if key in self._coming:
            return
        left = []
        for follower in self._followers.pop(key, ()):
            phase = self._phase_for(follower, key)
            if phase in UNDER_WAY_PHASES:
                left.append(follower)
            elif phase is Phase.DONE:
                self._feed(follower, key)
            else:
                self._hold_back(follower, key)
        if left:
            self._followers[key] = left

    def _phase_for(self, follower: str, key: str) -> Phase | None:
        """How the take stands that a row waits for: a row may have newer ones, and drafts."""
        if follower not in self._waiting:
            return None
        order, _ = self._waiting[follower]
        take = order.takes.get(key)
        if take is not None:
            return self._attempts.by_id[take].state.phase
        newest = self._attempts.newest(key, order.kind)
        return None if newest is None else newest.state.phase

    def _feed(self, follower: str, key: str) -> None:
        if follower not in self._waiting:
            return
        order, lacks = self._waiting[follower]
        lacks.discard(key)
        if not lacks:
            del self._waiting[follower]
            self.put_back(order, again=False)

    def _hold_back(self, follower: str, key: str) -> None:
        left = [(follower, key)]
        while left:  # a chain may be long
            name, because = left.pop()
            if name in self._waiting:
                order, _ = self._waiting.pop(name)
                self._fitting -= order.fits
                self._coming.discard(name)
                self.held_back.append((order, because))
                left += [(each, because) for each in self._followers.pop(name, ())]
