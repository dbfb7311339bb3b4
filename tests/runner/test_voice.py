"""Whoever answers, and in whatever words: no row is paid twice, and no run goes on for ever."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.events import Paused, Remark, Stop
from seedance_batch.sandbox.config import ApiFault, Stranger
from tests.benchmarks.cases import configured
from tests.benchmarks.world import Case, Played, World, play

QUICK = {"generation_time": "lognormal:40:0.25"}
MINUTE = 60.0
Answered = Callable[[], httpx.Response]


def case(
    rows: int, *, rpm: float = 60.0, settings: dict[str, Any] | None = None, **faults: Any
) -> Case:
    """Rows under faults; some of the faults are settings of their own."""
    return Case(rows, rpm=rpm, settings={**QUICK, **(settings or {}), "faults": faults})


def phases(played: Played) -> dict[Phase, int]:
    return dict(Counter(a.state.phase for a in played.world.attempts.by_id.values()))


def told(played: Played) -> list[str]:
    return [e.message for _, e in played.world.events if isinstance(e, Remark | Paused)]


def assert_done_once(played: Played) -> None:
    """Every row delivered, and charged once."""
    assert phases(played) == {Phase.DONE: played.case.rows}
    assert len(played.tasks) == played.case.rows


# ── only HiAPI's own answer is a refusal ────────────────────────────────────────────────────────


@pytest.mark.cases(4)
@pytest.mark.parametrize("form", ["text", "html", "json"])
@pytest.mark.parametrize(
    "fault",
    ["503_gateway_after", "429_gateway_after", "402_gateway_after", "403_gateway_after",
     "404_gateway_after", "redirect_after"],
)  # fmt: skip
def test_a_gateway_that_denies_a_create_which_was_taken_makes_no_second_charge(
    fault: str, form: str
) -> None:
    played = play(case(6, create={fault: 1.0}, tries=1, gateway_form=form))
    assert_done_once(played)
    assert all(a.state.replayed for a in played.world.attempts.by_id.values())


@pytest.mark.parametrize("fault", ["503_gateway_after", "429_gateway_after"])
def test_a_send_that_only_a_gateway_answered_stays_unanswered(fault: str) -> None:
    async def leave(world: World) -> None:
        await anyio.sleep(300.0)
        world.stopper.stop(Stop.SIGNAL, "enough")

    wanted = case(4, create={fault: 1.0})
    played = play(Case(4, settings=wanted.settings, script=leave))
    assert phases(played) == {Phase.SUBMITTING: len(played.tasks)}
    assert 0 < len(played.tasks) <= 4
    for attempt in played.world.attempts.by_id.values():
        assert attempt.state.unanswered > 0
        assert attempt.state.first_sent_at is not None


def test_hiapis_own_refusal_is_no_send_and_is_sent_again() -> None:
    faults = {"create": {"503": 0.5, "429": 0.5}, "tries": 1}
    assert_done_once(play(case(6, **faults)))


# ── a code in place of a status ─────────────────────────────────────────────────────────────────


def test_a_balance_that_is_used_up_stops_also_where_http_says_200() -> None:
    played = play(case(4, settings={"balance": "0"}, codes_in_200=True))
    assert played.ending.stop is Stop.ACCOUNT
    assert played.seconds < MINUTE
    assert set(phases(played)) <= {Phase.PLANNED}


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_stops_also_where_http_says_200(status: int) -> None:
    played = play(case(4, codes_in_200=True, revoke_after=0, revoked_status=status))
    assert played.ending.stop is Stop.ACCOUNT
    assert played.seconds < MINUTE
    assert phases(played) == {}


def test_refusals_in_200_are_waited_out_like_others() -> None:
    faults = {"create": {"503": 0.5, "429": 0.5}, "tries": 2, "codes_in_200": True}
    assert_done_once(play(case(6, **faults)))


# ── another dress ───────────────────────────────────────────────────────────────────────────────

SHAPES = ["bare", "task", "id", "list", "array"]


@pytest.mark.cases(2)
@pytest.mark.parametrize("shape", SHAPES)
def test_creates_details_and_pages_are_read_in_every_shape(shape: str) -> None:
    faults = {"created_as": shape, "shown_as": shape, "listed_as": shape}
    assert_done_once(play(case(5, created_status=201, **faults)))
    assert_done_once(play(case(1, created_status=202, number_ids=True, **faults)))


def test_a_detail_and_a_page_may_lack_what_the_request_has_told() -> None:
    assert_done_once(play(case(1, shown_as="nameless")))
    assert_done_once(play(case(5, shown_as="nameless", listed_as="nameless")))


OUTPUTS = [
    "untyped", "type_mp4", "type_mime", "type_file", "type_result", "strings", "object", "outputs",
    "video_url", "result", "no_scheme", "blanks",
]  # fmt: skip


@pytest.mark.cases(4)
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_clip_is_found_under_every_name(output: str) -> None:
    assert_done_once(play(case(2, outputs={output: 1.0})))


@pytest.mark.parametrize("status", ["done", "number", "none"])
def test_an_ending_is_told_by_what_the_task_holds(status: str) -> None:
    assert_done_once(play(case(3, statuses={status: 1.0})))
    failing = {"tasks": {"TASK_FAILED": 1.0}, "reasons_as": "list"}
    played = play(case(3, statuses={status: 1.0}, **failing))
    assert phases(played) == {Phase.FAILED: 3}
    assert played.seconds < 5 * MINUTE


@pytest.mark.parametrize(
    "form", ["error", "text", "list", "failReason", "fail_reason", "error_message"]
)
def test_the_reason_of_a_failure_reaches_the_row(form: str) -> None:
    played = play(case(1, tasks={"TASK_FAILED": 1.0}, reasons_as=form))
    (attempt,) = played.world.attempts.by_id.values()
    assert attempt.state.phase is Phase.FAILED
    assert "the generation failed" in (attempt.state.error_message or "")


def test_a_create_without_an_id_is_shown_and_stays_unanswered() -> None:
    played = play(case(3, created_as="nameless"))
    assert played.ending.stop is Stop.NOT_UNDERSTOOD
    assert played.seconds < 2 * MINUTE
    assert set(phases(played)) == {Phase.SUBMITTING}
    assert len(played.tasks) == len(played.world.attempts.by_id)
    for attempt in played.world.attempts.by_id.values():
        assert '"accepted": true' in (attempt.state.error_message or "")
    assert any('"accepted": true' in message for message in told(played))


def test_a_success_without_a_clip_is_shown_once_and_kept_with_its_row() -> None:
    played = play(case(3, outputs={"no_video": 1.0}))
    for attempt in played.world.attempts.by_id.values():
        assert "thumbnail.jpg" in (attempt.state.error_message or "")
    assert len([message for message in told(played) if "names no clip" in message]) == 1


class Vague(httpx.AsyncBaseTransport):
    """Shows a clip at once, in a status of its own, and never says that the task is over."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        if not request.url.path.startswith("/v1/tasks/"):
            return answer
        task = json.loads(await answer.aread())["data"]
        odd = {"status": 7, "completed": 0, "output": [{"url": "https://c.example/a.mp4?s=1"}]}
        return httpx.Response(200, json={"data": {**task, **odd}})


