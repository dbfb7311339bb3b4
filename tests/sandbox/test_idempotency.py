"""``Idempotency-Key``: replay, mismatch, processing window, and forgetting."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from .conftest import Served, Virtual, order, virtually

DAY = 86_400


def _id(answer: httpx.Response) -> str:
    return str(answer.json()["data"]["taskId"])


def test_the_same_key_and_bytes_replay_the_first_task(served: Served) -> None:
    first, again = served.create(key="same"), served.create(key="same")
    assert _id(first) == _id(again)
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    tasks = [task for task in served.ledger()["tasks"] if task["idempotency_key"] == "same"]
    assert len(tasks) == 1
    assert served.ledger()["counters"]["replays"] == 1


def test_without_a_key_every_create_is_a_new_task(served: Served) -> None:
    assert _id(served.create()) != _id(served.create())


def test_the_same_key_with_another_body_is_422(served: Served) -> None:
    served.create(key="other")
    answer = served.create(key="other", duration=5)
    assert (answer.status_code, answer.json()["error_code"]) == (422, "IDEMPOTENCY_KEY_MISMATCH")


def test_same_means_the_same_bytes(served: Served) -> None:
    headers = {"Idempotency-Key": "bytes", "Content-Type": "application/json"}
    text = b'{"model":"seedance-2-0","input":{"prompt":"abc"}}'
    assert served.client.post("/v1/tasks", content=text, headers=headers).is_success
    spaced = served.client.post("/v1/tasks", content=text + b" ", headers=headers)
    assert spaced.status_code == 422


def test_a_key_has_at_most_255_bytes(served: Served) -> None:
    assert served.create(key="k" * 255).is_success
    assert served.create(key="k" * 256).status_code == 400


def test_keys_of_two_accounts_do_not_meet(served: Served) -> None:
    mine = served.create(key="shared")
    theirs = served.client.post(
        "/v1/tasks",
        json=order(),
        headers={"Idempotency-Key": "shared", "Authorization": "Bearer sk-other"},
    )
    assert _id(mine) != _id(theirs)


@pytest.mark.parametrize("speed", [1.0, 20.0])
def test_a_key_is_forgotten_after_24_hours_of_the_sandbox(speed: float) -> None:
    async def test(virtual: Virtual) -> None:
        first = _id(await virtual.create("day"))
        await trio.sleep(DAY / speed - 1)
        assert _id(await virtual.create("day")) == first
        await trio.sleep(2)
        assert _id(await virtual.create("day")) != first
        assert (await virtual.ledger())["counters"]["creates_accepted"] == 2

    virtually(test, speed=speed)


def test_while_the_first_request_runs_the_key_answers_409() -> None:
    async def test(virtual: Virtual) -> None:
        answers: dict[str, httpx.Response] = {}

        async def create(name: str) -> None:
            answers[name] = await virtual.create("slow")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(create, "first")
            await trio.sleep(1)
            await create("second")
        assert answers["second"].status_code == 409
        assert answers["second"].json()["error_code"] == "IDEMPOTENCY_KEY_PROCESSING"
        assert answers["second"].headers["retry-after"] == "5"
        assert _id(await virtual.create("slow")) == _id(answers["first"])
        assert (await virtual.ledger())["counters"]["creates_accepted"] == 1

    virtually(test, create_seconds=3)


@pytest.mark.parametrize("named", [False, True])
def test_a_lost_answer_can_leave_the_key_in_processing(named: bool) -> None:
    async def test(virtual: Virtual) -> None:
        with pytest.raises(httpx.ReadError):
            await virtual.create("lost")
        answer = await virtual.create("lost")
        assert answer.status_code == 409
        told: Any = answer.json()["data"]
        await trio.sleep(5)
        replay = await virtual.create("lost")
        assert replay.headers["idempotent-replay"] == "true"
        assert told == ({"taskId": _id(replay)} if named else None)
        assert (await virtual.ledger())["counters"]["creates_accepted"] == 1

    virtually(
        test, faults={"create": {"processing": 1}, "tries": 1, "processing_names_task": named}
    )


def test_a_refused_create_leaves_its_key_free(served: Served) -> None:
    assert served.create(key="mended", duration=99).status_code == 400
    assert served.create(key="mended").is_success
