"""What all parts of a run share: the gate that every request passes, and what ends the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

import anyio

from seedance_batch.api.client import Answer, Client
from seedance_batch.core.attempt import Attempt, Phase
from seedance_batch.core.hiapi import Verdict, Voice
from seedance_batch.core.pace import Breaker, RequestBudget, Slots, backoff, is_rate_refusal
from seedance_batch.core.text import span
from seedance_batch.errors import SeedanceBatchError
from seedance_batch.events import Observer, Paused, Remark, RequestEnded, Stop, Stopping
from seedance_batch.journal.journal import Journal
from seedance_batch.runner.attempts import Attempts
from seedance_batch.runner.sharing import Account, SharedSlots

# ── The one place where requests to the API wait for their turn ───────────────────────────────────


_TROUBLE = frozenset({Verdict.BUSY, Verdict.UNKNOWN, Verdict.ELSEWHERE})
_LONG = 120.0
"""Seconds; a longer pause that the service asks for is told."""
_MANY = 4
"""Refusals in a row that name no wait, after which that is told."""
_STRANGE = 5
"""Answers in a row that are not this API's, after which it may be the wrong address."""
_BLIND_FOR = 30.0
_LOST_FOR = 180.0
"""Seconds of such answers alone after which they are believed: where this run never heard anything
else, and where it did."""
_NAP = 1.0
"""Seconds after which a waiting request asks again whether it is still wanted."""
_SOON = 1e-6
_NOTICED = 0.1
"""Share of the account's requests that others use, from which on that is told."""
_PLURALS = {"create": "new tasks", "list": "status checks by the list", "get": "status checks"}