def test_an_address_in_a_task_that_is_not_understood_is_kept_with_its_row() -> None:
    async def leave(world: World) -> None:
        await anyio.sleep(120.0)
        world.stopper.stop(Stop.SIGNAL, "enough")

    played = play(Case(1, settings={"generation_time": "9999"}, between=Vague, script=leave))
    (attempt,) = played.world.attempts.by_id.values()
    assert attempt.state.phase is Phase.IN_FLIGHT
    assert "https://c.example/a.mp4?s=1" in (attempt.state.error_message or "")
    assert len([message for message in told(played) if "a.mp4" in message]) == 1


# ── who answers is not HiAPI ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rpm", [6.0, 60.0, 6000.0])
@pytest.mark.parametrize("stranger", ["404", "405", "page", "redirect"])
def test_a_wrong_address_ends_within_a_minute_and_nothing_is_recorded(
    stranger: str, rpm: float
) -> None:
    played = play(case(3, rpm=rpm, stranger=stranger, redirect_to="https://right.example/v1"))
    assert played.ending.stop is Stop.ELSEWHERE
    assert "is not HiAPI's API" in played.ending.message
    assert (stranger == "redirect") == ("https://right.example/v1" in played.ending.message)
    assert played.seconds < MINUTE
    assert len(played.requests) < 10
    assert phases(played) == {}


@pytest.mark.cases(8)
@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize("rpm", [60.0, 6000.0])
@pytest.mark.parametrize("fault", ["redirect", "404_gateway", "405_gateway"])
def test_creates_that_somebody_else_answers_end_soon_and_leave_their_rows_safe(
    fault: str, rpm: float, rows: int
) -> None:
    played = play(case(rows, rpm=rpm, create={fault: 1.0}))
    assert played.ending.stop is Stop.ELSEWHERE
    assert played.seconds < MINUTE
    assert played.tasks == []
    assert set(phases(played)) == {Phase.SUBMITTING}
    assert len(played.world.attempts.by_id) <= 4
    assert len(played.requests) < 12


@pytest.mark.more
def test_creates_that_strangers_answer_for_a_while_are_waited_for() -> None:
    astray = {"create": {ApiFault.MISSING_GATEWAY: 1.0}}
    script = configured((15.0, astray), (40.0, {"create": {}}))
    assert_done_once(play(Case(40, settings=QUICK, script=script)))


def test_an_address_that_was_right_and_answers_for_somebody_else_loses_nothing() -> None:
    played = play(case(3, settings={"generation_time": "4000"}, stranger="404", stranger_after=3))
    assert played.ending.stop is Stop.ELSEWHERE
    assert phases(played) == {Phase.IN_FLIGHT: 3}
    assert 2 * MINUTE < played.seconds < 10 * MINUTE


def test_strangers_that_go_away_again_are_waited_for() -> None:
    script = configured((20.0, {"stranger": Stranger.MISSING_404}), (60.0, {"stranger": None}))
    played = play(Case(6, settings=QUICK, script=script))
    assert_done_once(played)


