"""A run's share of an account that other runs on this machine use as well.

It paces, and never decides what is billed: whatever goes wrong with the account's file, the run
goes on by itself, and says so once. Only a cap on what a day may cost fails closed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from seedance_batch.core.account import AccountRun, FolderMoney, Priority, SharedAccount, fits
from seedance_batch.core.attempt import Attempt
from seedance_batch.core.pace import Slots
from seedance_batch.core.pricing import money, up_to_a_cent
from seedance_batch.events import AttemptChanged, RowSkipped, RunEvent
from seedance_batch.runner.account_file import AccountBusy, AccountFile, process_space, started_at

_TICK: Final = 0.1
"""Seconds between looks at what others have written."""
_HEARTBEAT: Final = 5.0
"""Seconds between signs of life."""
_RENEW: Final = 0.5
"""Seconds between signs that a place is still wanted."""
_BUSY: Final = 0.02
"""Seconds until the file is tried again that another process is just writing."""
_STUCK: Final = 10.0
"""Seconds of that after which the file is given up."""
_TRIES: Final = 25
"""The same, as tries, where a row's cost has to be written before the row is sent."""


def local_day(at: float) -> str:
    """The local day of a moment in Unix seconds, as ``2026-11-27``."""
    return time.strftime("%Y-%m-%d", time.localtime(at))


def unusable(path: Path | None, why: object) -> str:
    """That the file of an account cannot be used, in words."""
    file = "the file" if path is None else str(path)
    return f"{file}, by which runs under one key share the account, cannot be used ({why})"


def alone_note(path: Path | None, why: object) -> str:
    """That a run knows nothing of the others under its key."""
    return (
        f"this run paces by itself: {unusable(path, why)}. Runs beside it may be refused more often"
    )


@dataclass(frozen=True, slots=True)
class Membership:
    """What a run says of itself where it joins an account."""

    origin: str
    folder: Path
    folder_id: str
    rows: int
    rpm: float
    places: int | None
    priority: Priority = Priority.NORMAL
    day_cap: Decimal | None = None
    """US dollars a day over all folders; infinite lifts the cap that is kept, None keeps it."""


