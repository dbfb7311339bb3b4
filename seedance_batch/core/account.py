"""Who may send where several could: runs that share an account, machines that share a batch.

Arithmetic on what somebody else reads and writes: the rows of an account, the lease of a batch.
Times are seconds on the machine's monotonic clock, which all its processes share, unless it says
otherwise. Nothing here decides what is billed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from seedance_batch.core.attempt import Attempt, Phase, Surety, surety
from seedance_batch.core.pace import WINDOW, RequestBudget, Slots
from seedance_batch.core.pricing import money
from seedance_batch.core.text import in_usd, shown, some

# ── Runs that share an account ────────────────────────────────────────────────────────────────────


LATE: Final = 0.15
"""Seconds after which whoever was told to come and did not is passed over."""
_STILL_WANTS: Final = 2.0
"""Seconds for which a wish for a place holds; it is renewed for as long as there is one."""
_SOON: Final = 10.0
"""Seconds for which a free place is kept for whom it belongs to, as far as its pace goes."""
_USUAL: Final = 120.0
"""Seconds that a generation takes, until one was measured."""
_NEWS: Final = 0.2
"""What the latest length weighs in the usual one."""


class Priority(StrEnum):
    """How urgent a run is beside others under the same key."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def weight(self) -> float:
        """What a second of waiting counts: a high one's counts as ten of a normal one's."""
        return {Priority.HIGH: 10.0, Priority.NORMAL: 1.0, Priority.LOW: 0.1}[self]


@dataclass(slots=True)
class AccountRun:
    """One run as the others see it: who it is, what it has, and what it waits for."""

    id: int
    pid: int
    started: str
    """When that process started, as the system counts; empty where it does not tell."""
    space: str
    """The boot and the space of process numbers that ``pid`` belongs to."""
    folder: str
    rows: int
    begun: float
    """Unix seconds."""
    priority: Priority
    rpm: float
    places: int | None
    """Tasks at once that it was allowed; None: no limit of its own."""
    seen: float
    """When it last wrote here."""
    gone: bool = False
    """Its process is gone or has left; what it had sent still runs at the service."""
    taken: int = 0
    """Tasks in flight, and sends that wait for their answer."""
    accepted: int = 0
    """Tasks in flight alone."""
    lent: int = 0
    """Of `taken`: tasks that seem never to end, whose places others may have."""
    oldest: float = 0.0
    newest: float = 0.0
    """When the first and the last of the taken places was taken."""
    asks_since: float | None = None
    """Since when it waits to send a request; None: it does not."""
    asks_due: float = 0.0
    """When it was told to come for it."""
    waiting: int = 0
    """Rows that wait for a place."""
    wants_since: float | None = None
    """Since when it waits for one."""
    wants_seen: float = 0.0

    @property
    def kept(self) -> int:
        """Places that it has for itself."""
        return max(0, self.taken - self.lent)

    def wants(self, now: float) -> int:
        """Places that it would take in the next seconds, if they were free."""
        if self.gone or not self.waiting or now - self.wants_seen > _STILL_WANTS:
            return 0
        return min(self.waiting, max(1, round(self.rpm * _SOON / WINDOW)))

    def holds(self, now: float, usual: float) -> int:
        """Places that it takes from others.

        A process that is gone holds none; its tasks count until such tasks usually end, since the
        service counts them too.
        """
        if not self.gone:
            return self.kept
        step = (self.newest - self.oldest) / max(1, self.kept - 1)
        return sum(self.oldest + number * step + usual > now for number in range(self.kept))

    def goes_before(self, other: AccountRun, now: float, mine: float, its: float) -> bool:
        """Whether it has waited longer, since ``mine``, than another one since ``its``."""
        here = (now - mine) * self.priority.weight
        there = (now - its) * other.priority.weight
        return (here, -self.id) > (there, -other.id)


