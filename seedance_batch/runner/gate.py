"""The one place where requests to the API wait for their turn."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from seedance_batch.client import Answer
from seedance_batch.events import Observer, Remark, RequestEnded
from seedance_batch.pacing import Breaker, RequestBudget, backoff, is_rate_refusal
from seedance_batch.wire import Verdict

_TROUBLE = frozenset({Verdict.BUSY, Verdict.UNKNOWN})
_NAP = 1.0
"""Seconds after which a waiting request asks again whether it is still wanted."""
_SOON = 1e-6


def _always() -> bool:
    return True


class Gate:
    """Lets requests start as the budget allows, one after another.

    ``jitter`` draws from [0, 1); it is handed in so that a run can be repeated. ``address`` is
    the API's, for remarks.
    """

    def __init__(
        self,
        budget: RequestBudget,
        *,
        jitter: Callable[[], float],
        observer: Observer,
        address: str,
    ) -> None:
        self._address = address
        self.budget = budget
        self.jitter = jitter
        self._observer = observer
        self._breaker = Breaker()
        self._turn = anyio.Lock()
        self._taken_for_rate = False
        """The last refused create was taken for a rate refusal, and none was accepted since."""

    async def wait(self, wanted: Callable[[], bool] = _always) -> bool:
        """Wait until a request may start, and count it; False, uncounted, if no longer wanted."""
        async with self._turn:
            while wanted():
                now = anyio.current_time()
                at = max(self.budget.next_at(now), self._breaker.next_at(now))
                if at <= now + _SOON:
                    self.budget.spend(now)
                    self._breaker.sent(now)
                    return True
                await anyio.sleep(min(at - now, _NAP))
            return False

    def unsent(self) -> None:
        """Whoever waited for a turn sends nothing after all: no answer of theirs will come."""
        self._breaker.unsent()

    def heard(self, what: str, answer: Answer[object]) -> bool:
        """Learn from an answer: its limits, its wish to be left alone, its trouble.

        Returns whether it refused a create because of the tasks that are running.
        """
        self._observer(RequestEnded(what, answer.verdict))
        now = anyio.current_time()
        self._heard_trouble(answer, now)
        too_many = answer.verdict is Verdict.RATE
        crowded = too_many and what == "create" and not self._is_about_rate(answer, now)
        if what == "create" and answer.verdict is Verdict.OK:
            self._taken_for_rate = False
        if answer.verdict is Verdict.BUSY or (too_many and not crowded):
            self.hold(answer.retry_after)
        if answer.rate is not None:
            rate = answer.rate
            self.budget.told(rate.limit, rate.remaining, answer.reset_in, now)
        return crowded

    def _heard_trouble(self, answer: Answer[object], now: float) -> None:
        """An outage is told once when it begins and once when it is over: its silence worries."""
        was_out = self._breaker.open
        self._breaker.heard(now, self.jitter(), good=answer.verdict not in _TROUBLE)
        if self._breaker.open and not was_out:
            why = f" ({answer.error.message})" if answer.error.message else ""
            words = f"does not answer as it should{why}; trying on, nothing is lost"
            self._observer(Remark(f"{self._address} {words}"))
        elif was_out and not self._breaker.open:
            self._observer(Remark(f"{self._address} answers again"))

    def _is_about_rate(self, answer: Answer[object], now: float) -> bool:
        remaining = answer.rate.remaining if answer.rate else None
        about_rate = is_rate_refusal(
            self.budget.count(now), self.budget.limit, remaining, again=self._taken_for_rate
        )
        self._taken_for_rate = about_rate
        return about_rate

    def hold(self, seconds: float | None) -> None:
        """Send nothing for so long; a second or so where the server named no time."""
        pause = backoff(1, self.jitter()) if seconds is None else seconds
        self.budget.hold(anyio.current_time() + pause)
