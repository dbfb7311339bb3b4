"""Limits of rate, concurrency and money, and what can be changed while it runs."""

from __future__ import annotations

import trio

from .conftest import KEY, START, Served, Virtual, serving, virtually


def test_a_minute_holds_so_many_requests_polls_included() -> None:
    async def test(virtual: Virtual) -> None:
        for n in range(10):
            answer = await virtual.api.get("/v1/tasks")
            assert answer.headers["x-ratelimit-limit"] == "10"
            assert answer.headers["x-ratelimit-remaining"] == str(9 - n)
            assert answer.headers["x-ratelimit-reset"] == str(int(START) + 60)
            await trio.sleep(1)
        refused = await virtual.create()
        assert (refused.status_code, refused.json()["error_code"]) == (429, "rate_limit_exceeded")
        assert refused.headers["retry-after"] == "50"
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert (await virtual.api.get("/v1/tasks")).headers["x-ratelimit-limit"] == "10"
        await trio.sleep(50)
        assert (await virtual.create()).is_success
        assert (await virtual.create()).status_code == 429
        counters = (await virtual.ledger())["counters"]
        assert (counters["refused_429"], counters["creates_accepted"]) == (3, 1)

    virtually(test, rpm=10)


def test_speed_compresses_the_minute_too() -> None:
    async def test(virtual: Virtual) -> None:
        for _ in range(10):
            assert (await virtual.api.get("/v1/tasks")).is_success
        assert (await virtual.api.get("/v1/tasks")).status_code == 429
        await trio.sleep(3)
        assert (await virtual.api.get("/v1/tasks")).is_success

    virtually(test, rpm=10, speed=20)


def test_each_account_has_its_own_minute() -> None:
    async def test(virtual: Virtual) -> None:
        other = {"Authorization": "Bearer sk-other"}
        assert (await virtual.api.get("/v1/tasks")).is_success
        assert (await virtual.api.get("/v1/tasks")).status_code == 429
        assert (await virtual.api.get("/v1/tasks", headers=other)).is_success

    virtually(test, rpm=1)


def test_only_so_many_tasks_run_at_once_and_looking_stays_free() -> None:
    async def test(virtual: Virtual) -> None:
        made = [await virtual.create() for _ in range(4)]
        assert [answer.status_code for answer in made] == [200, 200, 200, 429]
        assert int(made[3].headers["x-ratelimit-remaining"]) > 0
        assert (await virtual.api.get("/v1/tasks")).is_success
        await trio.sleep(130)
        assert (await virtual.create()).is_success
        assert (await virtual.ledger())["counters"]["peak_at_once"] == 3

    virtually(test, max_at_once=3, rpm=600)


def test_a_replay_is_not_limited_by_tasks_at_once() -> None:
    async def test(virtual: Virtual) -> None:
        assert (await virtual.create("one")).is_success
        assert (await virtual.create("two")).status_code == 429
        assert (await virtual.create("one")).headers["idempotent-replay"] == "true"

    virtually(test, max_at_once=1)


def test_a_balance_runs_out_and_nothing_is_created_until_it_is_topped_up() -> None:
    with serving(balance="0.40") as served:
        answers = [served.create() for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 402]
        counters = served.ledger()["counters"]
        assert (counters["creates_accepted"], counters["charged_total"]) == (2, "0.384000")
        served.configure(balance="1.00")
        assert served.create().is_success


def test_a_key_is_revoked_mid_run_for_looks_too() -> None:
    for status in (401, 403):
        with serving(faults={"revoke_after": 1, "revoked_status": status}) as served:
            task_id = served.task_id()
            assert served.create().status_code == status
            assert served.client.get(f"/v1/tasks/{task_id}").status_code == status
            other = {"Authorization": "Bearer sk-fresh"}
            assert served.client.get("/v1/tasks", headers=other).is_success


def test_limits_change_while_it_runs() -> None:
    with serving() as served:
        for n in range(12):
            served.create(key=str(n))
        served.configure(max_at_once=0)
        assert served.create().status_code == 429
        served.configure(max_at_once=None)
        assert served.create().is_success


def test_only_the_configured_key_is_good() -> None:
    with serving(api_key="sk-the-one") as served:
        assert served.address.api_key == "sk-the-one"
        assert served.client.get("/v1/tasks").status_code == 401
        good = {"Authorization": "Bearer sk-the-one"}
        assert served.client.get("/v1/tasks", headers=good).is_success


def test_a_change_that_cannot_be_is_refused_by_its_name_and_changes_nothing(
    served: Served,
) -> None:
    for change in (
        {"rpmm": 1},
        {"rpm": 0},
        {"faults": {"create": {"418": 0.5}}},
        {"faults": {"create": {"500": 0.7, "502": 0.7}}},
        {"generation_time": "soon"},
        {"generation_time": "-1"},
    ):
        answer = served.client.post("/sandbox/config", json=change)
        assert answer.status_code == 400
        assert next(iter(change)) in answer.json()["message"]
    assert served.create().is_success


def test_the_configuration_shows_no_secret() -> None:
    with serving(api_key=KEY, webhook_secret="whsec_0123456789abcdef") as served:
        shown = served.client.get("/sandbox/config").text
        assert "whsec" not in shown
        assert KEY not in shown