class Gate:
    """Lets requests start as the budget allows, one after another.

    ``jitter`` draws from [0, 1); it is handed in so that a run can be repeated. ``address`` is
    the API's, for remarks. ``account``: what other runs under this key are known by; without it,
    and once it fails, this run paces by itself.
    """

    def __init__(
        self,
        rpm: float,
        *,
        jitter: Callable[[], float],
        observer: Observer,
        address: str,
        account: Account | None = None,
    ) -> None:
        self._address = address
        self._account = account
        self._told_of_others = False
        self.budget = RequestBudget(rpm)
        self.jitter = jitter
        self._observer = observer
        self._breaker = Breaker()
        self._turn = anyio.Lock()
        self._taken_for_rate = False
        """The last refused create was taken for a rate refusal, and none was accepted since."""
        self._unwaited: dict[str, int] = {}
        """By kind of request: refusals in a row that named no wait."""
        self._paused_until = float("-inf")
        self._strange = 0
        self._strange_since = float("inf")
        self._heard_well = False

    @property
    def _shared(self) -> Account | None:
        """The account, for as long as it can be used."""
        return None if self._account is None or self._account.alone else self._account

    @property
    def spacing(self) -> float:
        """Seconds between two requests of this run, while others want to send as well."""
        shared = self._shared
        return max(self.budget.spacing, shared.spacing if shared else 0.0)

    def slots(self, ceiling: int | None) -> Slots:
        """How many tasks may be in flight, beside those of others; None: no ceiling."""
        return Slots(ceiling) if self._account is None else SharedSlots(ceiling, self._account)

    def reserve(self, key: str, cost: Decimal | None) -> str | None:
        """Why a row may not be sent today; None where it may, and what it costs is counted."""
        return None if self._account is None else self._account.reserve(key, cost)

    async def wait(
        self, wanted: Callable[[], bool] = lambda: True, *, new_task: bool = False
    ) -> bool:
        """Wait until a request may start, and count it; False, uncounted, if no longer wanted.

        ``new_task``: it takes a place among the account's tasks as well.
        """
        async with self._turn:
            while wanted():
                now = anyio.current_time()
                at = max(self.budget.next_at(now), self._breaker.next_at(now))
                if at <= now + _SOON and self._shared is not None:
                    at = self._shared.ask(now, new_task=new_task)
                if at <= now + _SOON:
                    self.budget.spend(now)
                    self._breaker.sent(now)
                    return True
                await anyio.sleep(min(at - now, _NAP))
            if self._shared is not None:
                self._shared.withdraw(anyio.current_time())
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
        self._heard_strangers(answer, now)
        too_many = answer.verdict is Verdict.RATE
        # A gateway counts requests; how many tasks may run, HiAPI alone knows.
        counted = too_many and what == "create" and answer.voice is not Voice.OTHER
        crowded = counted and not self._is_about_rate(answer, now)
        if answer.verdict is Verdict.OK:
            self._unwaited.pop(what, None)
            if what == "create":
                self._taken_for_rate = False
        if answer.verdict is Verdict.BUSY or (too_many and not crowded):
            self.hold(self._pause_after(what, answer))
        if too_many or answer.verdict is Verdict.BUSY:
            self._tell_long_pause(answer, now)
        counts = self._shared or self.budget
        untold = answer.rate is None or answer.rate.remaining is None
        if too_many and what != "create" and untold:
            counts.refused(now)
        if answer.rate is not None:
            rate = answer.rate
            counts.told(rate.limit, rate.remaining, answer.reset_in, now)
        self._tell_of_others()
        return crowded

    def _tell_of_others(self) -> None:
        """The account is used from elsewhere too: that explains a slower pace, and is said once."""
        counts = self._shared or self.budget
        if self._told_of_others or counts.others < _NOTICED * counts.limit:
            return
        self._told_of_others = True
        words = f"about {counts.others:.0f} of its {counts.limit} requests a minute"
        self._observer(
            Remark(f"this account is used from elsewhere too ({words}); the pace leaves room")
        )

    def _heard_trouble(self, answer: Answer[object], now: float) -> None:
        """An outage is told once when it begins and once when it is over: its silence worries."""
        was_out = self._breaker.open
        self._breaker.heard(now, self.jitter(), good=answer.verdict not in _TROUBLE)
        if self._breaker.open and not was_out:
            why = f" ({answer.error.message})" if answer.error.message else ""
            words = f"does not answer as it should{why}; the run keeps trying, and nothing is lost"
            self._observer(Remark(f"{self._address} {words}"))
        elif was_out and not self._breaker.open:
            self._observer(Remark(f"{self._address} answers again"))

    def _heard_strangers(self, answer: Answer[object], now: float) -> None:
        if answer.verdict is Verdict.ELSEWHERE:
            self._strange += 1
            self._strange_since = min(self._strange_since, now)
        elif answer.status and (answer.verdict is Verdict.OK or answer.voice is Voice.HIAPI):
            self._strange, self._strange_since, self._heard_well = 0, float("inf"), True

    @property
    def astray(self) -> bool:
        """Whether nobody but strangers has answered for so long that the address must be wrong."""
        enough = _LOST_FOR if self._heard_well else _BLIND_FOR
        so_long = anyio.current_time() - self._strange_since >= enough
        return self._strange >= _STRANGE and so_long

    def _tell_long_pause(self, answer: Answer[object], now: float) -> None:
        wished, until = answer.wished or 0.0, now + (answer.retry_after or 0.0)
        if wished < _LONG or until <= self._paused_until + _LONG:
            return
        self._paused_until = until
        message = f"{self._address} asks to pause for {span(wished)} ({answer.error.message})"
        if until - now < wished:
            message += f"; the next request goes out in {span(until - now)}"
        self._observer(Paused(until - now, message))

    def _pause_after(self, what: str, answer: Answer[object]) -> float:
        if answer.retry_after is not None:
            return answer.retry_after
        if answer.verdict is Verdict.RATE:
            return self.pause(what)
        return backoff(1, self.jitter())  # where it goes on, the breaker opens

    def pause(self, what: str) -> float:
        """Seconds to wait after a refusal that names no wait: ever longer, up to a minute."""
        tries = self._unwaited[what] = self._unwaited.get(what, 0) + 1
        if tries == _MANY:
            words = f"refuses {_PLURALS.get(what, what)} without saying for how long"
            self._observer(
                Remark(
                    f"{self._address} {words}; requests are repeated at longer and longer intervals"
                )
            )
        return backoff(tries, self.jitter())

    def _is_about_rate(self, answer: Answer[object], now: float) -> bool:
        remaining = answer.rate.remaining if answer.rate else None
        counts = self._shared or self.budget
        about_rate = is_rate_refusal(
            counts.count(now), counts.limit, remaining, again=self._taken_for_rate
        )
        self._taken_for_rate = about_rate
        return about_rate

    def hold(self, seconds: float) -> None:
        """Send nothing for so long; nor does any other run, where they share the account."""
        until = anyio.current_time() + seconds
        self.budget.hold(until)
        if self._shared is not None:
            self._shared.hold(until)