def test_a_gateway_that_refuses_one_size_of_body_ends_the_run_and_not_the_rows() -> None:
    played = play(case(8, create={"413_gateway": 1.0}))
    assert played.ending.stop is Stop.NOT_UNDERSTOOD
    assert set(phases(played)) == {Phase.SUBMITTING}
    assert played.seconds < 2 * MINUTE


class Narrow(httpx.AsyncBaseTransport):
    """A gateway that finds one row's body too large."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and b"boat 3 " in await request.aread():
            return httpx.Response(413, html="<html>too large</html>")
        return await self._inner.handle_async_request(request)


def test_a_row_that_a_gateway_does_not_let_through_holds_no_other_up() -> None:
    alone = play(Case(20, settings=QUICK))
    played = play(Case(20, settings=QUICK, between=Narrow))
    assert phases(played) == {Phase.DONE: 19, Phase.SUBMITTING: 1}
    assert played.ending.stop is None
    assert played.seconds < alone.seconds + 2 * MINUTE
    assert any("row00003 got no answer" in message for message in told(played))


class Mute(httpx.AsyncBaseTransport):
    """Answers looks of one kind with the same thing, whatever is asked."""

    def __init__(self, inner: httpx.AsyncBaseTransport, details: bool, answer: Answered) -> None:
        self._inner, self._details, self._answer = inner, details, answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_detail = request.url.path.startswith("/v1/tasks/")
        if request.method == "GET" and is_detail is self._details:
            return self._answer()
        return await self._inner.handle_async_request(request)


USELESS: dict[str, Answered] = {
    "odd JSON": lambda: httpx.Response(200, json={"code": 200, "data": "odd"}),
    "a page": lambda: httpx.Response(200, html="<html>"),
    "a gateway's 503": lambda: httpx.Response(503, text="upstream connect error"),
    "a gateway's 429": lambda: httpx.Response(429, text="slow down"),
    "a code in 200": lambda: httpx.Response(200, json={"code": 503, "message": "busy"}),
}


@pytest.mark.parametrize("answer", USELESS)
def test_a_detail_that_is_never_to_be_had_leaves_the_list(answer: str) -> None:
    def mute(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return Mute(inner, True, USELESS[answer])

    played = play(Case(1, settings=QUICK, between=mute))
    assert_done_once(played)
    assert played.seconds < 10 * MINUTE


@pytest.mark.parametrize("answer", USELESS)
def test_a_list_that_is_never_to_be_had_leaves_the_details(answer: str) -> None:
    def mute(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return Mute(inner, False, USELESS[answer])

    played = play(Case(3, settings=QUICK, between=mute))
    assert_done_once(played)
    assert played.seconds < 15 * MINUTE


def test_a_server_that_knows_no_path_is_no_service_without_a_list() -> None:
    def nothing(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        body = {"error": {"code": "not_found", "message": "nothing here"}}
        return httpx.MockTransport(lambda request: httpx.Response(404, json=body))

    played = play(Case(3, settings=QUICK, between=nothing))
    assert played.ending.stop is Stop.ELSEWHERE
    assert phases(played) == {}


# ── 429 without a wait ──────────────────────────────────────────────────────────────────────────


@pytest.mark.cases(1)
@pytest.mark.parametrize("fault", ["429", "429_gateway"])
def test_refusals_that_name_no_wait_are_met_with_ever_longer_pauses(fault: str) -> None:
    faults = {"create": {fault: 1.0}}
    script = configured((600.0, {"create": {}}))
    settings = {**QUICK, "faults": {**faults, "retry_after": "none"}}
    played = play(Case(6, rpm=600, settings=settings, script=script))
    assert_done_once(played)
    refused = [r.time for r in played.requests if r.status == int(fault[:3])]
    assert len(refused) < 80
    early = sum(1 for at in refused if at - refused[0] < MINUTE)
    late = sum(1 for at in refused if refused[-1] - at < MINUTE)
    assert late < early
    assert len([m for m in told(played) if "without saying for how long" in m]) == 1


@pytest.mark.parametrize("form", ["body", "body_ms", "words"])
def test_a_wait_in_the_body_is_waited(form: str) -> None:
    faults = {"create": {"429": 1.0}, "retry_after": form, "retry_after_seconds": 30.0, "tries": 1}
    played = play(case(3, **faults))
    assert_done_once(played)
    refused = [r.time for r in played.requests if r.status == 429]
    later = [r.time for r in played.requests if r.method == "POST" and r.status == 200]
    assert min(later) >= min(refused) + 30.0


def test_a_pause_of_hours_is_told() -> None:
    async def leave(world: World) -> None:
        await anyio.sleep(1800.0)
        world.stopper.stop(Stop.SIGNAL, "enough")

    settings = {**QUICK, "faults": {"create": {"429": 1.0}, "retry_after_seconds": 7200.0}}
    played = play(Case(3, settings=settings, script=leave))
    pauses = [e for _, e in played.world.events if isinstance(e, Paused)]
    assert len(pauses) == 1
    assert "2 h 0 min" in pauses[0].message
    assert pauses[0].seconds == pytest.approx(3600.0)
