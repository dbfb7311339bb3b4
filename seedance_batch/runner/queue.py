"""Orders that wait to be sent: which is next, and which have to wait for another row's clip."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable

from seedance_batch.core.attempt import UNDER_WAY_PHASES, Phase
from seedance_batch.runner.attempts import Attempts, Order


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