@dataclass(slots=True)
class SharedAccount:
    """The requests and places of one account, and the runs that share them."""

    budget: RequestBudget = field(default_factory=lambda: RequestBudget(1.0))
    slots: Slots = field(default_factory=lambda: Slots(None))
    usual: float = _USUAL
    """Seconds that a task takes, about."""
    runs: dict[int, AccountRun] = field(default_factory=dict)

    def live(self) -> list[AccountRun]:
        """Runs whose process is there."""
        return [run for run in self.runs.values() if not run.gone]

    def agree(self) -> None:
        """Each run keeps to its own limits, and all together to the largest of them."""
        live = self.live()
        self.budget.rpm = max((run.rpm for run in live), default=1.0)
        limits = [run.places for run in live]
        known = [limit for limit in limits if limit is not None]
        self.slots.ceiling = max(known) if len(known) == len(limits) and known else None

    def begin_anew(self) -> None:
        """Nobody is there: what was learned of the account may no longer be true."""
        self.slots = Slots(None)
        self.budget.service_limit, self.budget.others = None, 0.0

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def request_at(self, me: AccountRun, now: float) -> float:
        """When this run may send; ``now`` where it may at once.

        Who will have waited longest when the next request is due goes first. Whoever was told to
        come and did not is passed over.
        """
        since = now if me.asks_since is None else me.asks_since
        then = self.budget.next_at(now)
        ahead = sum(
            run.asks_since is not None
            and now <= run.asks_due + LATE
            and run.goes_before(me, then, run.asks_since, since)
            for run in self.live()
            if run is not me
        )
        return self.budget.next_at(now, ahead)

    # ── places ──────────────────────────────────────────────────────────────────────────────────

    def places_for(self, me: AccountRun, now: float) -> int:
        """Tasks that this run may have, beside what the others have and are to have first.

        A free place belongs to the run with the fewest, by their weight, and among equals to the
        one that has waited longest. So a run that comes later soon has as many as the others.
        """
        others = [run for run in self.runs.values() if run is not me]
        held = sum(run.holds(now, self.usual) for run in others)
        free = self.slots.allowed(now) - held - me.kept
        wanted = {run.id: count for run in others if (count := run.wants(now))}
        if free <= 0 or not wanted:
            return me.taken + free
        wanted[me.id] = free
        have = {number: self.runs[number].kept for number in wanted}
        mine = 0
        for _ in range(free):
            first = min(wanted, key=lambda number: self._turn(number, have[number], now))
            have[first] += 1
            wanted[first] -= 1
            mine += first == me.id
            if not wanted[first]:
                del wanted[first]
        return me.taken + mine

    def _turn(self, number: int, have: int, now: float) -> tuple[float, float, int]:
        run = self.runs[number]
        since = now if run.wants_since is None else run.wants_since
        return have / run.priority.weight, since, number

    def accepted(self, now: float) -> int:
        """Tasks that the service is known to work at."""
        left = (run.holds(now, self.usual) for run in self.runs.values() if run.gone)
        return sum(left) + sum(max(0, run.accepted - run.lent) for run in self.live())

    def ended(self, seconds: float) -> None:
        """A place was given back after so long."""
        self.usual += _NEWS * (seconds - self.usual)

    def forget(self, now: float) -> list[int]:
        """Let go of runs that are gone, once their tasks are over too; their numbers."""
        over = [i for i, run in self.runs.items() if run.gone and not run.holds(now, self.usual)]
        for number in over:
            del self.runs[number]
        return over


# ── Money by local day, for a cap on what all folders under one key reserve in a day ──────────────


@dataclass(frozen=True, slots=True)
class DayMoney:
    """What one folder's attempts of one day come to, in US dollars by their estimates."""

    settled: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)
    unknown: Decimal = Decimal(0)
    """Failed, and whether that was charged is not known."""

    @property
    def total(self) -> Decimal:
        """All that counts against a cap."""
        return self.settled + self.reserved + self.unknown

    def __add__(self, other: DayMoney) -> DayMoney:
        return DayMoney(
            self.settled + other.settled,
            self.reserved + other.reserved,
            self.unknown + other.unknown,
        )


