"""Ends a library's run in order from outside of it: Ctrl-C in a notebook, a watcher that raises."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from seedance_batch.events import Observer, RunEvent, Stop
from seedance_batch.runner import Stopper

T = TypeVar("T")
_INTERRUPTED = "interrupted; what is under way is recorded"


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
