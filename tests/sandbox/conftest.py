"""Sandboxes for tests: over real sockets, and in process in virtual time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from seedance_batch.sandbox.config import SandboxConfig, checked
from seedance_batch.sandbox.server import Sandbox, SandboxAddress, build, inline, running
from tests.in_process import InProcess

KEY = "sk-test"
START = 1_800_000_000.0
PROMPT = "a paper boat drifts down a rainy street"


def order(**fields: Any) -> dict[str, Any]:
    """A create's body."""
    small = {"prompt": PROMPT, "duration": 4, "resolution": "480p"}
    return {"model": "seedance-2-0", "input": {**small, **fields}}


def config(**settings: Any) -> SandboxConfig:
    """A quick sandbox with plain clips."""
    return checked({"generation_time": "0.05", "clips": "plain", **settings}, "test")


@dataclass(frozen=True)
class Served:
    """A sandbox behind real sockets, and a client that has a key."""

    address: SandboxAddress
    client: httpx.Client

    def create(self, key: str | None = None, **fields: Any) -> httpx.Response:
        """POST /v1/tasks."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.client.post("/v1/tasks", json=order(**fields), headers=headers)

    def task_id(self, **fields: Any) -> str:
        """The id of a new task."""
        answer = self.create(**fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["taskId"])

    def task(self, task_id: str) -> dict[str, Any]:
        """The task object."""
        found: dict[str, Any] = self.client.get(f"/v1/tasks/{task_id}").json()["data"]
        return found

    def finished(self, task_id: str) -> dict[str, Any]:
        """The task object once it is final."""
        deadline = time.monotonic() + 120
        while not self.task(task_id)["completed"]:
            assert time.monotonic() < deadline, "the task does not finish"
            time.sleep(0.01)
        return self.task(task_id)

    def video_url(self, **fields: Any) -> str:
        """The URL of a new task's clip."""
        return str(self.finished(self.task_id(**fields))["output"][0]["url"])

    def ledger(self) -> dict[str, Any]:
        """GET /sandbox/ledger."""
        found: dict[str, Any] = self.client.get("/sandbox/ledger").json()
        return found

    def configure(self, **settings: Any) -> None:
        """POST /sandbox/config."""
        answer = self.client.post("/sandbox/config", json=settings)
        assert answer.status_code == 200, answer.text


@contextmanager
def serving(state: Path | None = None, **settings: Any) -> Iterator[Served]:
    """Serves a quick sandbox for the length of a block."""
    with (
        running(config(**settings), state=state) as address,
        httpx.Client(
            base_url=address.api_url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120
        ) as client,
    ):
        yield Served(address, client)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One sandbox for the tests of a file that do not mind each other."""
    with serving() as found:
        yield found


@dataclass(frozen=True)
class Virtual:
    """A sandbox in process, in virtual time, with clients of its two origins."""

    sandbox: Sandbox
    api: httpx.AsyncClient
    files: httpx.AsyncClient

    async def create(self, key: str | None = None, **body: Any) -> httpx.Response:
        """POST /v1/tasks."""
        headers = {"Idempotency-Key": key} if key else {}
        callback = body.pop("callback", None)
        content = {**order(**body), **({"callback": callback} if callback else {})}
        return await self.api.post("/v1/tasks", json=content, headers=headers)

    async def task(self, task_id: str) -> dict[str, Any]:
        """The task object."""
        found: dict[str, Any] = (await self.api.get(f"/v1/tasks/{task_id}")).json()["data"]
        return found

    async def ledger(self) -> dict[str, Any]:
        """GET /sandbox/ledger."""
        found: dict[str, Any] = (await self.api.get("/sandbox/ledger")).json()
        return found


def virtually(
    test: Callable[[Virtual], Awaitable[None]],
    receiver: httpx.AsyncBaseTransport | None = None,
    state: Path | None = None,
    **settings: Any,
) -> None:
    """Runs a test in virtual time: sleeping costs nothing, the clock starts at `START`."""

    async def main() -> None:
        started = trio.current_time()
        sandbox = build(
            config(**{"generation_time": "130", **settings}),
            state=state,
            clock=lambda: START + trio.current_time() - started,
            offload=inline,
            callback_transport=receiver,
        )
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            httpx.AsyncClient(
                transport=InProcess(sandbox.api),
                base_url="http://api.sandbox",
                headers=headers,
                timeout=60,
            ) as api,
            httpx.AsyncClient(transport=InProcess(sandbox.files), timeout=60) as files,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(sandbox.callbacks.serve)
            await test(Virtual(sandbox, api, files))
            nursery.cancel_scope.cancel()
        sandbox.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
