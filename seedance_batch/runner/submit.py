"""Rows to tasks: intent first, then one POST, and resends only where they cannot pay twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskGroup

from seedance_batch.api.client import Answer, Created
from seedance_batch.core import hiapi
from seedance_batch.core.attempt import (
    GENERATING_PHASES,
    SENDABLE_PHASES,
    Attempt,
    Phase,
    may_resend,
)
from seedance_batch.core.hiapi import Page, TaskError, Verdict, Voice
from seedance_batch.core.lifecycle import Accepted, Event, KeyMismatch, Refused, Sent, WindowPassed
from seedance_batch.core.outcome import message as message_of
from seedance_batch.core.pace import RetryBudget, Slots, backoff
from seedance_batch.core.polling import Demand
from seedance_batch.core.pricing import money, up_to_a_cent
from seedance_batch.core.text import first_few
from seedance_batch.events import RowSkipped, Stop
from seedance_batch.runner.attempts import (
    BodyLost,
    MediaChanged,
    Order,
    Queue,
    Terms,
    event_of,
)
from seedance_batch.runner.gate import Part, Returns, Tools

_NAP: Final = 1.0
"""Seconds after which a pause asks again whether it is still wanted."""
_BAFFLED: Final = 4
"""Answers to one request, none of them HiAPI's, after which no more are asked for."""
_OFTEN: Final = 8
"""Repeats of a send after which a person is told."""
_BAFFLED_ALL: Final = 6
"""The same for all sends together, each of which was repeated."""
_BAFFLED_FOR: Final = 60.0
"""Seconds that it has to last where creates were accepted before: a gateway may be rebuilt."""
_SEVERAL: Final = 3
"""Creates in a row that strangers answered, from which on no others are tried, where some were
accepted before: one row may have trouble of its own."""
_BAFFLED_ROWS: Final = 2
"""Rows without an accepted one between them, after which no more are sent."""
_ONE_WAY: Final = 2
"""Probes of the list alone, before a detail is asked for as well."""
_PROBE_PAUSE: Final = 8.0
_NO_TASK: Final = "tk-hiapi-00000000000000000000000000"
_NAMED: Final = 3
"""Rows that a remark names."""
_WHY: Final = 160
"""Characters of a reason."""
_NOT_OWNER: Final = "not sent: another machine may have taken over the batch"


T = TypeVar("T")