class Account:
    """Asked before each request, and told what this run has under way.

    ``now`` is everywhere the machine's monotonic clock, which is asyncio's. Where the file fails,
    `alone` says why, and the run paces by itself from then on.
    """

    def __init__(
        self,
        path: Path,
        membership: Membership,
        *,
        tell: Callable[[str], None],
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Join it. Raises ``OSError`` where that cannot be."""
        self.alone: str | None = None
        self._tell = tell
        self._wall = wall
        self._clock = clock
        self._folder_id = membership.folder_id
        pid, now = os.getpid(), clock()
        self._me = AccountRun(
            0, pid, started_at(pid), process_space(), str(membership.folder), membership.rows,
            wall(), membership.priority, membership.rpm, membership.places, now,
        )  # fmt: skip
        self._later: list[Callable[[SharedAccount], None]] = []
        """What answers taught, until it is known what the others did meanwhile."""
        self._taken: deque[float] = deque()
        """When each of this run's places was taken, the oldest first."""
        self._rows_left = membership.rows
        """Rows that wait to be sent, as far as was counted last."""
        self._money = FolderMoney()
        self._busy_since: float | None = None
        self._file = AccountFile(path, self._me, timer)
        self.day_cap = self._file.join(now, membership.origin, membership.day_cap)

    @property
    def path(self) -> Path:
        """The account's file."""
        return self._file.path

    @property
    def seconds(self) -> float:
        """What the file has taken of this run's time, for those who measure it."""
        return self._file.seconds

    @property
    def _state(self) -> SharedAccount:
        return self._file.state

    @contextlib.contextmanager
    def _writing(self, now: float, *, lasting: bool = False) -> Iterator[SharedAccount]:
        """A transaction, with what was learned before it; see `AccountFile.writing`."""
        with self._file.writing(now, lasting=lasting) as state:
            self._busy_since = None
            for change in self._later:
                change(state)
            self._later.clear()
            yield state
            for day in self._money.changed:
                self._file.save_money(self._folder_id, day, self._money.of(day))
            self._money.changed.clear()

    def _write(self, now: float) -> None:
        """Let others know what changed here, and learn what changed there."""
        if self.alone is None:
            try:
                with self._writing(now):
                    pass
            except OSError as error:
                self._failed(error, now)

    def _failed(self, error: OSError, now: float) -> None:
        """Another process is writing: ask again. Any other trouble, or that for long, ends it."""
        if isinstance(error, AccountBusy):
            self._busy_since = now if self._busy_since is None else self._busy_since
            if now - self._busy_since < _STUCK:
                return
        if self.alone is None:
            self.alone = str(error)
            self._tell(alone_note(self.path, error))

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def ask(self, now: float, *, new_task: bool = False) -> float:
        """When a request may start; ``now``: at once, and it is counted.

        ``new_task``: one that takes a place too, and is not counted before there is one.
        """
        if self.alone is not None:
            return now
        try:
            with self._writing(now):
                return self._granted(now, new_task)
        except OSError as error:
            self._failed(error, now)
            return now if self.alone is not None else now + _BUSY

    def _granted(self, now: float, new_task: bool) -> float:
        me, state = self._me, self._state
        if new_task and me.taken >= state.places_for(me, now):
            me.asks_since = None
            return now + _TICK
        at = state.request_at(me, now)
        if at > now:
            me.asks_since = now if me.asks_since is None else me.asks_since
            me.asks_due = at
            return at
        me.asks_since = None
        self._file.add_request(now)
        if new_task:
            me.wants_since, me.waiting = None, max(0, me.waiting - 1)
            self.counts(me.taken + 1, now)
        return now

    def withdraw(self, now: float) -> None:
        """Whoever waited to send waits no more."""
        if self._me.asks_since is not None:
            self._me.asks_since = None
            self._write(now)

    def count(self, now: float) -> int:
        """Requests of the last minute, of all runs."""
        return self._state.budget.count(now)

    @property
    def limit(self) -> int:
        """Requests a minute for all runs together."""
        return self._state.budget.limit

    @property
    def spacing(self) -> float:
        """Seconds between two requests of this run, where all want to send."""
        return self._state.budget.spacing * max(1, len(self._state.live()))

    def hold(self, until: float) -> None:
        """The service asked for silence until then: it holds for every run."""
        self._later.append(lambda state: state.budget.hold(until))
        self._write(self._clock())

    def told(
        self, limit: int | None, remaining: int | None, reset_in: float | None, now: float
    ) -> None:
        """What an answer's ``X-RateLimit-*`` say; see `RequestBudget.told`."""
        if limit is None and remaining is None:
            return
        # Weighed once it is known what the other runs had sent by then.
        self._later.append(lambda state: state.budget.told(limit, remaining, reset_in, now))

    def refused(self, now: float) -> None:
        """The service refused a request for its rate; see `RequestBudget.refused`."""
        self._later.append(lambda state: state.budget.refused(now))

    @property
    def others(self) -> float:
        """Requests of the last minute that nobody on this machine has sent."""
        return self._state.budget.others

    # ── places ──────────────────────────────────────────────────────────────────────────────────

    def places(self, now: float) -> int:
        """Tasks that this run may have, as far as was last read."""
        return self._state.places_for(self._me, now)

    def counts(self, taken: int, now: float) -> None:
        """So many places are taken by this run."""
        while len(self._taken) > taken:
            seconds = now - self._taken.popleft()
            self._later.append(partial(SharedAccount.ended, seconds=seconds))
        while len(self._taken) < taken:
            self._taken.append(now)
        me = self._me
        me.taken = taken
        me.oldest, me.newest = (self._taken[0], self._taken[-1]) if taken else (now, now)

    def wants_place(self, now: float, *, wanted: bool = True) -> None:
        """A row waits for a place, or none does."""
        me = self._me
        if not wanted:
            me.waiting, me.wants_since = 0, None
            return
        me.waiting = max(1, self._rows_left)
        me.wants_since = now if me.wants_since is None else me.wants_since
        me.wants_seen = now

    def lend(self, places: int) -> None:
        """So many of this run's tasks seem never to end: others may have their places."""
        self._me.lent = places

    def task_accepted(self, accepted: int) -> None:
        """The service accepted a task; ``accepted`` of this run are in flight."""
        if self.alone is not None:
            return
        self._me.accepted = accepted
        now = self._clock()
        self._later.append(lambda state: state.slots.accepted(state.accepted(now)))

    def task_refused(self, accepted: int, now: float, generation: float, pause: float) -> None:
        """A create was refused because too many tasks run; see `Slots.refused`."""
        if self.alone is not None:
            return
        self._me.accepted = accepted
        self._later.append(
            lambda state: state.slots.refused(state.accepted(now), now, generation, pause)
        )
        self._write(now)

    def next_change(self, now: float) -> float:
        """When there may be more places without anybody's doing."""
        return self._state.slots.next_change(now)

    async def keep(
        self, census: Callable[[], tuple[int, int, int]], wake: Callable[[], None]
    ) -> None:
        """Tell the others what this run has, and wake it when they have changed something.

        ``census``: places taken, tasks accepted, and rows that wait. Until cancelled.
        """
        written, written_at = (0, 0, 0), float("-inf")
        while self.alone is None:
            await anyio.sleep(_TICK)
            found, now = census(), self._clock()
            taken, self._me.accepted, self._rows_left = found
            self.counts(taken, now)
            waits = self._rows_left > 0
            if not waits:
                self.wants_place(now, wanted=False)
            elif self._me.wants_since is not None:
                self.wants_place(now)
            news = self._later or self._money.changed or found != written
            alone = len(self._state.runs) == 1
            if news or now - written_at > (_HEARTBEAT if alone or not waits else _RENEW):
                self._write(now)
                written, written_at = found, now
            elif not self._learned(now):
                continue
            if waits and not alone:
                wake()

    def _learned(self, now: float) -> bool:
        """Whether others have written something, which is read then."""
        try:
            return self._file.read()
        except OSError as error:
            self._failed(error, now)
            return False

    # ── money ───────────────────────────────────────────────────────────────────────────────────

    def take_stock(self, attempts: Iterable[Attempt], key_fingerprint: str) -> None:
        """What the folder's journal says of money goes before what an earlier run wrote of it.

        ``key_fingerprint`` is this key's by the journal's salt; attempts of other keys are theirs.
        """
        for attempt in attempts:
            sent_at = attempt.state.submitted_at
            if sent_at is not None and attempt.intent.key_fingerprint == key_fingerprint:
                self._money.take(attempt, local_day(sent_at))
        try:
            with self._writing(self._clock()):
                self._file.forget_money(self._folder_id)
        except OSError as error:
            self._failed(error, self._clock())

    def observe(self, event: RunEvent) -> None:
        """Learn what a row has cost, or that it is not sent after all."""
        if isinstance(event, AttemptChanged):
            self._money.take(event.attempt, local_day(self._wall()))
        elif isinstance(event, RowSkipped):
            self._money.drop(event.key)

    def reserve(self, key: str, cost: Decimal | None) -> str | None:
        """Count what a row is about to cost today; why it may not be sent, in words, else None."""
        day = local_day(self._wall())
        if self.day_cap is None:
            self._money.set_aside(key, cost or Decimal(0), day)
            return None
        if cost is None:
            return f"row {key} has no known price, and there is a cap for the day"
        for _ in range(_TRIES):
            if self.alone is not None:
                return f"the day's cap cannot be kept: {unusable(self.path, self.alone)}"
            try:
                with self._writing(self._clock(), lasting=True):
                    return self._reserved(key, cost, day, self.day_cap)
            except OSError as error:
                self._failed(error, self._clock())
        return f"the day's cap cannot be kept: another process does not let go of {self.path}"

    def _reserved(self, key: str, cost: Decimal, day: str, cap: Decimal) -> str | None:
        self._money.set_aside(key, cost, day)
        others, mine = self._file.money_of_others(self._folder_id, day), self._money.of(day)
        if fits(cap, others, mine):
            return None
        self._money.drop(key)
        total = sum((each.total for each in others), mine.total)
        return (
            f"row {key} would bring today's estimate, of all folders under this key, to "
            f"{money(up_to_a_cent(total))}, over {money(cap)} a day"
        )

    def close(self) -> None:
        """Leave the account; tasks that still run at the service count until they end."""
        me, now = self._me, self._clock()
        me.asks_since = me.wants_since = None
        me.gone = True
        self._money.drop_all()
        try:
            if self.alone is None:
                with self._writing(now):
                    if not me.taken:
                        self._file.drop(me.id)
        except OSError:
            return  # whoever looks next finds the process gone
        finally:
            self._file.close()


class SharedSlots(Slots):
    """The slots of a run beside others: its own ceiling, and what the account has left for it.

    What refusals teach belongs to the account; the run's own count goes on beside it, for the case
    that the file fails.
    """

    def __init__(self, ceiling: int | None, account: Account) -> None:
        super().__init__(ceiling)
        self._account = account

    def admits(self, taken: int, now: float) -> bool:
        """Whether one more task may be in flight; a run that has to wait for it stands in line."""
        account = self._account
        if account.alone is not None:
            return super().admits(taken, now)
        account.counts(taken, now)
        own = self.ceiling is None or taken < self.ceiling + self.spared
        account.wants_place(now, wanted=own)
        return own and taken < account.places(now)

    def no_room(self, now: float) -> None:
        """No row is to be sent for other reasons: whoever waits behind this run may go."""
        self._account.wants_place(now, wanted=False)

    def next_change(self, now: float) -> float:
        """See `Slots.next_change`."""
        account = self._account
        return super().next_change(now) if account.alone else account.next_change(now)

    def spare(self, places: int) -> None:
        """See `Slots.spare`."""
        super().spare(places)
        self._account.lend(places)

    def accepted(self, in_flight: int) -> None:
        """See `Slots.accepted`."""
        super().accepted(in_flight)
        self._account.task_accepted(in_flight)

    def refused(self, in_flight: int, now: float, generation: float, pause: float = 0.0) -> None:
        """See `Slots.refused`."""
        super().refused(in_flight, now, generation, pause)
        self._account.task_refused(in_flight, now, generation, pause)
