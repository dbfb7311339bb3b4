"""However the list behaves, every task is found, and no faster than the account allows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from seedance_batch.api.client import Answer
from seedance_batch.core.attempt import Phase
from seedance_batch.core.hiapi import TaskError, Verdict
from seedance_batch.events import Remark, RequestEnded, RunEvent
from seedance_batch.runner.gate import Gate
from seedance_batch.sandbox.config import ApiFault
from tests.benchmarks.cases import always, configured
from tests.benchmarks.figures import figures, lags_of
from tests.benchmarks.world import KEY, Case, Played, World, play
from tests.in_process import InProcess
from tests.rig import some

QUICK = {"generation_time": "lognormal:40:0.25"}


def assert_all_is_well(played: Played) -> None:
    """Every row done once, within the budget."""
    attempts = played.world.attempts.by_id.values()
    assert [a.state.phase for a in attempts] == [Phase.DONE] * played.case.rows
    ours = {a.state.task_id for a in attempts}
    assert len(ours) == played.case.rows


class Altered(httpx.AsyncBaseTransport):
    """Changes requests on their way, and answers on theirs."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        request: Callable[[httpx.URL], httpx.URL] = lambda url: url,
        page: Callable[[dict[str, Any]], None] = lambda data: None,
    ) -> None:
        self._inner, self._request, self._page = inner, request, page

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        listing = request.method == "GET" and request.url.path == "/v1/tasks"
        if listing:
            request.url = self._request(request.url)
        answer = await self._inner.handle_async_request(request)
        if not listing or answer.status_code != 200:
            return answer
        body = json.loads(await answer.aread())
        self._page(body["data"])
        return httpx.Response(200, json=body)


def requests(played: Played, kind: str) -> list[str]:
    return [r.path for r in played.requests if r.method == "GET" and kind in r.path]


def test_the_size_that_the_server_returns_is_trusted() -> None:
    def ten(url: httpx.URL) -> httpx.URL:
        return url.copy_set_param("size", "5000")  # out of range: the server silently takes 10

    case = Case(
        40, concurrency=40, settings=QUICK, between=lambda inner: Altered(inner, request=ten)
    )
    played = play(case)
    assert_all_is_well(played)
    assert any("page=4" in path for path in requests(played, "page="))


def test_what_the_list_does_not_show_is_asked_for_by_id() -> None:
    hidden: set[str] = set()

    def hide(data: dict[str, Any]) -> None:
        for task in data["tasks"]:
            if not hidden:
                hidden.add(task["taskId"])
        data["tasks"] = [t for t in data["tasks"] if t["taskId"] not in hidden]

    played = play(Case(10, settings=QUICK, between=lambda inner: Altered(inner, page=hide)))
    assert_all_is_well(played)
    assert set(requests(played, "/v1/tasks/")) >= {f"/v1/tasks/{task_id}" for task_id in hidden}


def test_a_list_that_shows_nothing_leaves_every_task_to_be_asked_for_by_id() -> None:
    def empty(data: dict[str, Any]) -> None:
        data["tasks"], data["total"] = [], 0

    played = play(Case(6, settings=QUICK, between=lambda inner: Altered(inner, page=empty)))
    assert_all_is_well(played)


@pytest.mark.slow
def test_others_tasks_on_the_same_account_push_ours_down_and_ours_are_found() -> None:
    async def stranger(world: World) -> None:
        async with httpx.AsyncClient(
            transport=InProcess(world.sandbox.api), base_url="http://x"
        ) as api:
            for number in range(300):
                await anyio.sleep(0.25)
                body = {"model": "seedance-2-0", "input": {"prompt": f"a stranger's {number}"}}
                headers = {"Authorization": f"Bearer {KEY}"}
                await api.post("/v1/tasks", json=body, headers=headers)

    played = play(Case(60, concurrency=None, settings=QUICK, script=stranger))
    assert_all_is_well(played)
    assert max(lags_of(played)) < 60


def test_a_single_task_is_asked_for_by_id() -> None:
    played = play(Case(1, settings=QUICK))
    assert_all_is_well(played)
    assert len(requests(played, "/v1/tasks/")) >= 1


def test_unknown_and_other_spellings_of_a_status_are_no_endings() -> None:
    faults = {"statuses": {"unknown": 0.5, "alias": 0.5}}
    played = play(Case(10, settings={**QUICK, "faults": faults}))
    assert_all_is_well(played)
    told = [e for _, e in played.world.events if isinstance(e, Remark)]
    assert len([e for e in told if "reviewing" in e.message]) == 1


def test_an_ending_without_its_clip_is_looked_at_again_until_it_has_one() -> None:
    faults = {"outputs": {"late_video": 1.0}, "late_seconds": 45.0}
    assert_all_is_well(play(Case(5, settings={**QUICK, "faults": faults})))


