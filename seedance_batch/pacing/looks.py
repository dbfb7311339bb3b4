"""When to look at tasks in flight, and at which of them: a look is worth what it may find.

A look costs a request (`price`), and not looking costs the seconds that ended tasks wait to be
noticed (`worth`). Tasks that end at a rate r have waited r·t²/2 seconds together after t seconds;
looking every t seconds costs price/t + r·t/2 a second, which is least where r·t²/2 = price. So a
look is due as soon as its worth has grown to its price, whatever the rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Generic, TypeVar

from seedance_batch.pacing.spans import Spans

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
_KEEP: Final = 0.98
"""What a new ending leaves of the older ones: about the last fifty count."""
_SAMPLE: Final = 24
"""Flights at one place that are reckoned with; more would only cost time."""
_EXACT: Final = 0.25
"""Seconds."""

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
        self._told = self._told * _KEEP + told
        self._ended = self._ended * _KEEP + 1.0

    def typical(self) -> float:
        """Median seconds of a generation, or as assumed."""
        return self._all.typical() if self._all.recent else _ASSUMED_GENERATION

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
        while late - early > _EXACT:
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
