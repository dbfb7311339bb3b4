"""An answer's body, chunk by chunk, with a deadline for each and a floor under their pace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import anyio
import httpx

from seedance_batch.download.answers import Cut
from seedance_batch.download.results import Limits


class Body:
    """Bytes as they came over the wire: never decoded, so a bomb stays small."""

    def __init__(
        self, response: httpx.Response, limits: Limits, observe: Callable[[int], None]
    ) -> None:
        self._host = response.url.host
        self._raw = response.aiter_raw()
        self._limits = limits
        self._observe = observe
        self._span_start = anyio.current_time()
        self._span_bytes = 0

    async def next(self) -> bytes | None:
        """The next chunk, None at the end. Raises `Cut`."""
        chunk = None
        try:
            with anyio.move_on_after(self._limits.stall) as wait:
                chunk = await anext(self._raw, None)
        except (httpx.TransportError, OSError) as error:
            raise Cut(f"{self._host} broke off: {words(error)}") from error
        if wait.cancelled_caught:
            raise Cut(f"{self._host} sent nothing for {self._limits.stall:g} s", slow=True)
        if chunk is not None:
            self._observe(len(chunk))
            self._check_pace(len(chunk))
        return chunk

    async def abandon(self) -> None:
        """Unwind httpx's nested iterators, wherever they stand.

        Closing the outer one would leave the inner ones to the garbage collector; a cancellation
        reaches the innermost. What is buffered may come out before it does.
        """
        faults = suppress(httpx.TransportError, OSError)
        with anyio.CancelScope() as scope, faults:
            scope.cancel()
            for _ in range(3):
                if await anext(self._raw, None) is None:
                    return

    def _check_pace(self, size: int) -> None:
        """A host that drips holds a lane as surely as one that stalls."""
        self._span_bytes += size
        now = anyio.current_time()
        span = now - self._span_start
        if span < self._limits.stall:
            return
        if self._span_bytes < self._limits.min_speed * span:
            speed = self._span_bytes / span
            raise Cut(f"{self._host} sent {speed:.0f} bytes a second", slow=True)
        self._span_start, self._span_bytes = now, 0


def words(error: Exception) -> str:
    """What an exception says, or its name where it says nothing."""
    return str(error) or type(error).__name__