class Submitter(Part):
    """Sends orders in their sequence while slots, budget and room allow."""

    def __init__(
        self,
        tools: Tools,
        terms: Terms,
        slots: Slots,
        returns: Returns,
        *,
        max_cost: Decimal | None,
        typical: Callable[[], float],
        weigh: Callable[[], None],
    ) -> None:
        super().__init__(tools)
        self._terms = terms
        self._slots = slots
        self._returns = returns
        self._max_cost = max_cost
        self._typical = typical
        self._weigh = weigh
        self._retries = RetryBudget()
        self._queue = Queue(tools.attempts)
        self._under_way = 0
        self._posting: set[int] = set()
        """Attempts whose POST waits for its answer."""
        self._reserved = Decimal(0)
        self._baffled_rows = 0
        self._accepted = False
        """Whether this run had a create accepted."""
        self._strange = 0
        """Creates in a row that somebody else than HiAPI answered, and since when."""
        self._strange_since = 0.0
        self._begun = False
        """Whether what an earlier process left unanswered is under way again."""
        self._finished = False

    @property
    def waiting(self) -> int:
        """Orders not yet handed to a POST."""
        return len(self._queue)

    @property
    def ready(self) -> int:
        """Orders that only want for a place."""
        return 0 if self._stopper.stopped else self._queue.ready

    @property
    def taken(self) -> int:
        """Places that sends and tasks in flight take."""
        left_alone = self._left_alone()
        recorded = self._attempts.count(Phase.SUBMITTING) - left_alone
        # Orders between the gate and their first record; the others are counted by their phase.
        unrecorded = max(0, self._under_way - recorded)
        return self._attempts.count(*GENERATING_PHASES) - left_alone + unrecorded

    @property
    def demand(self) -> Demand:
        """What rows that wait to be sent are short of."""
        if self._stopper.stopped or not self._queue:
            return Demand.NOTHING
        return Demand.REQUESTS if self._queue.is_ready and self._may_start() else Demand.SLOTS

    @property
    def idle(self) -> bool:
        """Whether no POST that still matters is under way, and none will be by itself."""
        self._hear_of_rows()
        waits = self._begun and bool(self._queue) and not self._queue.is_ready
        return (self._finished or waits) and not self._still_wanted()

    async def run(self, orders: list[Order], unsettled: list[Attempt], group: TaskGroup) -> None:
        """Settle what an earlier process left unanswered, then send the orders."""
        try:
            await self._submit(orders, unsettled, group)
        finally:
            self._finished = True
            self._attempts.wake()

    async def _submit(
        self, orders: list[Order], unsettled: list[Attempt], group: TaskGroup
    ) -> None:
        self._queue.fill(orders)
        if (orders or unsettled) and await self._hear_the_clock(unsettled):
            for attempt in unsettled:
                self._start(group, self._resend, attempt)
        self._begun = True
        while not self._stopper.stopped and await self._next_is_due():
            # Asked again: what was started meanwhile has reserved its cost by now.
            if not await self._gate.wait(self._still_due, new_task=True):
                continue
            if self._affordable():
                order = self._queue.take()
                self._reserved += order.cost or Decimal(0)
                self._start(group, self._place, order)
            else:
                self._gate.unsent()

    # ── when ────────────────────────────────────────────────────────────────────────────────

    def _going(self) -> bool:
        return not self._stopper.stopped

    def _still_due(self) -> bool:
        return self._going() and self._may_start() and self._terms.may_send()

    async def _next_is_due(self) -> bool:
        """Wait for an order and a slot for it; False when no order is left or affordable."""
        while not self._stopper.stopped:
            self._hear_of_rows()
            if not self._queue and not self._still_wanted():
                return False  # a POST under way may still bring its order back
            if self._queue.is_ready and self._may_start() and self._terms.may_send():
                return self._affordable()
            wait = self._slots.next_change(anyio.current_time()) - anyio.current_time()
            await self._attempts.changed(within=min(5.0, wait))
        return False

    def _hear_of_rows(self) -> None:
        """Let orders go on whose sources are made by now, and say which never will."""
        self._queue.hear()
        held: dict[str, list[str]] = defaultdict(list)
        while self._queue.held_back:
            order, because = self._queue.held_back.popleft()
            held[because].append(order.key)
        for key, rows in held.items():
            named = first_few([f"row {row}" for row in rows], _NAMED)
            self._tools.remark(f"row {key} has no clip, so nothing is sent for {named}")

    def _may_start(self) -> bool:
        if self._strange >= (_SEVERAL if self._accepted else 1) and self._still_wanted():
            return False  # those find out whether anybody is there
        now = anyio.current_time()
        if not self._slots.admits(self.taken, now):
            return False
        if not self._terms.room():
            self._slots.no_room(now)
            return False
        return True

    def _left_alone(self) -> int:
        """Sends of earlier runs that wait for a person: they take no place from others."""
        ids = self._terms.left_alone
        return sum(self._attempts.by_id[id].state.phase is Phase.SUBMITTING for id in ids)

    def _still_wanted(self) -> int:
        """What is under way, but for POSTs of which a callback has told what they would answer."""
        told = (self._attempts.by_id[i].state.phase not in SENDABLE_PHASES for i in self._posting)
        return self._under_way - sum(told)

    def _affordable(self) -> bool:
        """Whether the next order fits under the caps; under the day's it is reserved by that."""
        order = self._queue.first
        if (why := self._over_cap(order)) is not None:
            self._stopper.stop(Stop.BUDGET, why)
            return False
        if (why := self._gate.reserve(order.key, order.cost)) is not None:
            self._stopper.stop(Stop.DAY_BUDGET, why)
            return False
        return True

    def _over_cap(self, order: Order) -> str | None:
        cap = self._max_cost
        if cap is None:
            return None
        if order.cost is None:
            return f"row {order.key} has no known price"
        total = self._attempts.committed + self._reserved + order.cost
        if total <= cap:
            return None
        estimate = money(up_to_a_cent(total))
        return f"row {order.key} would bring the estimate to {estimate}, over {money(cap)}"

    async def _hear_the_clock(self, unsettled: list[Attempt]) -> bool:
        """One good answer before anything is sent: the 23 h guard wants the server's clock.

        A first send that only a wrong wall clock has dated could look younger than it is.
        """
        tries, answer = 0, None
        while self._going() and (self._queue or any(map(self._is_unsettled, unsettled))):
            await self._gate.wait()
            answer = await self._probe(tries, answer)
            if answer.verdict is Verdict.OK:
                return True
            tries += 1
            self._is_this_hiapi(answer, tries)
            await self._stopper.sleep(backoff(tries, self._gate.jitter(), cap=_PROBE_PAUSE))
        return False

    def _is_unsettled(self, attempt: Attempt) -> bool:
        """Whether no callback has told meanwhile what became of it."""
        return self._attempts.by_id[attempt.id].state.phase in SENDABLE_PHASES

    async def _probe(self, tries: int, before: Answer[Page] | None) -> Answer[Page]:
        """The list, by turns with a task that there is not: either may be out of order."""
        if before is None or tries < _ONE_WAY or (tries - _ONE_WAY) % 2:
            answer = await self._client.probe()
            self._gate.heard("list", answer)
            return answer
        detail = await self._client.get(_NO_TASK)
        self._gate.heard("get", detail)
        unknown = detail.verdict is Verdict.NOT_FOUND
        # A server that knows no path at all has the same answer for the list.
        sure = detail.voice is Voice.HIAPI or before.verdict is not Verdict.ELSEWHERE
        verdict = Verdict.OK if unknown and sure else detail.verdict
        return Answer(
            Verdict.ELSEWHERE if unknown and not sure else verdict,
            error=detail.error,
            voice=detail.voice,
            status=detail.status,
        )

    def _is_this_hiapi(self, answer: Answer[Page], tries: int) -> None:
        """Stop where the account is refused, and where who answers will never be HiAPI's API."""
        surely = answer.voice is not Voice.OTHER or tries >= _BAFFLED
        if answer.verdict in hiapi.ACCOUNT and surely:
            self._stopper.stop(Stop.ACCOUNT, answer.error.message)
        elif answer.baffles and tries >= _BAFFLED:
            self._stopper.stop(Stop.ELSEWHERE, self._not_hiapi(answer))

    def _not_hiapi(self, answer: Answer[object]) -> str:
        return f"{self._client.base_url} is not HiAPI's API ({answer.error.message})"

    # ── one order ───────────────────────────────────────────────────────────────────────────

    def _start(self, group: TaskGroup, work: Callable[[T], Awaitable[None]], what: T) -> None:
        self._under_way += 1
        group.start_soon(self._counted, work, what)

    async def _counted(self, work: Callable[[T], Awaitable[None]], what: T) -> None:
        try:
            await self._stopper.outlive(work(what), "the send of a row")
        finally:
            self._under_way -= 1
            self._attempts.wake()

    async def _place(self, order: Order) -> None:
        try:
            attempt = await self._record(order)
        except (MediaChanged, BodyLost) as error:
            self._stopper.observer(RowSkipped(order.key, str(error)))
            self._queue.give_up(order)
            self._gate.unsent()
            return
        self._queue.recorded(order)
        if attempt.state.phase is not Phase.SUBMITTING:
            self._gate.unsent()  # a callback told meanwhile that an earlier send was accepted
            return
        lost_since = self._terms.lost_since(order.key)
        if lost_since is not None and not await self._is_safe_again(attempt, lost_since):
            return
        self._retries.first_try()
        answer = await self._post(attempt)
        if answer.verdict is Verdict.BUSY:
            await self._stopper.sleep(self._retries.wait(anyio.current_time()))
        attempt = self._attempts.by_id[attempt.id]
        if attempt.state.phase is Phase.PLANNED:
            self._queue.put_back(replace(order, attempt=attempt))
        elif attempt.state.phase is Phase.SUBMITTING:
            await self._resend(attempt, answer)

    async def _record(self, order: Order) -> Attempt:
        """The order as an attempt being sent; its reservation ends where the attempt's begins."""
        try:
            if order.attempt is None:
                return await self._attempts.add(await order.prepare(), self._tools.earlier_clock())
            await self._check_body(order, order.attempt)
        finally:
            self._reserved -= order.cost or Decimal(0)
        return await self._attempts.apply(order.attempt.id, Sent(self._tools.earlier_clock()))

    async def _is_safe_again(self, attempt: Attempt, lost_since: float) -> bool:
        """Record a send that the journal may have lost beside today's, which is its repetition.

        Where that could pay twice, the row is left to a person, and nothing is sent for it.
        """
        attempt = await self._attempts.apply(attempt.id, Sent(lost_since))
        reason = self._unsafe(attempt)
        if reason is not None:
            self._gate.unsent()
            await self._attempts.apply(attempt.id, WindowPassed(reason, self._tools.wall()), reason)
        return reason is None

    async def _check_body(self, order: Order, attempt: Attempt) -> None:
        """Before a send is recorded: what the journal lost of its media may still be there."""
        try:
            self._terms.body_of(attempt.intent)
        except BodyLost:
            await order.prepare()
            self._terms.body_of(attempt.intent)

    async def _resend(self, attempt: Attempt, answer: Answer[Created] | None = None) -> None:
        """Same key, same bytes, until something definite comes back or resending is unsafe.

        ``answer``: what its send got just now; None where an earlier process has sent it.
        """
        tries, since = 0, anyio.current_time()
        baffled = int(answer is not None and answer.baffles)
        while self._may_be_sent(attempt):
            pause = self._pause(tries, answer) if tries or answer is not None else 0.0
            if not await self._safe_again(attempt, pause):
                return
            attempt = await self._attempts.apply(attempt.id, Sent(self._tools.earlier_clock()))
            if attempt.state.phase is not Phase.SUBMITTING:
                self._gate.unsent()
                return
            answer = await self._post(attempt)
            attempt = self._attempts.by_id[attempt.id]
            tries += 1
            baffled = baffled + 1 if answer.baffles else 0
            since = since if baffled else anyio.current_time()
            if self._is_hopeless(baffled, since):
                return self._give_up(attempt, answer)
            if tries == _OFTEN and attempt.state.phase in SENDABLE_PHASES:
                words = f"row {attempt.intent.key} is still refused: {answer.error.message}"
                self._tools.remark(
                    f"{words}; it is sent again with the same key, so nothing is paid for twice"
                )

    def _is_hopeless(self, baffled: int, since: float) -> bool:
        """Whether a send that strangers answered so often in a row, since then, is to be left."""
        now, patience = anyio.current_time(), _BAFFLED_FOR if self._accepted else 0.0
        by_itself = baffled >= _BAFFLED and now - since >= patience
        all_are = baffled > 1 and self._strange >= _BAFFLED_ALL
        return by_itself or (all_are and now - self._strange_since >= patience)

    def _give_up(self, attempt: Attempt, answer: Answer[Created]) -> None:
        """Leave a send unanswered that nobody but strangers answers: the next run asks again."""
        if attempt.state.phase is not Phase.SUBMITTING:
            return
        self._baffled_rows += 1
        if answer.verdict in hiapi.ACCOUNT:
            self._stopper.stop(Stop.ACCOUNT, answer.error.message)
        elif answer.verdict is Verdict.ELSEWHERE and answer.status >= 300:
            self._stopper.stop(Stop.ELSEWHERE, self._not_hiapi(answer))
        elif self._baffled_rows >= _BAFFLED_ROWS:
            words = f"new tasks get answers that HiAPI does not give ({answer.error.message})"
            self._stopper.stop(Stop.NOT_UNDERSTOOD, words)
        key, message = attempt.intent.key, answer.error.message
        self._tools.remark(f"row {key} got no answer that HiAPI would give: {message}")

    def _may_be_sent(self, attempt: Attempt) -> bool:
        if attempt.state.phase is Phase.PLANNED and attempt.id in self._terms.only_settled:
            return False  # refused: it does not exist, and no row asks for it
        return attempt.state.phase in SENDABLE_PHASES

    async def _safe_again(self, attempt: Attempt, pause: float) -> bool:
        """Wait for the attempt's next turn; False if by then it must not or need not be sent."""
        # A refused one counts no longer, and will again once it is sent.
        refused = attempt.state.phase is Phase.PLANNED
        freed = (attempt.intent.est_cost if refused else None) or Decimal(0)
        self._reserved += freed
        try:
            await self._paused(attempt, pause)
            await self._until_owned(attempt, refused)
            if not await self._gate.wait(partial(self._may_repeat, attempt, refused)):
                return False
        finally:
            self._reserved -= freed
        reason = self._unsafe(attempt)
        if reason is not None:
            self._gate.unsent()
            if refused:
                self._stopper.observer(RowSkipped(attempt.intent.key, reason))
            await self._attempts.apply(attempt.id, WindowPassed(reason, self._tools.wall()), reason)
        return reason is None

    async def _until_owned(self, attempt: Attempt, refused: bool) -> None:
        while not self._terms.may_send() and self._may_repeat(attempt, refused):
            await self._attempts.changed(within=_NAP)

    def _may_repeat(self, attempt: Attempt, refused: bool) -> bool:
        """Whether a repeated send is still allowed, and still needed: a callback may have told."""
        phase = self._attempts.by_id[attempt.id].state.phase
        return phase in SENDABLE_PHASES and (self._going() if refused else self._stopper.settles)

    async def _paused(self, attempt: Attempt, seconds: float) -> None:
        """Wait before a repeated send, but no longer than one is allowed and needed."""
        with anyio.move_on_after(seconds):
            while self._may_repeat(attempt, refused=False):
                await self._attempts.changed(within=_NAP)

    def _pause(self, tries: int, answer: Answer[Created] | None) -> float:
        wished = answer.retry_after if answer is not None else None
        budget = self._retries.wait(anyio.current_time())
        return max(wished or 0.0, budget, backoff(tries, self._gate.jitter()))

    def _unsafe(self, attempt: Attempt) -> str | None:
        if attempt.intent.key_fingerprint != self._terms.key_fingerprint:
            return "it was sent with another API key; with this one it would be a new purchase"
        if not may_resend(attempt.state, self._tools.later_clock()):
            return "the service may have forgotten its key after 23 h; a resend could pay twice"
        try:
            self._terms.body_of(attempt.intent)
        except BodyLost as error:
            return f"{error}; any other request could pay twice"
        return None

    async def _post(self, attempt: Attempt) -> Answer[Created]:
        body = self._terms.body_of(attempt.intent)
        self._attempts.check()
        if not self._terms.may_send():  # since it waited for its turn
            self._gate.unsent()
            await self._attempts.apply(attempt.id, Refused(_NOT_OWNER))
            return Answer(Verdict.UNKNOWN, error=TaskError("", _NOT_OWNER), connected=False)
        self._posting.add(attempt.id)
        try:
            answer = await self._client.create(body, attempt.intent.idempotency_key)
        finally:
            self._posting.discard(attempt.id)
        event = self._unless_taken(attempt, event_of(answer, self._tools.wall()))
        attempt = await self._attempts.apply(attempt.id, event, answer.error.message)
        self._learn(attempt, answer)
        return answer

    def _unless_taken(self, attempt: Attempt, event: Event) -> Event:
        """A task belongs to one attempt: an answer that names another one's settles nothing."""
        if not isinstance(event, Accepted):
            return event
        holder = self._attempts.by_task.get(event.task_id, attempt.id)
        if holder == attempt.id:
            return event
        row = self._attempts.by_id[holder].intent.key
        message = f"the answer names task {event.task_id}, which already belongs to row {row}"
        return KeyMismatch(message, event.at)

    # ── what an answer teaches ──────────────────────────────────────────────────────────────

    def _learn(self, attempt: Attempt, answer: Answer[Created]) -> None:
        crowded = self._gate.heard("create", answer)
        self._heard_strangers(answer)
        if answer.verdict is Verdict.OK:
            self._baffled_rows, self._accepted = 0, True
            self._slots.accepted(self._attempts.count(Phase.IN_FLIGHT))
        elif crowded:
            self._too_many(answer)
        elif answer.verdict in hiapi.ACCOUNT and not answer.baffles:
            self._stopper.stop(Stop.ACCOUNT, answer.error.message)
        if attempt.state.phase is Phase.FAILED:
            self.task_ended(attempt)

    def _heard_strangers(self, answer: Answer[Created]) -> None:
        self._strange = self._strange + 1 if answer.baffles else 0
        if self._strange == 1:
            self._strange_since = anyio.current_time()

    def _too_many(self, answer: Answer[Created]) -> None:
        in_flight = self._attempts.count(Phase.IN_FLIGHT)
        pause = answer.retry_after or 0.0
        if not in_flight and not pause:  # others use up the account; come back without haste
            pause = self._gate.pause("create")
        self._slots.refused(in_flight, anyio.current_time(), self._typical(), pause)

    def task_ended(self, attempt: Attempt) -> None:
        """The service said how a task ended, or that it takes none for this row."""
        if not self._returns.ended(attempt, message_of(attempt)[:_WHY]):
            self._returns.made()
        self._weigh()
