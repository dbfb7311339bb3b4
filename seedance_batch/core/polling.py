"""When and where to look at tasks in flight, learned from those that ended: arithmetic only.

Times are seconds on one monotonic clock that the caller reads; nothing here waits or sends."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import Final, Generic, TypeVar

# ── How long generations take, learned from those that ended: a survival curve over their age ─────


_FIRST: Final = 0.101
"""Seconds: the end of the first bin."""
_GROWTH: Final = math.log(1.12)
_BINS: Final = 108
"""Up to 20,000 s in steps of 12 %, half of what generations of one size scatter."""
_KERNEL: Final = (0.1, 0.2, 0.4, 0.2, 0.1)
"""A measured length speaks for its neighbours as well."""
_KEEP: Final = 0.98
"""What a new length leaves of the older ones: about the last fifty count."""
_DOUBT: Final = 0.02
"""Share of tasks that end at any age at all: those that fail early, those that take ages."""
_TRUST: Final = 1.5
"""Lengths of which half is believed."""
_EDGES: Final = tuple(_FIRST * math.exp(number * _GROWTH) for number in range(_BINS + 1))


@dataclass(slots=True)
class Spans:
    """Lengths of generations of one kind, in seconds."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    _bins: list[float] = field(default_factory=lambda: [0.0] * _BINS)
    _curve: list[float] = field(default_factory=list)
    """Share of generations that are not over, at each edge; drawn when it is asked for."""
    _area: list[float] = field(default_factory=list)
    """The area below that curve, up to each edge."""

    def learned(self, seconds: float) -> None:
        """One more ended after so long."""
        self.recent.append(seconds)
        self._bins = [weight * _KEEP for weight in self._bins]
        for number, weight in enumerate(_KERNEL, _bin(seconds) - 2):
            self._bins[min(max(number, 0), _BINS - 1)] += weight
        self._curve.clear()

    def typical(self) -> float:
        """The median; there must be one length at least."""
        return median(self.recent)

    def waited(self, then: float, now: float) -> float:
        """Seconds that a generation has been over, on average, at the age ``now``.

        It was known not to be over at the age ``then``. With S the curve, it is over by the age a
        with probability 1 - S(a)/S(then); what it has waited is that, summed over all ages from
        ``then`` to ``now``: their distance, less the area below S between them, over S(then).
        """
        area, alive = self._below(then)
        return (now - then) - (self._below(now)[0] - area) / alive

    def _below(self, age: float) -> tuple[float, float]:
        """Area below the curve up to an age, and the curve's height there."""
        if age <= _FIRST:
            return age, 1.0
        if not self._curve:
            self._draw()
        number = _bin(age)
        rest = age - _EDGES[number]
        here, there = self._curve[number], self._curve[min(number + 1, _BINS)]
        slope = (there - here) / (_EDGES[number] * (math.exp(_GROWTH) - 1.0))
        height = here + slope * rest
        return self._area[number] + rest * (here + height) / 2, height

    def _draw(self) -> None:
        """The curve: what was learned, and doubt where little was.

        A mixture: after n lengths doubt weighs 1.5/(1.5 + n), so that the first of them do not
        decide alone, and never less than 2 %, so that the curve never falls to nothing. The area
        is summed in trapezoids, one a bin.
        """
        total = left = sum(self._bins)
        doubt = max(_DOUBT, _TRUST / (_TRUST + total))
        self._curve, self._area = [1.0], [_FIRST]
        for number in range(_BINS):
            left = max(0.0, left - self._bins[number])
            known = left / total if total else 1.0
            self._curve.append((1 - doubt) * known + doubt * _UNKNOWN[number + 1])
            width = _EDGES[number + 1] - _EDGES[number]
            self._area.append(self._area[-1] + width * sum(self._curve[-2:]) / 2)


def _bin(seconds: float) -> int:
    """The bin that a length falls into; the last one takes all that are longer."""
    return min(max(0, int(math.log(max(seconds, _FIRST) / _FIRST) / _GROWTH)), _BINS)


