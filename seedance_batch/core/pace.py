"""When requests may go, how many tasks may run, when to try again: arithmetic on passed-in time.

Times are seconds on one monotonic clock that the caller reads. Nothing here waits, sends or
draws a random number; jitter comes in as a number between 0 and 1."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

# ── One budget of requests a minute, for submits, looks and retries together ──────────────────────


WINDOW: Final = 60.0
"""Seconds over which the service counts requests."""
BURST: Final = 4
_MARGIN: Final = 0.25
"""Seconds by which one request may overtake another on its way; the service counts arrivals."""
_KEPT: Final = 5.0
"""Seconds beyond a minute for which a request is remembered: answers are weighed a little later."""


_OTHERS_FROM: Final = 2
"""Requests by which the service may count more than we know of, before others are believed in:
what we sent and what arrived need not be counted in the same minute."""
_ROOM: Final = 2
"""Requests a minute that are left free beside others, whose next one nobody knows."""
_LEAST: Final = 0.1
"""Share of the limit that is used whatever others seem to use."""


@dataclass(slots=True)
class RequestBudget:
    """Requests 60/R s apart, at most four at once, and never more than R in any 60 s.

    ``next_at`` says when the next request may start; ``spend`` records that it did.
    """

    rpm: float
    burst: int = BURST
    started: deque[float] = field(default_factory=deque)
    due: float = float("-inf")
    """When the next request would be due at an even pace (GCRA)."""
    held_until: float = float("-inf")
    service_limit: float | None = None
    """Requests a minute that the service allows, as far as it has told."""
    others: float = 0.0
    """Requests of the last minute that somebody else has sent under this account."""
    others_at: float = float("-inf")
    """When that was learned; after a minute it is no longer true."""

    @property
    def allowed(self) -> float:
        """Requests a minute that we and the service agree to."""
        return self.rpm if self.service_limit is None else min(self.rpm, self.service_limit)

    @property
    def pace(self) -> float:
        """Requests a minute, as far as others leave room for them."""
        left = self.service_limit or self.rpm
        if self.others:
            left -= self.others + _ROOM
        return max(1.0, _LEAST * self.allowed, min(self.allowed, left))

    @property
    def spacing(self) -> float:
        """Seconds between requests at an even pace."""
        return WINDOW / self.pace

    @property
    def limit(self) -> int:
        """Requests in any 60 s."""
        return max(1, int(self.allowed))

    def next_at(self, now: float, ahead: int = 0) -> float:
        """The earliest time at which a request may start; ``now`` when it may start at once.

        ``ahead``: so many others are to start before it.
        """
        slack = (self.burst - 1) * WINDOW / self.allowed
        earliest = max(now, self.held_until, self.due + ahead * self.spacing - slack)
        free = self.limit - ahead
        if len(self.started) >= free:
            oldest = self.started[-free] if free > 0 else now
            earliest = max(earliest, oldest + WINDOW + _MARGIN)
        return earliest

    def spend(self, now: float) -> None:
        """A request starts now."""
        if now - self.others_at > WINDOW:
            self.others = 0.0
        self.due = max(now, self.due) + self.spacing
        self.started.append(now)
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self.started and self.started[0] <= now - WINDOW - _KEPT:
            self.started.popleft()

    def count(self, now: float) -> int:
        """Requests that started in the 60 s before."""
        return sum(1 for at in self.started if now - WINDOW < at <= now)

    def hold(self, until: float) -> None:
        """The server asked for silence until then."""
        self.held_until = max(self.held_until, until)

    def told(
        self, limit: int | None, remaining: int | None, reset_in: float | None, now: float
    ) -> None:
        """What an answer's ``X-RateLimit-*`` say; ``reset_in`` are seconds from now.

        A limit below ours becomes ours. What the service has counted beyond our own requests is
        somebody else's use, and left to them. Nothing left although we have not used it up means
        that the reset is waited for; what we used up ourselves is known more exactly here.
        """
        ours = self.count(now)
        if limit is not None and limit > 0:
            self.service_limit = min(float(limit), self.service_limit or float(limit))
            if remaining is not None:
                self.shared_with(limit - remaining - ours, now)
        if remaining == 0 and reset_in is not None and ours < self.limit:
            self.hold(now + min(max(reset_in, 0.0), WINDOW))

    def refused(self, now: float) -> None:
        """A request was refused for its rate, and nothing was told of what is left.

        Where that was not our own doing others use the account: each refusal leaves them a quarter
        of our pace more.
        """
        self.shared_with(min(self.limit - self.count(now), self.others + self.pace / 4), now)

    def shared_with(self, others: float, now: float) -> None:
        """Others seem to have sent so many requests in the last minute."""
        self.others = float(others) if others > _OTHERS_FROM else 0.0
        self.others_at = now


def is_rate_refusal(sent: int, limit: int, remaining: int | None, *, again: bool) -> bool:
    """Whether a 429 on a create was about requests a minute rather than tasks at once.

    ``sent`` counts our requests of the last 60 s, this one included. Requests left mean that the
    tasks were too many; so does a window that we are far from having filled. Where we filled it
    ourselves, both may be meant: the rate is believed first, and not ``again``.
    """
    if remaining is not None and remaining > 0:
        return False
    if remaining == 0 and sent < limit:
        return True  # somebody else used the rest
    return sent >= 0.9 * limit and not again


# ── How many tasks to have in flight, found out from refusals, which cost nothing ─────────────────


SLOW_START: Final = 4
"""HiAPI's own advice for a new account, which ten creates at once can trip."""


