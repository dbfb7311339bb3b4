"""Puts the sandbox together: state, engine, the two ASGI applications, callbacks, rendering."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio.to_thread

from seedance_batch.sandbox.api import Api
from seedance_batch.sandbox.callbacks import Callbacks
from seedance_batch.sandbox.config import SandboxConfig
from seedance_batch.sandbox.engine import Engine
from seedance_batch.sandbox.files import Files
from seedance_batch.sandbox.store import Store
from seedance_batch.sandbox.studio import Offload, Studio

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Clock = Callable[[], float]


async def in_thread(work: Callable[[], T]) -> T:
    """Runs work beside the event loop; a cancelled caller does not wait for it."""
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


async def inline(work: Callable[[], T]) -> T:
    """Runs work at once: for virtual time, whose clock jumps while a thread works."""
    return work()


class Sandbox:
    """The sandbox in process: ``api`` and ``files`` are ASGI applications.

    ``callbacks.serve`` must run in a task group for callbacks to be sent.
    """

    def __init__(
        self, engine: Engine, offload: Offload, callback_transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.engine = engine
        self.callbacks = Callbacks(engine, callback_transport)
        self.studio = Studio(engine, offload)
        self.api = Api(engine, self.studio.reference_seconds, self.callbacks.wake)
        self.files = Files(engine, self.studio.contents)

    def close(self) -> None:
        """Ends the use of the state and whatever is being rendered."""
        self.studio.close()
        self.engine.store.close()


def build(
    config: SandboxConfig,
    *,
    state: Path | None = None,
    clock: Clock = time.time,
    offload: Offload = in_thread,
    callback_transport: httpx.AsyncBaseTransport | None = None,
) -> Sandbox:
    """The sandbox, ready to be mounted; ``state`` is continued where the file exists.

    For virtual time pass its ``clock`` (Unix seconds) and ``offload=inline``; in-process
    receivers of callbacks are reached through ``callback_transport``.
    """
    return Sandbox(Engine(config, Store(state), clock), offload, callback_transport)
