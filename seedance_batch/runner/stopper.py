"""The one switch that ends submitting, and what may still go on after it."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from seedance_batch.events import Observer, Stop, Stopping

_MILD = frozenset({Stop.BUDGET, Stop.FAILURES, Stop.ERROR})
_HALTS = frozenset({Stop.ACCOUNT, Stop.ELSEWHERE, Stop.NOT_UNDERSTOOD})
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
        self._halted = anyio.Event()
        self._left = anyio.Event()

    @property
    def settles(self) -> bool:
        """Whether a send without an answer may still be repeated: a replay costs nothing new."""
        return not self._halted.is_set()

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
            self._halted.set()
        if why not in _LETS_WORK_FINISH:
            self.leave()

    def failed(self, error: Exception, where: str) -> None:
        """An error of the program itself: it ends the run, but loses nothing that was paid for."""
        self.fault = self.fault or error
        words = f"{type(error).__name__}: {error}"
        self.stop(
            Stop.ERROR,
            f"an internal error at {where} ({words}); what is in flight is seen to its end first",
        )

    def leave(self) -> None:
        """Stop looking and downloading as well."""
        self.leaving = True
        self._stopped.set()
        self._halted.set()
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