@dataclass(slots=True)
class Slots:
    """Slow start from 4, one more per accepted create, up to ``ceiling`` (None: no ceiling).

    A refusal tells the cap: what is in flight was accepted. It is held there, and one higher is
    tried once a generation. Where that goes through, the cap has risen and growth goes on; where
    even fewer are refused, it has fallen, and each further refusal gives up twice as many.
    """

    ceiling: int | None
    limit: int = SLOW_START
    spared: int = 0
    """Places above the ceiling, for tasks in flight that seem never to end."""
    growing: bool = True
    probe_at: float = 0.0
    held_until: float = float("-inf")
    refused_at: int | None = None
    """In flight at the last refusal; None once a create was accepted."""
    falls: int = 0
    """Refusals in a row, each with fewer in flight than the one before."""

    def __post_init__(self) -> None:
        self.limit = self._capped(self.limit)

    def allowed(self, now: float) -> int:
        """Tasks that may be in flight now, the occasional probe included."""
        if now < self.held_until:
            return 0
        if not self.growing and now >= self.probe_at:
            return self._capped(self.limit + 1)
        return self._capped(self.limit)

    def admits(self, taken: int, now: float) -> bool:
        """Whether one more task may be in flight beside so many."""
        return taken < self.allowed(now)

    def no_room(self, now: float) -> None:
        """A task that was admitted is not to be made for other reasons."""

    def spare(self, places: int) -> None:
        """So many places are lent on; a cap that a refusal told holds all the same."""
        gained, self.spared = places - self.spared, places
        if gained > 0 and self.growing:
            self.limit = self._capped(self.limit + gained)

    def next_change(self, now: float) -> float:
        """When `allowed` rises by itself; infinite where it does not."""
        times = (self.held_until, float("inf") if self.growing else self.probe_at)
        return min((at for at in times if at > now), default=float("inf"))

    def accepted(self, in_flight: int) -> None:
        """A create was accepted; ``in_flight`` counts it."""
        if in_flight > self.limit or self.falls:  # more room than we knew, or we fell too deep
            self.growing = True
        if self.growing:
            self.limit = self._capped(max(self.limit, in_flight) + 1)
        self.refused_at, self.falls = None, 0

    def refused(self, in_flight: int, now: float, generation: float, pause: float = 0.0) -> None:
        """A create was refused for concurrency with ``in_flight`` accepted tasks running.

        ``generation`` are the seconds until a probe is worth its request, ``pause`` those for
        which the service wants no create at all.
        """
        fallen = self.refused_at is not None and in_flight < self.refused_at
        self.falls += fallen
        step = min(2 ** (self.falls - 1), in_flight // 3) if fallen else 0
        self.limit = max(1, self._capped(in_flight - step))
        self.growing = False
        self.refused_at = in_flight
        self.probe_at = now + generation
        self.held_until = max(self.held_until, now + pause)

    def _capped(self, wish: int) -> int:
        return wish if self.ceiling is None else min(wish, self.ceiling + self.spared)


# ── Trying again, in one layer: how long to wait, how much of it a run may do, when to only probe


_SHARE: Final = 0.3
"""Retries that each first try pays for."""
_RESERVE: Final = 10.0
"""Retries that a run has saved up at most."""
_REFILL: Final = 5.0
"""Seconds in which an empty budget earns one more, so that no row waits for ever."""
_PROBE_PATIENCE: Final = 90.0
"""Seconds after which a probe without an answer is given up; an answer has 60."""


def backoff(tries: int, jitter: float, *, base: float = 1.0, cap: float = 60.0) -> float:
    """Seconds before try ``tries`` + 1: exponential, capped, with full jitter (0 ≤ jitter < 1).

    At least a tenth of the full wait, so that a burst of small draws is no stampede.
    """
    ceiling: float = min(cap, base * 2.0 ** min(tries, 30))
    return ceiling * (0.1 + 0.9 * jitter)


def file_pause(elapsed: float, jitter: float) -> float:
    """Seconds until a file is asked for again that was first asked for in vain ``elapsed`` ago.

    In proportion to what was waited already: a file that comes late is had soon after it comes,
    be that after seconds or after minutes.
    """
    return min(60.0, max(1.0, elapsed / 2)) * (0.5 + 0.5 * jitter)


@dataclass(slots=True)
class RetryBudget:
    """What a whole run may try again: a share of its first tries, and a trickle after that."""

    _saved: float = _RESERVE
    _at: float | None = None

    def first_try(self) -> None:
        """A request goes out for the first time."""
        self._saved = min(_RESERVE, self._saved + _SHARE)

    def wait(self, now: float) -> float:
        """Take one retry; the seconds until it may go. Retries that come together queue up."""
        since = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._saved = min(_RESERVE, self._saved + since / _REFILL) - 1.0
        return max(0.0, -self._saved * _REFILL)


@dataclass(slots=True)
class Breaker:
    """Opens when everything fails; then single probes go, ever further apart, up to a minute.

    While it is open, the next probe waits for the answer of the one before.
    """

    threshold: int = 5
    _failures: int = 0
    _next: float = float("-inf")
    _before: float = float("-inf")

    @property
    def open(self) -> bool:
        """Whether only a probe may go."""
        return self._failures >= self.threshold

    def next_at(self, now: float) -> float:
        """When the next request may start."""
        return max(now, self._next) if self.open else now

    def sent(self, now: float) -> None:
        """A request starts; while open, it is the probe."""
        self._before, self._next = self._next, now + _PROBE_PATIENCE

    def unsent(self) -> None:
        """The request that was to start is not sent after all: another may be the probe."""
        self._next = min(self._next, self._before)

    def heard(self, now: float, jitter: float, *, good: bool) -> None:
        """An answer came: a good one closes the breaker."""
        self._failures = 0 if good else self._failures + 1
        if self.open:
            self._next = now + backoff(self._failures - self.threshold, jitter, base=5.0)
