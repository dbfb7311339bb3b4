"""Creating, looking and listing, as HiAPI documents them."""

from __future__ import annotations

import re

import httpx
import pytest

from seedance_batch.sandbox.engine import MODELS

from .conftest import START, Served, Virtual, order, virtually


def test_a_create_answers_at_once_with_a_task_id(served: Served) -> None:
    answer = served.create()
    assert answer.json()["code"] == 200
    assert answer.json()["message"] == "success"
    assert re.fullmatch("tk-hiapi-[0-9A-HJKMNP-TV-Z]{26}", answer.json()["data"]["taskId"])


def test_a_task_is_queued_handled_archived_and_succeeds() -> None:
    async def test(virtual: Virtual) -> None:
        task_id = (await virtual.create()).json()["data"]["taskId"]
        seen = []
        for _ in range(140):
            task = await virtual.task(task_id)
            if not seen or seen[-1] != task["status"]:
                seen.append(task["status"])
            assert bool(task["completed"]) == (task["status"] == "success")
            assert ("output" in task) == (task["status"] == "success")
            await trio_sleep(1)
        assert seen == ["queued", "handling", "archiving", "success"]
        assert (await virtual.task(task_id))["completed"] == START + 130

    virtually(test)


async def trio_sleep(seconds: float) -> None:
    import trio

    await trio.sleep(seconds)


def test_a_finished_task_has_a_video_a_thumbnail_and_the_last_frame_if_asked(
    served: Served,
) -> None:
    task = served.finished(served.task_id(return_last_frame=True))
    assert {entry["type"] for entry in task["output"]} == {"video", "thumbnail", "last_frame"}
    task = served.finished(served.task_id())
    assert {entry["type"] for entry in task["output"]} == {"video", "thumbnail"}
    assert all(isinstance(entry["expireAt"], int) for entry in task["output"])


def test_storage_and_route_come_back_and_the_route_is_part_of_the_model(served: Served) -> None:
    body = {**order(), "storage": "persistent", "route": "pro"}
    made = served.client.post("/v1/tasks", json=body).json()["data"]["taskId"]
    task = served.task(made)
    assert (task["storage"], task["route"], task["model"]) == (
        "persistent",
        "pro",
        "seedance-2-0@pro",
    )
    plain = served.task(served.task_id())
    assert "storage" not in plain
    assert "route" not in plain
    assert plain["model"] == "seedance-2-0"


@pytest.mark.parametrize("route", ["", "default"])
def test_no_route_and_the_default_route_are_the_same(served: Served, route: str) -> None:
    made = served.client.post("/v1/tasks", json={**order(), "route": route})
    assert "route" not in served.task(made.json()["data"]["taskId"])


def test_an_unknown_route_is_refused_with_the_known_ones(served: Served) -> None:
    answer = served.client.post("/v1/tasks", json={**order(), "route": "nope"})
    assert answer.status_code == 400
    assert "default, pro" in answer.json()["message"]


def test_both_spellings_of_the_model_work_and_others_are_unknown(served: Served) -> None:
    for model in ("seedance-2-0", "seedance-2.0", "seedance-2-0@pro"):
        assert served.client.post("/v1/tasks", json={**order(), "model": model}).is_success
    answer = served.client.post("/v1/tasks", json={**order(), "model": "sora"})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "model_not_found")


def test_lists_are_newest_first_and_pages_hold_together() -> None:
    async def test(virtual: Virtual) -> None:
        made = [(await virtual.create()).json()["data"]["taskId"] for _ in range(25)]
        pages = [
            (await virtual.api.get("/v1/tasks", params={"page": n, "size": 10})).json()["data"]
            for n in (1, 2, 3, 4)
        ]
        listed = [task["taskId"] for page in pages for task in page["tasks"]]
        assert listed == made[::-1]
        assert [len(page["tasks"]) for page in pages] == [10, 10, 5, 0]
        assert pages[2] == {**pages[2], "page": 3, "size": 10, "total": 25}

    virtually(test)


