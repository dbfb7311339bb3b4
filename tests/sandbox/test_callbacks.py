"""Callbacks: signed, at least once, at most four attempts, on HiAPI's schedule."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from hiapi import HiAPI

from .conftest import KEY, START, Virtual, order, serving, virtually

SECRET = "whsec_0123456789abcdef"
HOOK = {"url": "http://127.0.0.1:9/hook?token=a/b", "when": "final"}


class Receiver(httpx.AsyncBaseTransport):
    """Answers deliveries in process and remembers when they came."""

    def __init__(self, *statuses: int, delay: float = 0.0) -> None:
        self.statuses = list(statuses)
        self.delay = delay
        self.heard: list[tuple[float, httpx.Request]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.heard.append((trio.current_time(), request))
        await trio.sleep(self.delay)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            raise httpx.ConnectError("nobody listens", request=request)
        return httpx.Response(status, request=request)

    def times(self) -> list[float]:
        """Seconds since the first delivery."""
        return [round(time - self.heard[0][0]) for time, _ in self.heard]

    def bodies(self) -> list[dict[str, Any]]:
        """What was delivered."""
        return [json.loads(request.content) for _, request in self.heard]


def _deliver(receiver: Receiver, tasks: int = 1, wait: float = 3000, **settings: Any) -> None:
    async def test(virtual: Virtual) -> None:
        for n in range(tasks):
            await virtual.create(prompt=f"prompt {n}", callback=HOOK)
        await trio.sleep(wait)

    virtually(test, receiver=receiver, **settings)


def test_the_bare_task_is_delivered_when_it_is_final() -> None:
    receiver = Receiver()

    async def test(virtual: Virtual) -> None:
        task_id = (await virtual.create(callback=HOOK)).json()["data"]["taskId"]
        await trio.sleep(129.9)
        assert receiver.heard == []
        await trio.sleep(1)
        assert receiver.bodies() == [await virtual.task(task_id)]
        assert str(receiver.heard[0][1].url) == HOOK["url"]

    virtually(test, receiver=receiver)


def test_a_failed_task_is_told_too() -> None:
    receiver = Receiver()
    _deliver(receiver, faults={"tasks": {"TASK_TIMEOUT": 1.0}})
    assert [body["error"]["code"] for body in receiver.bodies()] == ["TASK_TIMEOUT"]


@pytest.mark.parametrize("failure", [500, 404, 302, 0])
def test_a_delivery_that_fails_is_repeated_after_1_5_and_20_minutes_then_never(
    failure: int,
) -> None:
    receiver = Receiver(*[failure] * 9)
    _deliver(receiver, wait=90_000)
    assert receiver.times() == [0, 60, 300, 1200]


def test_a_receiver_has_ten_seconds_to_answer() -> None:
    receiver = Receiver(delay=10.5)
    _deliver(receiver, wait=90_000)
    assert len(receiver.heard) == 4
    patient = Receiver(delay=9.5)
    _deliver(patient)
    assert len(patient.heard) == 1


def test_speed_compresses_the_schedule() -> None:
    receiver = Receiver(*[500] * 9)
    _deliver(receiver, speed=10)
    assert receiver.times() == [0, 6, 30, 120]


def test_a_delivery_that_is_heard_ends_the_matter() -> None:
    receiver = Receiver(500, 200)
    _deliver(receiver, wait=90_000)
    assert receiver.times() == [0, 60]


def test_a_signature_covers_timestamp_and_raw_body() -> None:
    receiver = Receiver()
    _deliver(receiver, webhook_secret=SECRET)
    request = receiver.heard[0][1]
    stamp = request.headers["x-hiapi-timestamp"]
    assert int(stamp) == int(START + 130)
    signed = f"{stamp}.".encode() + request.content
    wanted = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert request.headers["x-hiapi-signature"] == wanted


def test_without_a_secret_nothing_is_signed() -> None:
    receiver = Receiver()
    _deliver(receiver)
    assert "x-hiapi-signature" not in receiver.heard[0][1].headers


@pytest.mark.parametrize("fault", ["unsigned", "forged", "stale"])
def test_signatures_can_be_bad_in_every_way(fault: str) -> None:
    receiver = Receiver()
    _deliver(receiver, webhook_secret=SECRET, faults={"callbacks": {fault: 1.0}})
    request = receiver.heard[0][1]
    with _hiapi() as client, pytest.raises(Exception, match=r"signature|timestamp|header"):
        client.webhooks.verify(request.content, request.headers, now=int(START + 130))


@contextmanager
def _hiapi() -> Iterator[HiAPI]:
    yield HiAPI(api_key=KEY, webhook_secret=SECRET)


def test_callbacks_can_be_dropped_and_are_then_tried_again() -> None:
    receiver = Receiver()
    _deliver(receiver, tasks=40, faults={"callbacks": {"drop": 0.3}, "tries": 3}, wait=90_000)
    assert len({body["taskId"] for body in receiver.bodies()}) == 40
    gone = Receiver()
    _deliver(gone, tasks=5, faults={"callbacks": {"drop": 1.0}}, wait=90_000)
    assert gone.heard == []


def test_callbacks_can_be_duplicated_but_never_more_than_four() -> None:
    receiver = Receiver()
    _deliver(receiver, faults={"callbacks": {"duplicate": 1.0}}, wait=90_000)
    assert receiver.times() == [0, 0]
    refused = Receiver(500, 500, 500, 200)
    _deliver(refused, faults={"callbacks": {"duplicate": 1.0}}, wait=90_000)
    assert len(refused.heard) == 4


def test_callbacks_can_come_late_and_in_another_order() -> None:
    late = Receiver()
    _deliver(late, faults={"callbacks": {"late": 1.0}, "late_seconds": 30})
    assert late.bodies()[0]["completed"] == START + 130
    mixed = Receiver()
    _deliver(mixed, tasks=12, faults={"callbacks": {"reorder": 1.0}})
    order_of = [body["taskId"] for body in mixed.bodies()]
    plain = Receiver()
    _deliver(plain, tasks=12)
    assert len(set(order_of)) == len(plain.heard) == 12
    assert mixed.times() != plain.times()


def test_a_callback_can_come_before_the_answer_to_its_create() -> None:
    receiver = Receiver()

    async def test(virtual: Virtual) -> None:
        started = trio.current_time()
        answer = await virtual.create(callback=HOOK)
        assert trio.current_time() - started == pytest.approx(2)
        assert receiver.heard[0][0] - started == pytest.approx(0.5)
        assert receiver.bodies()[0]["taskId"] == answer.json()["data"]["taskId"]

    virtually(test, receiver=receiver, generation_time="0.5", faults={"create": {"late": 1.0}})


def test_a_hundred_callbacks_at_once_all_arrive() -> None:
    receiver = Receiver(delay=1.0)
    _deliver(receiver, tasks=300)
    assert len({body["taskId"] for body in receiver.bodies()}) == 300
    assert len(receiver.heard) == 300


def test_every_delivery_stands_in_the_ledger() -> None:
    async def test(virtual: Virtual) -> None:
        await virtual.create(callback=HOOK)
        await trio.sleep(3000)
        ledger = await virtual.ledger()
        sent = [entry for entry in ledger["requests"] if entry["origin"] == "callback"]
        assert [entry["status"] for entry in sent] == [500, 200]
        assert sent[0]["verdict"] == "refused, attempt 1"
        assert ledger["counters"]["callbacks_delivered"] == 1

    virtually(test, receiver=Receiver(500))


def test_what_is_still_to_be_delivered_survives_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.db"

    async def first(virtual: Virtual) -> None:
        await virtual.create(callback=HOOK)
        await trio.sleep(150)

    virtually(first, receiver=Receiver(500), state=state)
    receiver = Receiver()

    async def second(virtual: Virtual) -> None:
        await trio.sleep(191)

    virtually(second, receiver=receiver, state=state)
    assert len(receiver.heard) == 1


def test_over_real_sockets_hiapis_own_client_verifies_a_callback() -> None:
    with _hook() as (url, heard), serving(webhook_secret=SECRET) as served:
        body = {**order(), "callback": {"url": url, "when": "final"}}
        task_id = served.client.post("/v1/tasks", json=body).json()["data"]["taskId"]
        headers, content = heard.get()
        with _hiapi() as client:
            task = client.webhooks.verify(content, headers)
        assert (task.task_id, task.succeeded) == (task_id, True)


class _Heard:
    """One delivery, waited for."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.event = threading.Event()

    def get(self) -> tuple[dict[str, str], bytes]:
        assert self.event.wait(10), "no callback came"
        return self.got[0]


@contextmanager
def _hook() -> Iterator[tuple[str, _Heard]]:
    heard = _Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.got.append((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()
            heard.event.set()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook/token", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