# ── The one switch that ends submitting, and what may still go on after it ────────────────────────


_MILD = frozenset({Stop.BUDGET, Stop.DAY_BUDGET, Stop.FAILURES, Stop.ERROR})
_HALTS = frozenset({Stop.ACCOUNT, Stop.ELSEWHERE, Stop.NOT_UNDERSTOOD, Stop.STORE})
"""After these, no send is repeated either: nothing good could come of it."""
_LETS_WORK_FINISH = _MILD | _HALTS
"""After these, tasks in flight are still watched and downloaded to the end."""


class Stopper:
    """Remembers the first reason to stop submitting, and whether watching goes on."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.why: Stop | None = None
        self.message = ""
        self.fault: Exception | None = None
        """An error of the program itself, to be raised once what is in flight has ended."""
        self.leaving = False
        """No new looks and no new downloads either; what runs may end."""
        self._stopped = anyio.Event()
        self.settles = True
        """Whether a send without an answer may still be repeated: a replay costs nothing new."""
        self._left = anyio.Event()

    @property
    def stopped(self) -> bool:
        """Whether submitting is over."""
        return self.why is not None

    def stop(self, why: Stop, message: str) -> None:
        """End submitting; trouble with the account or address outranks an earlier mild reason."""
        if self.why is None or (why in _HALTS and self.why in _MILD):
            self.why, self.message = why, message
            self.observer(Stopping(why, message))
        self._stopped.set()
        if why in _HALTS:
            self.settles = False
        if why not in _LETS_WORK_FINISH:
            self.leave()

    async def outlive(self, work: Awaitable[None], where: str) -> bool:
        """Whether the work came to its end. An error of the program itself ends the run, but loses
        nothing that was paid for; any other is raised.
        """
        try:
            await work
        except (SeedanceBatchError, OSError):
            raise  # everybody's trouble
        except Exception as error:
            self.fault = self.fault or error
            words = f"{type(error).__name__}: {error}"
            self.stop(
                Stop.ERROR,
                f"an internal error at {where} ({words}); tasks in flight are finished first",
            )
            return False
        return True

    def leave(self) -> None:
        """Stop looking and downloading as well."""
        self.leaving = True
        self._stopped.set()
        self.settles = False
        self._left.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not past the end of submitting."""
        with anyio.move_on_after(seconds):
            await self._stopped.wait()

    async def until_left(self) -> None:
        """Returns once the run is to be left."""
        await self._left.wait()


Reins = Callable[[Stopper], None]
"""Takes the switch of a run that is about to begin."""


# ── What paid tasks have brought in this run, and what that means for buying more. No I/O ─────────


SEVERAL_CLIPS: Final = 3
"""Clips that do not arrive, from which buying waits while this run has brought none yet."""


class Useless(StrEnum):
    """How a paid task gave no good clip, in words that complete *3 of them …*."""

    FAILED = "failed"
    EXPIRED = "expired"
    MISMATCH = "not what was asked for"
    UNDELIVERED = "could not be fetched"


_USELESS: Final = {
    Phase.FAILED: Useless.FAILED,
    Phase.EXPIRED: Useless.EXPIRED,
    Phase.MEDIA_MISMATCH: Useless.MISMATCH,
}