@pytest.mark.parametrize(
    ("asked", "page", "size"),
    [
        ("", 1, 10),
        ("?size=100", 1, 100),
        ("?size=101", 1, 10),
        ("?size=0", 1, 10),
        ("?size=-1&page=-1", 1, 10),
        ("?size=ten&page=two", 1, 10),
        ("?size=1.5", 1, 10),
        ("?page=0", 1, 10),
        ("?page=3&size=7", 3, 7),
        ("?page=99999999999999999999", 1, 10),
    ],
)
def test_page_and_size_out_of_range_silently_become_the_default(
    served: Served, asked: str, page: int, size: int
) -> None:
    data = served.client.get(f"/v1/tasks{asked}").json()["data"]
    assert (data["page"], data["size"]) == (page, size)


def test_an_account_sees_only_its_own_tasks(served: Served) -> None:
    task_id = served.task_id()
    other = {"Authorization": "Bearer sk-somebody-else"}
    answer = served.client.get(f"/v1/tasks/{task_id}", headers=other)
    assert answer.status_code == 404
    assert served.client.get("/v1/tasks", headers=other).json()["data"]["total"] == 0
    assert served.client.get("/v1/tasks/tk-hiapi-unknown").status_code == 404


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer nope", "Basic sk-x", "sk-x"])
def test_a_missing_or_bad_key_is_401_everywhere_under_v1(
    served: Served, header: str | None
) -> None:
    with httpx.Client(base_url=served.address.api_url, timeout=120) as client:
        headers = {} if header is None else {"Authorization": header}
        for method, path in (("POST", "/v1/tasks"), ("GET", "/v1/tasks"), ("GET", "/v1/tasks/x")):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["code"] == 401


def test_prices_need_no_key_and_say_that_they_are_invented(served: Served) -> None:
    with httpx.Client(base_url=served.address.api_url, timeout=120) as client:
        prices = client.get("/api/pricing").json()
    assert "invented" in prices["sandbox"]
    assert {entry["model_name"] for entry in prices["data"]} == set(MODELS)
    assert all(entry["factors"] == ["duration"] for entry in prices["data"])


def test_what_is_charged_is_what_the_price_list_says(served: Served) -> None:
    for resolution, unit in (("480p", "0.048"), ("720p", "0.072"), ("1080p", "0.108")):
        task_id = served.task_id(resolution=resolution, duration=10)
        charged = {task["task_id"]: task["price"] for task in served.ledger()["tasks"]}
        assert float(charged[task_id]) == pytest.approx(float(unit) * 10)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_415(served: Served, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = served.client.post("/v1/tasks", content=b"{}", headers=headers)
    assert answer.status_code == 415


def test_unknown_paths_are_404_and_unknown_methods_405(served: Served) -> None:
    assert served.client.get("/v1/nothing").status_code == 404
    assert served.client.get("/v1/tasks/").status_code == 404
    answer = served.client.delete(f"/v1/tasks/{served.task_id()}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_a_body_over_the_limit_is_413() -> None:
    async def test(virtual: Virtual) -> None:
        assert (await virtual.create(prompt="x" * 2000)).status_code == 413
        assert (await virtual.ledger())["counters"]["creates_accepted"] == 0

    virtually(test, max_body=1000)


def test_a_page_of_another_site_cannot_reach_the_sandbox(served: Served) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = served.client.get("/sandbox/ledger", headers=headers)
        assert answer.status_code == 403
    assert served.client.get("/sandbox/ledger", headers={"Host": "localhost:1"}).is_success


def test_the_ledger_tells_tasks_requests_and_sums(served: Served) -> None:
    task_id = served.task_id(prompt="for the ledger")
    ledger = served.ledger()
    task = next(task for task in ledger["tasks"] if task["task_id"] == task_id)
    assert (task["prompt"], task["price"], len(task["body_sha256"])) == (
        "for the ledger",
        "0.192000",
        64,
    )
    assert ledger["requests"][-1] == {
        **ledger["requests"][-1],
        "method": "POST",
        "path": "/v1/tasks",
        "status": 200,
        "verdict": "accepted",
        "origin": "api",
    }
    assert ledger["counters"]["creates_accepted"] == len(ledger["tasks"])
    short = served.client.get("/sandbox/ledger?requests=0&tasks=0").json()
    assert (short["tasks"], short["requests"]) == ([], [])
    assert short["counters"] == ledger["counters"]