@dataclass(slots=True)
class FolderMoney:
    """What one folder has reserved and spent, by the local day of each first send.

    Everything is derived from attempts, so that what is written of it is written whole each time:
    a crash between two writes is mended by the next one.
    """

    _counted: dict[int, tuple[str, Surety, Decimal]] = field(default_factory=dict)
    _set_aside: dict[str, tuple[str, Decimal]] = field(default_factory=dict)
    """By row: what is about to be sent, and what was refused and may be sent again."""
    _sums: dict[str, dict[Surety, Decimal]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Decimal))
    )
    changed: set[str] = field(default_factory=set)
    """Days to be written."""

    def take(self, attempt: Attempt, day: str) -> None:
        """An attempt as it stands; ``day`` is that of its first send, where it is new here."""
        key, sure = attempt.intent.key, surety(attempt.state)
        before = self._counted.pop(attempt.id, None)
        if before is not None:
            day = before[0]
            self._add(*before, sign=-1)
        if sure is None and attempt.state.phase is not Phase.PLANNED:
            self.drop(key)
        elif sure is None and before is not None:
            self.set_aside(key, before[2], day)
        elif sure is not None:
            self.drop(key)
            counted = day, sure, attempt.intent.est_cost or Decimal(0)
            self._counted[attempt.id] = counted
            self._add(*counted)

    def set_aside(self, key: str, cost: Decimal, day: str) -> None:
        """A row is about to be sent; asked for again, it counts once."""
        self.drop(key)
        self._set_aside[key] = day, cost
        self._add(day, Surety.RESERVED, cost)

    def drop(self, key: str) -> None:
        """A row is not about to be sent any more, or counts as an attempt."""
        if (before := self._set_aside.pop(key, None)) is not None:
            self._add(before[0], Surety.RESERVED, before[1], sign=-1)

    def drop_all(self) -> None:
        """Nothing more is about to be sent."""
        for key in list(self._set_aside):
            self.drop(key)

    def of(self, day: str) -> DayMoney:
        """The sums of a day."""
        sums = self._sums.get(day, {})
        return DayMoney(*(sums.get(sure, Decimal(0)) for sure in Surety))

    def _add(self, day: str, sure: Surety, cost: Decimal, *, sign: int = 1) -> None:
        self._sums[day][sure] += sign * cost
        self.changed.add(day)


def fits(cap: Decimal, others: Iterable[DayMoney], mine: DayMoney) -> bool:
    """Whether what all folders have reserved in a day is within its cap."""
    return sum((each.total for each in others), mine.total) <= cap


# ── An account as people and programs are shown it ────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class FolderDays:
    """What one run folder has cost, by its attempts' first sends."""

    folder: str
    today: DayMoney
    month: DayMoney


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account at one moment."""

    origin: str
    """The API's address."""
    key: str
    """Tells the API key from others, and nothing else about it."""
    runs: tuple[AccountRun, ...]
    """Those that are going on."""
    left: int
    """Tasks at the service of runs that are gone."""
    requests: int
    """Of the last minute."""
    others: int
    """Requests of the last minute that nobody on this machine has sent."""
    day_cap: Decimal | None
    folders: tuple[FolderDays, ...]

    @property
    def today(self) -> DayMoney:
        """Of all folders."""
        return sum((each.today for each in self.folders), DayMoney())

    @property
    def month(self) -> DayMoney:
        """Of all folders."""
        return sum((each.month for each in self.folders), DayMoney())

    def as_json(self) -> dict[str, Any]:
        """The account as programs are told it."""
        return {
            "origin": self.origin,
            "key": self.key,
            "runs": [_run_object(run) for run in self.runs],
            "tasks_left": self.left,
            "requests_last_minute": self.requests,
            "requests_of_others": self.others,
            "max_cost_per_day_usd": None if self.day_cap is None else in_usd(self.day_cap),
            "today": _sums(self.today),
            "month": _sums(self.month),
            "folders": [
                {"folder": f.folder, "today": _sums(f.today), "month": _sums(f.month)}
                for f in self.folders
            ],
        }