class Returns:
    """Counts, in a row, what was bought and gave no good clip; a clip that arrives ends the row.

    ``limit`` is ``--max-failures``: at so many buying ends. None: never. Buying waits meanwhile
    where clips that were paid do not arrive: more of them would share their fate.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._arrived = False
        self._failed_in_a_row = 0
        self._useless: dict[int, tuple[Useless, str]] = {}
        self._late: dict[int, str] = {}
        """Clips that were asked for in vain, and may still come; each counts once."""

    def arrived(self) -> None:
        """A good clip is on disk."""
        self._arrived = True
        self._failed_in_a_row = 0
        self._useless.clear()
        self._late.clear()

    def made(self) -> None:
        """A task succeeded; its clip is still to be fetched."""
        self._failed_in_a_row = 0

    def late(self, attempt_id: int, why: str) -> None:
        """A clip was asked for in vain, and is asked for again."""
        self._late[attempt_id] = why

    def ended(self, attempt: Attempt, why: str) -> bool:
        """A paid task is over, if it is: whether it gave no good clip, and that is counted."""
        how = _USELESS.get(attempt.state.phase)
        if how is not None:
            self.useless(attempt.id, how, why)
        return how is not None

    def useless(self, attempt_id: int, how: Useless, why: str) -> None:
        """A paid task gave no good clip, at least not in this run."""
        self._late.pop(attempt_id, None)
        self._failed_in_a_row += how is Useless.FAILED and attempt_id not in self._useless
        self._useless.setdefault(attempt_id, (how, why))

    def waits(self, coming: Collection[int]) -> bool:
        """Whether to buy nothing now; ``coming`` are paid clips that may still arrive in this run.

        Only while one of those can settle it.
        """
        if self._limit is None or not coming:
            return False
        late = len(self._late.keys() & set(coming))
        if not self._arrived and (
            late >= min(SEVERAL_CLIPS, self._limit) or len(coming) >= self._limit
        ):
            return True
        return late + len(self._useless) >= self._limit

    def is_held(self, coming: Collection[int]) -> bool:
        """Whether `waits` has a reason that a person wants to know."""
        return bool(self._late) and self.waits(coming)

    def is_over(self, coming: Collection[int]) -> bool:
        """Whether to buy nothing more in this run.

        Failed tasks alone decide it at once; else a clip that was not asked for in vain yet may
        still end the row.
        """
        if self._limit is None or len(self._useless) < self._limit:
            return False
        return self._failed_in_a_row >= self._limit or not set(coming) - self._late.keys()

    @property
    def missing(self) -> str:
        """Which paid clips are waited for, and the last reason why one did not come."""
        return f"{len(self._late)} paid clips have not arrived ({list(self._late.values())[-1]})"

    @property
    def verdict(self) -> str:
        """What came in place of clips, and why that is of no use."""
        counts = Counter(how for how, _ in self._useless.values())
        whys = {how: f" ({why})" for how, why in self._useless.values() if why}
        if counts.keys() == {Useless.FAILED}:
            return f"{len(self._useless)} rows failed in a row{whys.get(Useless.FAILED, '')}"
        parts = ", ".join(f"{count} {how}{whys.get(how, '')}" for how, count in counts.items())
        return f"{len(self._useless)} rows in a row produced no good clip: {parts}"


# ── What every part of a run works with ───────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Tools:
    """The API, the attempts and the switches of one run."""

    client: Client
    attempts: Attempts
    gate: Gate
    stopper: Stopper
    wall: Callable[[], float]
    """The wall clock in Unix seconds."""
    account: Account | None = None
    """Other runs under this key."""

    def remark(self, words: str) -> None:
        """Tell whoever watches."""
        self.stopper.observer(Remark(words))

    def earlier_clock(self) -> float:
        """Unix seconds, by the earlier one of our clock and the service's."""
        return min(self.wall(), self.client.server_time() or self.wall())

    def later_clock(self) -> float:
        """Unix seconds, by the later one of the two."""
        return max(self.wall(), self.client.server_time() or self.wall())


class Part:
    """A part of a run: it has the tools at hand that all parts share."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._client = tools.client
        self._attempts = tools.attempts
        self._gate = tools.gate
        self._stopper = tools.stopper


def tools_for(
    client: Client,
    journal: Journal,
    attempts: Iterable[Attempt],
    stopper: Stopper,
    *,
    rpm: float,
    wall: Callable[[], float],
    jitter: Callable[[], float],
    account: Account | None = None,
) -> Tools:
    """The tools of a run that begins with these attempts; ``jitter`` draws from [0, 1)."""
    observer = stopper.observer
    kept = Attempts(journal, attempts, wall=wall, observer=observer)
    gate = Gate(rpm, jitter=jitter, observer=observer, address=client.base_url, account=account)
    return Tools(client, kept, gate, stopper, wall, account)
