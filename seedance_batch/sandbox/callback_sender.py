"""Sends callbacks: signed, at least once, at most four attempts.

As HiAPI's page about callbacks has it (read in November 2026): the bare task object, 10 s to
answer 2xx, four attempts, and a signature where the account has a key. Whether a retry is signed
afresh is not said; here it is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Final

import anyio

from seedance_batch.sandbox.config import CallbackFault
from seedance_batch.sandbox.engine import Engine
from seedance_batch.sandbox.faults import draw, unit
from seedance_batch.sandbox.ledger import DueCallback, StoredRequest, StoredTask

if TYPE_CHECKING:
    import httpx

_AFTER_FINAL: Final = (0.0, 60.0, 300.0, 1200.0)
"""When each attempt is made: at once, then about +1, +5 and +20 minutes."""
_HOUR: Final = 3600.0
_AT_ONCE: Final = 100
"""Deliveries in the air together."""


class Callbacks:
    """Delivers what is due, for as long as `serve` runs."""

    def __init__(self, engine: Engine, transport: httpx.AsyncBaseTransport | None) -> None:
        self._engine = engine
        self._transport = transport
        self._news = anyio.Event()
        self._sending: set[int] = set()

    def wake(self) -> None:
        """Tells that a delivery was planned."""
        self._news.set()

    async def serve(self) -> None:
        """Delivers until cancelled."""
        import httpx  # late: only a sandbox that serves callbacks needs a client

        async with (
            httpx.AsyncClient(
                transport=self._transport,
                timeout=None,  # noqa: S113  (`_send` bounds the whole delivery)
                trust_env=False,
                limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=10),
            ) as client,
            anyio.create_task_group() as tasks,
        ):
            while True:
                self._news = anyio.Event()
                wait = self._start_due(client, tasks)
                with anyio.move_on_after(wait):
                    await self._news.wait()

    def _start_due(self, client: httpx.AsyncClient, tasks: anyio.abc.TaskGroup) -> float | None:
        """Starts what is due; the seconds until the next delivery is, None if none is planned."""
        now = self._engine.clock()
        waiting = [
            due for due in self._engine.ledger.due_callbacks() if due.seq not in self._sending
        ]
        for due in waiting:
            if due.due > now:
                return due.due - now
            if len(self._sending) >= _AT_ONCE:
                return None  # the end of a delivery wakes the loop
            self._sending.add(due.seq)
            tasks.start_soon(self._deliver, client, due)
        return None

    async def _deliver(self, client: httpx.AsyncClient, due: DueCallback) -> None:
        try:
            task = self._engine.ledger.task(due.task_id)
            if task is None or task.callback_url is None:
                self._engine.ledger.remove_callback(due.seq)
            else:
                await self._attempt(client, due, task, task.callback_url)
        finally:
            self._sending.discard(due.seq)
            self.wake()

    async def _attempt(
        self, client: httpx.AsyncClient, due: DueCallback, task: StoredTask, url: str
    ) -> None:
        config, place = self._engine.config, f"{task.content}:{task.nth}"
        shares = config.faults.callbacks
        fault = draw(config.faults, config.seed, "callbacks", shares, place, due.attempt)
        await anyio.sleep(self._delay(fault, place, due.attempt))
        heard = False
        if fault is CallbackFault.DROP:
            self._write_down(task, url, 0, f"dropped, attempt {due.attempt}")
        else:
            heard = await self._send(client, due, task, url, fault)
        again = fault is CallbackFault.DUPLICATE and heard and due.attempt < len(_AFTER_FINAL)
        if again:
            await self._send(client, due, task, url, fault)
        self._settle(due, task, heard=heard)

    def _delay(self, fault: CallbackFault | None, place: str, attempt: int) -> float:
        config = self._engine.config
        if fault is CallbackFault.LATE:
            return config.faults.late_seconds
        if fault is CallbackFault.REORDER:
            return config.faults.reorder_seconds * unit(config.seed, "reorder", place, attempt)
        return 0.0

    async def _send(
        self,
        client: httpx.AsyncClient,
        due: DueCallback,
        task: StoredTask,
        url: str,
        fault: CallbackFault | None,
    ) -> bool:
        import httpx

        body = json.dumps(self._engine.view().task(task), ensure_ascii=False).encode()
        headers = {"content-type": "application/json", **self._signature(body, fault)}
        limit = self._engine.config.callback_timeout
        status, verdict = 0, "no answer in time"
        try:
            with anyio.move_on_after(limit):
                answer = await client.post(url, content=body, headers=headers)
                status = answer.status_code
                verdict = "delivered" if answer.is_success else "refused"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            verdict = f"not delivered: {type(error).__name__}"
        odd = f" ({fault.value})" if fault else ""
        self._write_down(task, url, status, f"{verdict}, attempt {due.attempt}{odd}")
        return 200 <= status < 300

    def _signature(self, body: bytes, fault: CallbackFault | None) -> dict[str, str]:
        """``hex(HMAC-SHA256(secret, timestamp + "." + body))``, where there is a secret."""
        secret = self._engine.config.webhook_secret
        if secret is None or fault is CallbackFault.UNSIGNED:
            return {}
        if fault is CallbackFault.FORGED:
            secret = f"not {secret}"
        back = _HOUR if fault is CallbackFault.STALE else 0.0
        stamp = str(int(self._engine.clock() - back))
        signature = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
        return {"x-hiapi-timestamp": stamp, "x-hiapi-signature": signature.hexdigest()}

    def _settle(self, due: DueCallback, task: StoredTask, *, heard: bool) -> None:
        """Plans the next attempt, or ends the matter; nothing is planned twice by a kill."""
        ledger = self._engine.ledger
        if not heard and due.attempt < len(_AFTER_FINAL):
            after = self._engine.config.compressed(_AFTER_FINAL[due.attempt])
            ledger.postpone_callback(due.seq, due.attempt + 1, task.times.final + after)
        else:
            ledger.remove_callback(due.seq)

    def _write_down(self, task: StoredTask, url: str, status: int, verdict: str) -> None:
        self._engine.ledger.add_request(
            StoredRequest(
                self._engine.clock(), "callback", "POST", url, status, verdict, task.task_id, False
            )
        )