def _run_object(run: AccountRun) -> dict[str, Any]:
    return {
        "pid": run.pid,
        "folder": run.folder,
        "rows": run.rows,
        "places": run.taken,
        "priority": run.priority,
        "rpm": run.rpm,
        "concurrency": run.places,
    }


def _sums(sums: DayMoney) -> dict[str, str | None]:
    return {
        "settled_usd": in_usd(sums.settled),
        "reserved_usd": in_usd(sums.reserved),
        "unknown_usd": in_usd(sums.unknown),
    }


def account_lines(view: AccountView) -> Iterator[str]:
    """The account in words."""
    others = f", and {view.others} of others" if view.others else ""
    yield f"{shown(view.origin)}, key {view.key}"
    yield f"  {'requests':<12}{view.requests} in the last minute{others}"
    cap = "" if view.day_cap is None else f"; the cap is {money(view.day_cap)} a day"
    yield f"  {'today':<12}{_in_words(view.today)}{cap}"
    yield f"  {'this month':<12}{_in_words(view.month)}"
    if view.left:
        yield f"  {'left':<12}{some(view.left, 'task')} of runs that are gone"
    for run in view.runs:
        what = f"{some(run.rows, 'row')}, {some(run.taken, 'task')} at once"
        urgent = "" if run.priority is Priority.NORMAL else f", {run.priority} priority"
        yield f"  {'running':<12}{shown(run.folder)}: {what}{urgent} (process {run.pid})"
    if not view.runs:
        yield "  no run is going on"
    for each in view.folders:
        yield f"  {shown(each.folder)}"
        yield f"    {'today':<12}{_in_words(each.today)}"
        yield f"    {'this month':<12}{_in_words(each.month)}"


def _in_words(sums: DayMoney) -> str:
    parts = [f"{money(sums.settled)} settled"]
    parts += [f"{money(sums.reserved)} reserved"] if sums.reserved else []
    parts += [f"{money(sums.unknown)} for failed attempts, if charged"] if sums.unknown else []
    return ", ".join(parts)


# ── One batch that several machines can reach: which of them may send, by a lease ─────────────────
# The lease is one small object in the store, and every change of it names the state that it
# replaces, so that of two changes one fails. It has an epoch, which each new owner raises. Nobody
# compares the clocks of two machines: an owner counts from the start of its own last renewal, and
# who waits counts from when it saw the lease change last, each by a clock that never stops:
#
#     owner    renews each 10 s · sends nothing once its last renewal began 30 s ago
#     others   take over what they have seen unchanged for 90 s · or what was given back
#
# A renewal reaches the store after it began, and is seen after that, so that the 90 s of others end
# at least 60 s after the owner's 30: that is as long as a POST may last. A process that is stopped
# between the check and its POST may still send it late. That POST has the key and the bytes that
# the next owner's has for the row, so that the service makes one task of both; and no connection
# that it could leave on outlives the 23 h in which that holds.


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds."""

    renew: float = 10.0
    """Between the starts of two renewals."""
    lapse: float = 30.0
    """After the start of the last renewal, from which on nothing is sent."""
    silence: float = 90.0
    """Without a change, after which others take over: `lapse` and the time of a POST."""


LEASE_TIMES: Final = LeaseTimes()


@dataclass(frozen=True, slots=True)
class Lease:
    """What lies in the store."""

    epoch: int
    owner: str
    """Random; one process's, for one time that it holds the lease."""
    name: str
    """Who that is, for people."""
    home: str
    """The machine and the run folder, whose own lock tells whether a former owner there is dead."""
    at: float
    """The owner's wall clock at its last renewal, for people only."""
    beat: int = 0
    """Counts renewals, so that each has other bytes."""
    event: int = 0
    """The last event of the journal that a copy in the store knows."""
    free: bool = False
    """Whether the owner has given it back."""

    def to_bytes(self) -> bytes:
        """As it lies in the store."""
        return json.dumps({"version": 1, **asdict(self)}, indent=1).encode()


