"""One URL into one `Partial`: every wait bounded, every redirect checked, cuts continued.

Whatever the host does, the outcome is a whole file or a result; nothing here judges a file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import anyio
import httpx

from seedance_batch import addresses
from seedance_batch.download import answers
from seedance_batch.download.answers import Cut, Ended, Known
from seedance_batch.download.body import Body, words
from seedance_batch.download.partial import Partial
from seedance_batch.download.results import Failed, Gone, Limits
from seedance_batch.download.unpacking import Unpacker
from seedance_batch.root_cause import root_reason
from seedance_batch.wire import USER_AGENT

_BATCH: Final = 1 << 20
"""Bytes gathered before a worker thread writes and hashes them: a hop for each chunk costs more."""
_PROGRESS: Final = 1 << 20
"""Bytes that make a try worth continuing."""
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}

T = TypeVar("T")


class Offload(Protocol):
    """How blocking work runs: in a worker thread, or inline under virtual time."""

    def __call__(self, work: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """``work(*args)``, away from the event loop."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What all transfers share."""

    http: httpx.AsyncClient
    allow_private: bool
    limits: Limits
    offload: Offload
    observe: Callable[[int], None]

    async def pull(self, url: str, partial: Partial, max_bytes: int) -> Known | Gone | Failed:
        """Bring the whole file, of which some may not be written yet. Raises `StorageFailed`.

        `Known` tells how sure its end is.
        """
        https = None if self.allow_private else addresses.secured(url)
        attempt = _Pull(self, https or url, partial, max_bytes)
        try:
            return await attempt.run()
        except Ended as end:
            return end.result if https is None else _plain_only(end.result)

    @asynccontextmanager
    async def answer(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """The answer at the end of the redirects, its body unread. Raises `Cut` or `Ended`."""
        for _ in range(self.limits.redirects + 1):
            refused = addresses.refusal(url, allow_private=self.allow_private)
            if refused:
                raise Ended(Failed(refused, ours=True))
            response = await self._send(httpx.URL(url), headers)
            try:
                target = answers.redirect(response)
                if target is None:
                    yield response
                    return
                url = target
            finally:
                await response.aclose()
        raise Ended(Failed(f"{httpx.URL(url).host} redirects without end"))

    async def _send(self, url: httpx.URL, headers: dict[str, str]) -> httpx.Response:
        host = url.host
        request = self.http.build_request("GET", url, headers=_HEADERS | headers, timeout=None)
        try:
            with anyio.move_on_after(self.limits.answer):
                return await self.http.send(request, stream=True, follow_redirects=False)
        except addresses.AddressRefused as refused:
            raise Ended(Failed(refused.reason, ours=True)) from refused
        except httpx.ConnectError as error:
            raise Cut(f"{host} cannot be reached: {root_reason(error)}", slow=True) from error
        except (httpx.TransportError, OSError) as error:
            raise Cut(f"{host} broke off: {words(error)}") from error
        raise Cut(f"{host} gave no answer in {self.limits.answer:g} s", slow=True)


def _plain_only(result: Gone | Failed) -> Failed:
    """A file that is not to be had by https: what plain http would bring is not taken."""
    message = f"the address is http, where https is needed; by https {result.message}"
    return Failed(message, ours=True)


class _Pull:
    """One fetch's tries."""

    def __init__(self, transfer: Transfer, url: str, partial: Partial, max_bytes: int) -> None:
        self._transfer = transfer
        self._limits = transfer.limits
        self._url = url
        self._partial = partial
        self._max_bytes = max_bytes
        self._known = Known()

    async def run(self) -> Known:
        fruitless = farthest = 0
        while True:
            try:
                await self._try()
                return self._known
            except Cut as cut:
                gained = self._partial.size - farthest
                fruitless = 0 if gained >= _PROGRESS else fruitless + 1
                farthest = max(farthest, self._partial.size)
                if fruitless >= self._limits.tries or (cut.slow and fruitless):
                    raise Ended(Failed(cut.message)) from cut
                if cut.distrusted:
                    self._known = Known()
            await anyio.sleep(self._limits.backoff * 2 ** max(0, fruitless - 1))

    async def _try(self) -> None:
        headers = self._continuation()
        async with self._transfer.answer(self._url, headers) as response:
            answers.check_status(response)
            if headers and response.status_code == 206:
                self._known = answers.continued(response, self._known, self._partial.size)
            else:
                self._known = answers.begun(response)
                self._partial.restart()
            self._check_size(self._known.total or 0)
            await self._receive(response)
        if self._known.total is not None and self._partial.size < self._known.total:
            raise Cut(f"the file ended at {self._partial.size} of {self._known.total} bytes")

    def _continuation(self) -> dict[str, str]:
        """Headers that ask for the rest, where what is here can be proven to be its start."""
        if self._partial.size and self._known.validator is not None:
            return {
                "Range": f"bytes={self._partial.size}-",
                "If-Range": self._known.validator,
            }
        return {}

    async def _receive(self, response: httpx.Response) -> None:
        body = Body(response, self._limits, self._transfer.observe)
        unpacker = Unpacker(self._known.packed) if self._known.packed else None
        try:
            while (chunk := await body.next()) is not None:
                for piece in unpacker.take(chunk) if unpacker else (chunk,):
                    await self._keep(piece)
        finally:
            await body.abandon()
        if unpacker is not None:
            unpacker.end()

    async def _keep(self, piece: bytes) -> None:
        self._partial.add(piece)
        self._check_size(self._partial.size)
        if self._partial.held >= _BATCH:
            await self._transfer.offload(self._partial.write)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise Ended(Failed(f"the file has more than {self._max_bytes} bytes", ours=True))
        if self._known.total is not None and size > self._known.total:
            raise Cut("the file is longer than announced", distrusted=True)