_UNKNOWN: Final = tuple(
    max(1e-6, 1.0 - math.log(edge / _FIRST) / math.log(2 * _EDGES[-1] / _FIRST)) for edge in _EDGES
)
"""Survival where nothing is known: every order of magnitude is as likely as any other."""


# ── When to look at tasks in flight, and at which of them: a look is worth what it may find ───────
# A look costs a request (`price`), and not looking costs the seconds that ended tasks wait to be
# noticed (`worth`). Tasks that end at a rate r have waited r·t²/2 seconds together after t
# seconds; looking every t seconds costs price/t + r·t/2 a second, which is least where r·t²/2 =
# price. So a look is due as soon as its worth has grown to its price, whatever the rate.


Size = tuple[str, int]
"""Resolution and seconds: tasks of one size take about the same time."""

_ASSUMED_GENERATION: Final = 60.0
"""Seconds that a generation takes, until this run has measured one."""
_SHARE: Final = 11
"""Requests between two looks, while submits could use every one of them."""
_PATIENCE: Final = 60.0
"""Seconds after which everything in flight is looked at, whatever is expected of it."""
_REST: Final = 1.5
"""Seconds for each look that did not find a task, before the next one at it."""
_OLD_AGE: Final = 0.1
"""Share of the youngest one's age that old tasks may go without a look, up to ten minutes."""
_LONGEST: Final = 600.0
_PATIENCE_TOLD: Final = 100.0
"""The same, while callbacks tell nearly everything."""
_MOSTLY: Final = 0.1
"""Share of endings that callbacks may leave untold, to be relied upon."""
_TRUSTED: Final = 4.5, 5.0
"""Before any ending is known, callbacks are trusted as if they had told so many of so many."""
_KEEP_LOOKS: Final = 0.98
"""What a new ending leaves of the older ones: about the last fifty count."""
_SAMPLE: Final = 24
"""Flights at one place that are reckoned with; more would only cost time."""
_EXACT: Final = 0.25
"""Seconds within which a look is due, and the same share of a wait that is shorter than one."""

P = TypeVar("P", bound=Hashable)


class Demand(Enum):
    """What rows that wait to be sent are short of, and what a look has to be worth then.

    Worth is counted in seconds that ended tasks have waited to be noticed, all together.
    """

    SLOTS = 0.1
    """An ended task that is not noticed keeps a row waiting; requests are left over."""
    NOTHING = 1.0
    """No row waits."""
    REQUESTS = 10.0
    """A look takes a submit's turn."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A task in flight, as far as timing is concerned."""

    accepted_at: float
    size: Size
    seen_at: float
    """When it was last known not to be over."""
    hinted: bool = False
    """Somebody unproven says that it is over."""
    misses: int = 0
    """Looks in a row that did not find it."""
    missing_since: float | None = None
    """When it was first not found."""

    @property
    def rest(self) -> float:
        """Seconds between looks at it, at least: what is not found is asked for ever less often."""
        return min(_PATIENCE, _REST * self.misses)


@dataclass(frozen=True, slots=True)
class Look(Generic[P]):
    """What to look at next, and when."""

    at: float
    place: P