def lease_from(content: bytes) -> Lease:
    """What `Lease.to_bytes` has written. Raises ``ValueError`` for anything else."""
    try:
        found = json.loads(content)
        if found.pop("version") != 1:
            raise ValueError("it is of another version")
        return Lease(**found)
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no lease: {error}") from error


# ── the owner ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Tenure:
    """A lease that this process holds, as far as it knows."""

    lease: Lease
    state: str
    """Of the object in the store, for `Store.put_if`."""
    renewed_at: float
    """When the renewal began that is known to have reached the store, by this process's clock."""
    tried: Lease | None = None
    """A renewal that may have reached it, and when it began first."""
    tried_at: float = 0.0


def may_send(tenure: Tenure, now: float, times: LeaseTimes) -> bool:
    """Whether a POST may begin."""
    return 0 <= now - tenure.renewed_at < times.lapse


def renewal_at(tenure: Tenure, times: LeaseTimes) -> float:
    """When the next renewal is due."""
    return tenure.renewed_at + times.renew


def renewing(tenure: Tenure, now: float, wall: float, event: int) -> Tenure:
    """With the renewal to try. One whose answer was lost is tried again as it was: should it have
    arrived the first time, it counts from then."""
    if tenure.tried is not None:
        return tenure
    lease = replace(tenure.lease, beat=tenure.lease.beat + 1, at=wall, event=event)
    return replace(tenure, tried=lease, tried_at=now)


def renewed(tenure: Tenure, state: str) -> Tenure:
    """After what was tried has arrived."""
    return Tenure(tenure.tried or tenure.lease, state, tenure.tried_at)


def read_back(tenure: Tenure, found: Lease | None, state: str) -> Tenure | None:
    """After a renewal met another state than it knew, by what lies there; None where it is lost."""
    if found is None or (found.owner, found.epoch) != (tenure.lease.owner, tenure.lease.epoch):
        return None
    if found == tenure.tried:
        return renewed(tenure, state)
    return replace(tenure, lease=found, state=state, tried=None)


# ── others ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Sighting:
    """A lease of somebody else's, and since when it has been seen as it is."""

    lease: Lease
    since: float
    changed: bool = False
    """Whether it changed while it was looked at: its owner is alive."""


def sighted(before: Sighting | None, lease: Lease, now: float) -> Sighting:
    """After another look; ``now`` is a time after its answer came."""
    if before is None:
        return Sighting(lease, now)
    return before if before.lease == lease else Sighting(lease, now, changed=True)


def may_take(seen: Sighting, home: str, now: float, times: LeaseTimes) -> bool:
    """Whether the lease may be taken over.

    At once where it was given back, and where its owner was at the same ``home``: who asks holds
    that folder's lock, so that the other is dead.
    """
    lease = seen.lease
    return lease.free or lease.home == home or now - seen.since >= times.silence


def successor(lease: Lease | None, owner: str, name: str, home: str, wall: float) -> Lease:
    """What the next owner puts in the place of a lease, or where there is none."""
    if lease is None:
        return Lease(1, owner, name, home, wall)
    return Lease(lease.epoch + 1, owner, name, home, wall, event=lease.event)


def given_back(tenure: Tenure, wall: float, event: int) -> Lease:
    """What an owner leaves that has ended in order."""
    lease = tenure.tried or tenure.lease
    return replace(lease, beat=lease.beat + 1, at=wall, event=event, free=True)