@pytest.mark.slow
def test_rows_are_sent_in_their_order_however_often_they_are_refused() -> None:
    settings = {**QUICK, "rpm": 60, "max_at_once": 3}
    played = play(Case(30, concurrency=None, settings=settings))
    assert_all_is_well(played)
    numbers = [int(task.input["prompt"].split()[2]) for task in played.tasks]
    assert numbers == sorted(numbers)


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("rpm", "retry_after"),
    some((60, "seconds"), (None, "none"), slow=[(60, "date"), (60, "none"), (None, "seconds")]),
)
def test_a_cap_on_tasks_is_found_with_and_without_headers(
    rpm: int | None, retry_after: str
) -> None:
    settings = {**QUICK, "rpm": rpm, "max_at_once": 5, "faults": {"retry_after": retry_after}}
    played = play(Case(40, concurrency=None, settings=settings))
    assert_all_is_well(played)
    found = figures(played, 5)
    assert found.refused <= 2.5 * found.makespan / 40 + 3
    assert found.ratio < 1.25


def test_a_servers_lower_limit_is_kept_to_once_it_is_told() -> None:
    played = play(Case(40, rpm=120, concurrency=None, settings={**QUICK, "rpm": 30}))
    assert_all_is_well(played)
    assert figures(played).most_a_minute <= 31
    assert figures(played).refused <= 1


@pytest.mark.slow
def test_an_account_that_others_use_as_well_is_shared_with_few_refusals() -> None:
    async def stranger(world: World) -> None:
        async with httpx.AsyncClient(
            transport=InProcess(world.sandbox.api), base_url="http://x"
        ) as api:
            while True:
                await anyio.sleep(2.0)
                await api.get("/v1/tasks?size=1", headers={"Authorization": f"Bearer {KEY}"})

    settings = {**QUICK, "rpm": 60}
    played = play(Case(150, concurrency=None, settings=settings, script=stranger))
    assert_all_is_well(played)
    ended = [e for _, e in played.world.events if isinstance(e, RequestEnded)]
    assert sum(1 for e in ended if e.verdict == "rate") < 0.1 * len(ended)


def test_a_wish_to_be_left_alone_is_obeyed() -> None:
    busy_now = {"look": {ApiFault.BUSY: 1.0}, "create": {ApiFault.BUSY: 1.0}}
    asking = {"retry_after_seconds": 30.0}
    script = configured((10.0, busy_now | asking), (30.0, {"look": {}, "create": {}}))
    played = play(Case(30, settings={**QUICK, "rpm": 60}, script=script))
    assert_all_is_well(played)
    busy = [r.time for r in played.requests if r.status == 503]
    assert busy
    assert [r for r in played.requests if busy[-1] < r.time < busy[-1] + 29.9] == []


@pytest.mark.slow
def test_one_request_in_five_going_wrong_still_ends_every_row_once() -> None:
    broken = {"500": 0.04, "503": 0.04, "reset_after": 0.04, "cut": 0.04, "html": 0.04}
    faults = {"create": broken, "look": broken}
    played = play(Case(180, concurrency=None, settings={**QUICK, "rpm": 60, "faults": faults}))
    assert_all_is_well(played)
    assert [str(c) for c in always(played, figures(played)) if not c.passed] == []
    creates = sum(1 for r in played.requests if r.method == "POST")
    assert creates - 180 <= 0.35 * 180


class Forgetful(httpx.AsyncBaseTransport):
    """Knows no task any more once it has said that it succeeded."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner, self._told = inner, False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and self._told:
            return httpx.Response(404, json={"error": {"code": "not_found", "message": "none"}})
        answer = await self._inner.handle_async_request(request)
        self._told = self._told or b'"video"' in await answer.aread()
        return answer


def test_a_paid_clip_that_neither_host_nor_service_knows_is_expired_and_the_run_ends() -> None:
    settings = QUICK | {"url_ttl": 1.0, "faults": {"files": {"404": 1.0}}}
    played = play(Case(1, settings=settings, between=Forgetful))
    (attempt,) = played.world.attempts.by_id.values()
    assert attempt.state.phase is Phase.EXPIRED
    assert attempt.state.task_id is not None
    assert "no longer knows" in (attempt.state.error_message or "")
    assert played.ending.stop is None


def test_a_service_that_forgets_a_task_says_nothing_about_its_clips_file() -> None:
    faults = {"files": {"not_yet": 1.0}, "not_yet_seconds": 100}
    played = play(Case(2, settings=QUICK | {"faults": faults}, between=Forgetful))
    phases = [a.state.phase for a in played.world.attempts.by_id.values()]
    assert Phase.EXPIRED not in phases
    assert Phase.DONE in phases


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_is_over() -> None:
    told: list[str] = []

    def watch(event: RunEvent) -> None:
        if isinstance(event, Remark):
            told.append(event.message)

    async def outages() -> None:
        gate = Gate(60.0, jitter=lambda: 0.5, observer=watch, address="https://a.b")
        good: Answer[object] = Answer(Verdict.OK)
        bad: Answer[object] = Answer(Verdict.UNKNOWN, error=TaskError("", "connection refused"))
        for answer in [good, bad, bad, good, *[bad] * 9, good, good, *[bad] * 5]:
            gate.heard("list", answer)

    anyio.run(outages)
    begins = (
        "https://a.b does not answer as it should (connection refused); the run keeps trying,"
        " and nothing is lost"
    )
    assert told == [begins, "https://a.b answers again", begins]
