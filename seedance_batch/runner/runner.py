"""Submits, watches and fetches until nothing is left to do; is handed all that it works with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import anyio

from seedance_batch.api.callbacks import Hear
from seedance_batch.clips.transfer import Fetches
from seedance_batch.core.attempt import Attempt, Phase
from seedance_batch.core.polling import Demand, Looks
from seedance_batch.core.text import first_few
from seedance_batch.events import Observer, RunEvent, Stop
from seedance_batch.runner.attempts import Order, Terms
from seedance_batch.runner.fetch import Fetcher
from seedance_batch.runner.gate import Part, Returns, Stopper, Tools
from seedance_batch.runner.sightings import Inbox, Overdue, Sightings
from seedance_batch.runner.submit import Submitter
from seedance_batch.runner.watch import Watcher
from seedance_batch.settings import RunSettings

# ── One run: a submitter, a watcher and download lanes in one task group ──────────────────────────


_GRACE = 8.0
"""Seconds that POSTs and downloads under way have after the first Ctrl-C."""


@dataclass(frozen=True, slots=True)
class RunEnding:
    """How a run ended: why submitting stopped early, if it did, and how much was left unsent."""

    stop: Stop | None
    message: str
    unsent: int
    forgotten: tuple[str, ...] = ()
    """Rows that were not waited for: the service has not known their tasks for minutes."""


class Runner(Part):
    """Drives attempts to their end. ``name_for`` gives an attempt's free file name.

    ``called_back``: a receiver of callbacks passes them to `hear`.
    """

    def __init__(
        self,
        tools: Tools,
        downloader: Fetches,
        settings: RunSettings,
        terms: Terms,
        *,
        name_for: Callable[[Attempt], str],
        called_back: bool,
    ) -> None:
        super().__init__(tools)
        self._wait = settings.wait
        self._left_alone = terms.left_alone
        self._said_that_it_waits = False
        looks = Looks(settings.poll_interval, called_back=called_back)
        slots = tools.gate.slots(settings.concurrency)
        returns = self._returns = Returns(settings.max_failures)
        self._fetcher = Fetcher(
            tools,
            downloader,
            returns,
            lanes=settings.downloads,
            name_for=name_for,
            weigh=self._weigh_returns,
        )
        self._submitter = Submitter(
            tools,
            replace(terms, room=lambda: self._has_room() and terms.room()),
            slots,
            returns,
            max_cost=settings.max_cost,
            typical=looks.typical,
            weigh=self._weigh_returns,
        )
        sightings = Sightings(tools, looks, ended=self._submitter.task_ended)
        self._overdue = Overdue(tools, sightings, slots)
        self._inbox = Inbox(tools, sightings)
        self._watcher = Watcher(
            tools, sightings, demand=self._demand, key_fingerprint=terms.key_fingerprint
        )

    @property
    def hear(self) -> Hear:
        """Where a receiver passes callbacks to."""
        return self._inbox.hear

    async def run(self, orders: list[Order], *, settle: bool = True) -> RunEnding:
        """Send ``orders``, take up what there is, and return when nothing is left to do.

        ``settle`` False leaves unanswered sends alone, so that nothing at all is submitted.
        """
        unsettled = self._attempts.in_phase(Phase.SUBMITTING) if settle else []
        unsettled = [a for a in unsettled if a.id not in self._left_alone]
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(self._leave_in_time, scope)
                if self._wait is not None:
                    group.start_soon(self._stop_waiting, self._wait)
                group.start_soon(self._submitter.run, orders, unsettled, group)
                group.start_soon(self._watcher.run, self._over)
                if self._tools.account is not None:
                    group.start_soon(self._tools.account.keep, self._census, self._attempts.wake)
                group.start_soon(self._overdue.run, lambda: self._submitter.idle)
                group.start_soon(self._inbox.run)
                await self._fetcher.run(self._over)
                while not self._submitter.idle:
                    await self._attempts.changed(within=1.0)
                scope.cancel()
        if self._stopper.fault is not None:
            raise self._stopper.fault
        forgotten = tuple(attempt.intent.key for attempt in self._watcher.given_up())
        if forgotten and self._stopper.why is None:
            self._tools.remark(_not_waited_for(forgotten))
        return RunEnding(
            self._stopper.why, self._stopper.message, self._submitter.waiting, forgotten
        )

    def _census(self) -> tuple[int, int, int]:
        """Places taken, tasks accepted, and rows that only want for a place."""
        submitter = self._submitter
        return submitter.taken, self._attempts.count(Phase.IN_FLIGHT), submitter.ready

    def _has_room(self) -> bool:
        """Whether clips arrive as they are bought."""
        return self._fetcher.keeps_up() and not self._returns.waits(self._fetcher.coming())

    def _demand(self) -> Demand:
        """What rows that wait to be sent are short of; of nothing, where they wait for clips."""
        if self._returns.waits(self._fetcher.coming()):
            return Demand.NOTHING
        return self._submitter.demand

    def _weigh_returns(self) -> None:
        """Buy nothing more, or nothing for now, where what is bought gives no clips."""
        if self._stopper.stopped or not self._submitter.waiting:
            return
        coming = self._fetcher.coming()
        if self._returns.is_over(coming):
            self._stopper.stop(Stop.FAILURES, self._returns.verdict)
        elif self._returns.is_held(coming) and not self._said_that_it_waits:
            self._said_that_it_waits = True
            words = "no more rows are bought until one arrives, or every one has been tried"
            self._tools.remark(f"{self._returns.missing}: {words}")

    def _over(self) -> bool:
        blind = self._watcher.blind
        in_flight = self._attempts.count(Phase.IN_FLIGHT) and not blind
        if in_flight and self._submitter.idle:
            in_flight = len(self._watcher.given_up()) < in_flight
        return self._submitter.idle and not in_flight and self._fetcher.idle(blind=blind)

    async def _leave_in_time(self, scope: anyio.CancelScope) -> None:
        await self._stopper.until_left()
        self._attempts.wake()
        await anyio.sleep(_GRACE)
        scope.cancel()

    async def _stop_waiting(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self._stopper.stop(Stop.WAIT, f"waited {seconds:g} s")


def _not_waited_for(rows: tuple[str, ...]) -> str:
    names = first_few([f"row {key}" for key in rows], 5)
    return (
        f"the service has not known the task of {names} for minutes, so the run no longer waits "
        "for it. It may have been paid for; the same command asks again, and reconcile can "
        "release it"
    )


# ── Ends a library's run in order from outside of it: Ctrl-C in a notebook, a watcher that raises


T = TypeVar("T")
_INTERRUPTED = "interrupted; everything under way is recorded"


class Holder:
    """Holds a run that may not have begun yet; a run that is let go ends as after one Ctrl-C."""

    def __init__(self) -> None:
        self.fault: BaseException | None = None
        """What a watcher raised; the run ended because of it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopper: Stopper | None = None
        self._asked = False

    def take(self, stopper: Stopper) -> None:
        """The run begins, on the running loop."""
        self._loop, self._stopper = asyncio.get_running_loop(), stopper
        if self._asked:
            self._stop()

    def interrupt(self) -> None:
        """End the run; from any thread, at any time."""
        self._asked = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended by itself
                self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._stopper is not None:
            self._stopper.stop(Stop.SIGNAL, _INTERRUPTED)

    def let_go(self, finished: T) -> T:
        """What the run came to, once it is out of its loop; raises what its watcher raised."""
        if self.fault is not None:
            raise self.fault
        return finished

    def guarding(self, watch: Observer) -> Observer:
        """A watcher that is told no more once it has raised, and the run ended in order then."""

        def observe(event: RunEvent) -> None:
            if self.fault is not None:
                return
            try:
                watch(event)
            except asyncio.CancelledError:  # the run's own end, not the watcher's fault
                raise
            except BaseException as fault:  # sys.exit too: loose in a loop, it is a long traceback
                self.fault = fault
                if self._stopper is not None:
                    self._stopper.stop(Stop.SIGNAL, f"on_event raised {type(fault).__name__}")

        return observe


def beside_any_loop(work: Callable[[], T], holder: Holder | None = None) -> T:
    """Do blocking work here, or in a thread where an event loop runs here (a notebook).

    Ctrl-C then ends what ``holder`` holds before it is raised; a second one waits for nothing.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    pool = ThreadPoolExecutor(1)
    try:
        return _awaited(pool.submit(work), holder)
    finally:
        pool.shutdown(wait=False)


def _awaited(future: Future[T], holder: Holder | None) -> T:
    try:
        return future.result()
    except KeyboardInterrupt:
        if holder is not None and not future.done():
            holder.interrupt()
            future.exception()  # waits; how it ended is in the run folder
        raise
