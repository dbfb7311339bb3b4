"""Odd lists, details and tasks on demand: what each looks like to a client."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from .conftest import Virtual, virtually


async def _listed(virtual: Virtual) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await virtual.api.get("/v1/tasks")).json()["data"]["tasks"]
    return found


async def _made(virtual: Virtual, **fields: Any) -> str:
    return str((await virtual.create(**fields)).json()["data"]["taskId"])


def test_list_pages_and_details_can_fail_apart_from_each_other() -> None:
    async def test(virtual: Virtual) -> None:
        task_id = await _made(virtual)
        await virtual.api.post("/sandbox/config", json={"faults": {"lists": {"405": 1.0}}})
        assert (await virtual.api.get("/v1/tasks")).status_code == 405
        assert (await virtual.api.get(f"/v1/tasks/{task_id}")).status_code == 200
        await virtual.api.post("/sandbox/config", json={"faults": {"details": {"404": 1.0}}})
        assert (await virtual.api.get("/v1/tasks")).status_code == 200
        assert (await virtual.api.get(f"/v1/tasks/{task_id}")).status_code == 404

    virtually(test)


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        ("stale", ["handling", "handling"]),
        ("says_fail", ["fail", "fail"]),
        ("says_fail_once", ["fail", "success"]),
        ("missing", [None, None]),
    ],
)
def test_a_list_can_be_wrong_about_a_task_that_its_detail_shows_as_it_is(
    fault: str, statuses: list[str | None]
) -> None:
    async def test(virtual: Virtual) -> None:
        task_id = await _made(virtual)
        for wanted, truth in zip(statuses, ["queued", "success"], strict=True):
            (status,) = [task["status"] for task in await _listed(virtual)] or [None]
            assert status == wanted
            assert (await virtual.task(task_id))["status"] == truth
            await trio.sleep(140)

    virtually(test, faults={"listed": {fault: 1.0}})


def test_a_page_can_hold_less_than_the_size_that_it_names() -> None:
    async def test(virtual: Virtual) -> None:
        for seed in range(5):
            await virtual.create(seed=seed)
        data = (await virtual.api.get("/v1/tasks?page=1&size=100")).json()["data"]
        assert (data["size"], data["total"], len(data["tasks"])) == (100, 5, 2)

    virtually(test, faults={"list_size": 2})


def test_a_task_can_take_for_ever() -> None:
    async def test(virtual: Virtual) -> None:
        task_id = await _made(virtual, prompt="a boat that is stuck")
        other = await _made(virtual)
        await trio.sleep(86_400)
        assert (await virtual.task(task_id))["completed"] == 0
        assert (await virtual.task(other))["status"] == "success"

    virtually(test, faults={"stuck": ["stuck"]})


def test_a_task_can_be_charged_and_forgotten() -> None:
    async def test(virtual: Virtual) -> None:
        task_id = await _made(virtual, prompt="a boat that is lost")
        assert (await virtual.api.get(f"/v1/tasks/{task_id}")).status_code == 404
        assert await _listed(virtual) == []
        assert [task["task_id"] for task in (await virtual.ledger())["tasks"]] == [task_id]

    virtually(test, faults={"forgotten": ["lost"]})


def test_a_task_can_be_unknown_at_first() -> None:
    async def test(virtual: Virtual) -> None:
        task_id = await _made(virtual)
        assert (await virtual.api.get(f"/v1/tasks/{task_id}")).status_code == 404
        assert await _listed(virtual) == []
        await trio.sleep(30)
        assert (await virtual.task(task_id))["taskId"] == task_id
        assert len(await _listed(virtual)) == 1

    virtually(test, faults={"unknown_seconds": 30})
