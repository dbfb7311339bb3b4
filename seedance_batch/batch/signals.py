"""The signals that end a run gently: Ctrl-C, a kill, a terminal or a session that closes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import anyio

from seedance_batch.errors import Exit

_CODES: Final = {
    "SIGINT": Exit.INTERRUPTED,
    "SIGTERM": Exit.TERMINATED,
    "SIGHUP": Exit.HUNG_UP,
    "SIGBREAK": Exit.INTERRUPTED,  # Windows: Ctrl-Break, and a console that closes
}


def code_of_signal(number: int) -> Exit:
    """The exit code of a run that a signal has ended."""
    return _CODES[signal.Signals(number).name]


@contextlib.contextmanager
def ending_signals() -> Iterator[AsyncIterator[int]]:
    """Receive these signals in the main thread; afterwards each does what it did before.

    By ``signal.signal``, since asyncio has no handlers of its own on Windows.
    """
    loop = asyncio.get_running_loop()
    send, receive = anyio.create_memory_object_stream[int](math.inf)

    def tell(number: int, _frame: Any) -> None:
        loop.call_soon_threadsafe(send.send_nowait, number)

    with send, receive:
        former = {number: signal.signal(number, tell) for number in _wanted()}
        try:
            yield receive
        finally:
            for number, handler in former.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _wanted() -> list[signal.Signals]:
    """Those that this system has. Under nohup a closed terminal goes on to mean nothing."""
    found = [getattr(signal, name) for name in _CODES if hasattr(signal, name)]
    ignored = signal.SIG_IGN
    return [n for n in found if n.name != "SIGHUP" or signal.getsignal(n) is not ignored]
