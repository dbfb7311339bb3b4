"""The callback side of a run: where the service is told to call, and who listens there."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from seedance_batch import callbacks
from seedance_batch.callbacks import Hear, Receiver
from seedance_batch.errors import SettingsError
from seedance_batch.settings import Access, RunSettings


@dataclass(frozen=True, slots=True)
class Hearing:
    """Addresses for creates, and a receiver where this run listens itself."""

    access: Access
    url: str | None = None
    socket: socket.socket | None = None

    def url_for_attempt(self, token: str) -> str | None:
        """The callback address of a new attempt; the person's own service gets no token."""
        if self.url is None or self.socket is None:
            return self.url
        return callbacks.attempt_url(self.url, token)

    @contextlib.asynccontextmanager
    async def listening(self, hear: Hear) -> AsyncIterator[None]:
        """Pass callbacks to ``hear`` for the length of a block."""
        if self.socket is None:
            yield
            return
        receiver = Receiver(
            hear,
            keys=self.access.webhook_keys,
            wall=time.time,
            allow_private=self.access.private_files,
        )
        async with callbacks.served(receiver, self.socket):
            yield


def check_callbacks(settings: RunSettings, access: Access) -> None:
    """Raise `SettingsError` for callback flags that cannot work with this API."""
    private = access.private_files
    if settings.callback_url is not None:
        callbacks.check_url(settings.callback_url, allow_private=private)
    elif settings.callback_bind is not None and not private:
        raise SettingsError(
            "--callback-bind needs --callback-url: the service has to be told an address of this "
            "machine that it can reach.",
            hint="--callback-url https://your.host/hiapi --callback-bind 127.0.0.1:8787",
        )


@contextlib.contextmanager
def hearing(settings: RunSettings, access: Access) -> Iterator[Hearing]:
    """The callback side that the flags ask for; its socket listens for the length of the block."""
    check_callbacks(settings, access)
    if settings.callback_bind is None:
        yield Hearing(access, settings.callback_url)
        return
    with callbacks.listen(settings.callback_bind) as sock:
        yield Hearing(access, settings.callback_url or callbacks.local_url(sock), sock)