@dataclass(slots=True)
class Looks:
    """Plans looks from this run's own generation times, and from what callbacks leave untold."""

    floor: float
    """``--poll-interval``: seconds between looks at the same place, at least."""
    called_back: bool = False
    """Callbacks are expected."""
    _spans: dict[Size, Spans] = field(default_factory=dict)
    _all: Spans = field(default_factory=Spans)
    _made: dict[Size, deque[float]] = field(default_factory=dict)
    """Lengths of the last generations that brought a clip, by size."""
    _told: float = _TRUSTED[0]
    _ended: float = _TRUSTED[1]

    def learned(self, size: Size, seconds: float, *, told: bool = False, made: bool = True) -> None:
        """A task of that size took so long; ``told``: a callback said so before a look did.

        ``made``: it brought a clip; those that fail may do so at once.
        """
        self._spans.setdefault(size, Spans()).learned(seconds)
        self._all.learned(seconds)
        if made:
            self._made.setdefault(size, deque(maxlen=50)).append(seconds)
        self._told = self._told * _KEEP_LOOKS + told
        self._ended = self._ended * _KEEP_LOOKS + 1.0

    def typical(self) -> float:
        """Median seconds of a generation, or as assumed."""
        return self.usual() or _ASSUMED_GENERATION

    def lengths(self, size: Size) -> tuple[list[float], list[float]]:
        """How long generations that brought a clip took: of that size, and of all, sorted."""
        every = sorted(length for lengths in self._made.values() for length in lengths)
        return sorted(self._made.get(size, ())), every

    def usual(self) -> float | None:
        """Median seconds of a generation; None until one was measured."""
        return self._all.typical() if self._all.recent else None

    @property
    def untold(self) -> float:
        """Share of endings that only a look finds."""
        return 1.0 - self._told / self._ended if self.called_back else 1.0

    @property
    def relies_on_callbacks(self) -> bool:
        """Whether looks are a safety net only."""
        return self.untold <= 2 * _MOSTLY

    def next(
        self,
        now: float,
        flights: Mapping[P, Sequence[Flight]],
        looked: Mapping[P, float],
        *,
        spacing: float,
        demand: Demand,
    ) -> Look[P] | None:
        """The next look, from flights by the place that one request shows: a page, a task.

        No place is empty; ``looked`` are the times of earlier looks, ``spacing`` the seconds
        between requests. None where nothing is in flight.
        """
        due = {
            place: self._due(seen, looked.get(place, seen[0].seen_at), self._price(spacing, demand))
            for place, seen in flights.items()
        }
        if not due:
            return None
        at = max(now, min(due.values()))
        if demand is Demand.REQUESTS and looked:
            at = max(at, max(looked.values()) + _SHARE * spacing)
        ready = [place for place, its in due.items() if its <= at]
        return Look(at, max(ready, key=lambda place: self._worth(flights[place], at)))

    def _price(self, spacing: float, demand: Demand) -> float:
        """Seconds of waiting that a look has to be worth; less where requests are plenty."""
        # Callbacks make a look worth less, twice: of the tasks that are over only the untold share
        # is still unnoticed, and of those that share alone would not be told a moment later. To
        # divide the price once is the same as to multiply every worth, and cheaper.
        return min(1.0, spacing) * demand.value / self.untold**2

    def _due(self, flights: Sequence[Flight], looked: float, price: float) -> float:
        """When a look at these is worth its request; bisected, since worth only grows."""
        rest = min(flight.rest for flight in flights) if flights[0].misses else 0.0
        early = looked + max(self.floor, rest)
        late = max(early, looked + self._patience(looked - flights[-1].accepted_at))
        if late <= early or self._worth(flights, early) >= price:
            return early
        if self._worth(flights, late) < price:
            return late
        while late - early > _EXACT * min(1.0, late - looked):
            middle = (early + late) / 2
            if self._worth(flights, middle) < price:
                early = middle
            else:
                late = middle
        return late

    def _patience(self, youngest: float) -> float:
        usual = _PATIENCE_TOLD if self.untold < _MOSTLY else _PATIENCE
        return max(usual, min(_LONGEST, _OLD_AGE * youngest))

    def _worth(self, flights: Sequence[Flight], at: float) -> float:
        """Seconds that tasks of these are likely to have been over by then, unnoticed."""
        stride = -(-len(flights) // _SAMPLE)
        return stride * sum(self._waited(flight, at) for flight in flights[::stride])

    def _waited(self, flight: Flight, at: float) -> float:
        if flight.hinted:
            return float("inf")
        known = self._spans.get(flight.size)
        spans = known if known is not None and len(known.recent) > 2 else self._all
        then = max(0.0, flight.seen_at - flight.accepted_at)
        return spans.waited(then, max(then, at - flight.accepted_at))


# ── Where tasks stand in the service's list, newest first, as far as creates and pages tell ───────


PAGE_SIZE: Final = 100
"""The most that the service shows on a page."""


@dataclass(slots=True)
class Places:
    """Every create pushes older tasks one place down, so one sighting tells all later places.

    Tasks that others make on the same account push as well, unseen; then a page lacks a task,
    which is looked for further down.
    """

    size: int = PAGE_SIZE
    """Entries on a page, as the service last returned it: it need not be what was asked for."""
    _held: int | None = None
    """The most entries that a page was seen to hold, where that is less than its size says."""
    _made: int = 0
    _number: dict[str, int] = field(default_factory=dict)
    """By task: how many tasks were made up to it, in our count."""

    def made(self, task_id: str) -> None:
        """A create was accepted: the task is the newest."""
        self._made += 1
        self._number[task_id] = self._made

    def shown(
        self, page: int, task_ids: Sequence[str], size: int, ours: Container[str], total: int = 0
    ) -> None:
        """A list page, the size that the service says it has, and which tasks matter here.

        ``total`` counts the tasks of all pages.
        """
        if size > 0:
            self.size = self._real_size(page, len(task_ids), size, total)
        for place, task_id in enumerate(task_ids, (page - 1) * self.size):
            if task_id in ours:
                self._number[task_id] = self._made - place

    def _real_size(self, page: int, count: int, size: int, total: int) -> int:
        """A page that is half empty although more tasks follow holds no more than that."""
        if self._held is not None and count > self._held:
            self._held = None
        held = self._held or size
        more_follow = total > (page - 1) * held + count
        if 0 < 2 * count <= size and more_follow:
            self._held = max(count, self._held or 0)
        return min(size, self._held or size)

    def is_last(self, page: int, count: int, total: int) -> bool:
        """Whether no page comes after one that holds so many tasks, of so many in all."""
        return not count or page * self.size >= total

    def page_of(self, task_id: str) -> int | None:
        """The page, from 1, on which a task should stand; None where nothing is known."""
        number = self._number.get(task_id)
        return None if number is None else (self._made - number) // self.size + 1

    def missed(self, task_id: str, page: int) -> None:
        """The task was not on that page: it should be on the next."""
        self._number[task_id] = self._made - page * self.size

    def forget(self, task_id: str) -> None:
        """The task ended, or cannot be found in the list."""
        self._number.pop(task_id, None)


# ── Whether the task list, or tasks by id, are to be had and to be believed ───────────────────────
# The list is a shortcut: one page tells of a hundred tasks. What it says of an ending is a hint.


_FAILED_AT: Final = 3
"""After so many answers in a row that could not be had, the other way is gone."""
_LIMITED: Final = 0.5
"""What a 429 counts among those: it may well be about all requests."""
_FIRST_REST: Final = 60.0
"""Seconds after which the list is tried again; each time twice as long, up to `_LONGEST_REST`."""
_LONGEST_REST: Final = 600.0
_OLD: Final = 10.0
"""Seconds by which a list may lag behind the tasks."""
_DOUBTED_FROM: Final = 30.0
"""Seconds of age from which a list's "running" is checked, where it has shown no ending yet."""
_TWICE: Final = 2.0
"""Times the usual length of a generation from which it is checked otherwise, and times the age at
the last check for the next one."""
_WORD_TIMES: Final = 3
_WORD_SECONDS: Final = 120.0
"""A list's word for an ending that no detail confirms or denies is taken after both of these."""


@dataclass(slots=True)
class Trust:
    """Remembers how one way of looking came out, and says whether it is worth a request."""

    proven: bool = False
    """It has shown an ending, so it is not always old."""
    _failures: float = 0
    _rest: float = _FIRST_REST
    _not_before: float = float("-inf")

    def is_good(self, now: float) -> bool:
        """Whether it is worth asking."""
        return now >= self._not_before

    def failed(self, now: float, *, limited: bool = False) -> None:
        """No answer that says anything could be had; ``limited``: for too many requests."""
        self._failures += _LIMITED if limited else 1
        if self._failures >= _FAILED_AT:
            self.leave(now)

    def answered(self, *, told: bool = True) -> None:
        """An answer came; ``told``: it showed the ending of a task, so it is no old one."""
        if told or self._failures >= _FAILED_AT:
            self._not_before = float("-inf")
        self._failures = 0
        if told:
            self.proven, self._rest = True, _FIRST_REST

    def leave(self, now: float) -> None:
        """It is no use for now: it does not come, or calls running what ended long ago."""
        self.proven = False
        self._not_before = now + self._rest
        self._rest = min(_LONGEST_REST, 2 * self._rest)


@dataclass(frozen=True, slots=True)
class Word:
    """A list's word for an ending, which the task's own page neither confirms nor denies."""

    since: float
    times: int = 1

    def again(self) -> Word:
        """The list said so once more."""
        return Word(self.since, self.times + 1)

    def stands(self, now: float) -> bool:
        """Whether it was said often and long enough to be taken for true."""
        return self.times >= _WORD_TIMES and now - self.since >= _WORD_SECONDS


def wants_check(age: float, usual: float | None, checked: float, *, proven: bool) -> bool:
    """Whether a task that the list calls running at this age is asked for by id.

    ``usual`` is a generation's length, None where no ending is known; ``checked`` the age at the
    last check (0: none); ``proven``: the list has shown an ending.
    """
    if proven:
        return age >= max(_DOUBTED_FROM, _TWICE * (usual or 0.0), _TWICE * checked)
    soon = checked + usual / 2 if usual is not None else float("inf")
    return age >= max(_DOUBTED_FROM, min(_TWICE * checked, soon))


def is_old(age: float, took: float | None) -> bool:
    """Whether a list that called a task running at this age was old: it had ended before."""
    return took is None or age - took >= _OLD


# ── Which tasks hold their place much longer than others needed: arithmetic on ages, nothing else
# A running task is never given up: a generation may take two days. But its place goes to another
# row, as far as the service takes more.


_TIMES: Final = 5.0
"""A task is overdue once it is so many times as old as the others of its size were when they
ended."""
_AT_LEAST: Final = 45.0
"""Seconds; what is younger is never overdue."""
_UNMEASURED: Final = 300.0
"""Seconds from which a task is overdue while none of its size has ended."""
_SMALL: Final = (2, 3)
"""Ceilings that a few endless tasks fill, below the four that HiAPI advises a new account to start
with: one more is sent after `_AT_LEAST`, to learn how long a task takes."""
_UNKNOWN_TIMES: Final = 5
_UNKNOWN_SECONDS: Final = 20.0
"""A task that looks did not find so often and for so long keeps no place."""
_GIVEN_UP_AFTER: Final = 240.0
"""Seconds after which a run no longer waits for a task that the service does not know."""


def overdue_from(lengths: Sequence[float], others: Sequence[float]) -> float:
    """The age in seconds from which a task is overdue.

    ``lengths`` are those of successful generations of its size, sorted; ``others`` of all sizes.
    """
    if lengths:
        return max(_AT_LEAST, _TIMES * lengths[len(lengths) // 2])
    return max([_UNMEASURED, *(_TIMES * length for length in others)])


def is_overdue(flight: Flight, limit: float) -> bool:
    """Whether a task was still running at an age at which it is overdue."""
    return flight.seen_at - flight.accepted_at >= limit


def is_unknown(flight: Flight) -> bool:
    """Whether the service seems not to know the task; it may be new, or forgotten."""
    return flight.misses >= _UNKNOWN_TIMES and _missing_for(flight) >= _UNKNOWN_SECONDS


def is_given_up(flight: Flight) -> bool:
    """Whether a run no longer waits for the task: it has been unknown for minutes."""
    return is_unknown(flight) and _missing_for(flight) >= _GIVEN_UP_AFTER


def _missing_for(flight: Flight) -> float:
    return 0.0 if flight.missing_since is None else flight.seen_at - flight.missing_since


def spare_places(
    flights: Sequence[Flight], overdue: int, *, measured: bool, ceiling: int | None
) -> int:
    """Places above the ceiling: one for each overdue task, or one to learn how long tasks take.

    ``measured``: whether any task has ended.
    """
    if overdue or measured or ceiling not in _SMALL:
        return overdue
    old = sum(is_overdue(flight, _AT_LEAST) for flight in flights)
    return int(old >= ceiling)
