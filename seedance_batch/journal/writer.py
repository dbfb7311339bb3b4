"""One thread that commits whatever is queued; knows nothing of what it commits."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from seedance_batch.journal.operations import Operation

T = TypeVar("T")


class Writer:
    """One thread that commits whatever is queued, as one transaction."""

    def __init__(self, commit: Callable[[list[tuple[Operation[Any], Future[Any]]]], None]) -> None:
        self._commit = commit
        self._queue: queue.SimpleQueue[tuple[Operation[Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T]) -> Future[T]:
        """Queue an operation; its result, or what it raises, once its transaction has ended."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # what is handed over can no longer be taken back
        self._queue.put((operation, future))
        return future

    def stop(self) -> None:
        """Commit what is queued, and end the thread; nothing may be submitted after that."""
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, stop = self._drain(first)
            self._commit(batch)
            if stop:
                return

    def _drain(
        self, first: tuple[Operation[Any], Future[Any]]
    ) -> tuple[list[tuple[Operation[Any], Future[Any]]], bool]:
        batch = [first]
        with contextlib.suppress(queue.Empty):
            while (item := self._queue.get_nowait()) is not None:
                batch.append(item)
            return batch, True
        return batch, False
