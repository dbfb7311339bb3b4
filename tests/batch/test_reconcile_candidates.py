"""Which tasks may be an ambiguous row's: none that is nobody's is hidden, and doubts are named."""

from __future__ import annotations

import itertools

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.api.client import Client
from seedance_batch.batch.reconcile import (
    FAR,
    SLACK,
    Candidate,
    candidates,
    earliest,
    tasks_since,
    window,
)
from seedance_batch.core.attempt import Phase
from seedance_batch.core.hiapi import Task, TaskStatus
from seedance_batch.errors import ApiUnreachable
from tests.core.plan_builders import attempt, job

SENT = 1_800_000_000.0
GAVE_UP = SENT + 120
HOUR = 3600.0


def task(
    number: int = 1, created: float = SENT, model: str = "seedance-2-0", **told: object
) -> Task:
    return Task(f"tk-{number}", TaskStatus.RUNNING, model=model, created=created, **told)  # type: ignore[arg-type]


LOST = attempt(job(), Phase.AMBIGUOUS, submitted_at=SENT, finished_at=GAVE_UP)


def only(of: Task, ahead: float = 0.0) -> Candidate:
    (found,) = candidates(LOST, [of], (), ahead)
    return found


def test_a_task_made_while_the_row_was_being_sent_may_well_be_its_own() -> None:
    assert only(task()) == Candidate(task(), ())


@pytest.mark.parametrize(
    ("created", "words"),
    [
        (SENT - SLACK, None),
        (SENT - SLACK - 2 * HOUR, "made 2 h 0 min before the row was sent"),
        (GAVE_UP + SLACK, None),
        (GAVE_UP + SLACK + 120, "made 2 min after the row was given up"),
        (GAVE_UP + 90 * 24 * HOUR, "after the row was given up"),
        (0.0, "no time is given"),
    ],
)
def test_a_task_of_another_time_is_shown_with_its_distance(
    created: float, words: str | None
) -> None:
    doubts = only(task(created=created)).doubts
    assert bool(doubts) == bool(words)
    assert (words or "") in " ".join(doubts)


@pytest.mark.anyio
async def test_a_list_without_an_end_is_not_read_for_ever_and_not_taken_for_the_whole() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        number = request.url.params["page"]
        return httpx.Response(200, json={"data": {"tasks": [{"taskId": f"tk-{number}"}]}})

    async with Client("http://127.0.0.1:1", "k", transport=httpx.MockTransport(page)) as client:
        with pytest.raises(ApiUnreachable, match="does not end"):
            await tasks_since(client, [LOST], deepest=20)


@pytest.mark.anyio
async def test_a_deep_list_is_read_to_its_end_also_where_requests_are_limited() -> None:
    asked = itertools.count()

    def page(request: httpx.Request) -> httpx.Response:
        if next(asked) % 3 == 1:
            return httpx.Response(429, json={"detail": "slow"}, headers={"Retry-After": "0"})
        number = int(request.url.params["page"])
        shown = [{"taskId": f"tk-{number}", "created": SENT}] if number < 70 else []
        return httpx.Response(200, json={"data": {"tasks": shown}})

    async with Client("http://127.0.0.1:1", "k", transport=httpx.MockTransport(page)) as client:
        found, _ = await tasks_since(client, [LOST])
    assert len(found) == 69


@pytest.mark.parametrize("ahead", [2 * HOUR, -2 * HOUR, 0.0])
def test_the_services_clock_may_be_ahead_of_ours_or_behind(ahead: float) -> None:
    assert only(task(created=SENT + ahead), ahead).is_likely
    assert only(task(created=SENT), ahead).is_likely  # dated by the service's own, when it was sent
    assert only(task(created=SENT + ahead)).is_likely is (ahead == 0)  # the clock was mended since


def test_what_was_made_a_day_before_is_no_candidate() -> None:
    start, _ = window(LOST)
    assert candidates(LOST, [task(created=start - FAR - 1)], ()) == []
    assert earliest([LOST]) == start - FAR


@pytest.mark.parametrize(
    ("model", "likely"),
    [
        ("seedance-2-0", True),
        ("seedance-2.0", True),
        ("seedance-2-0@pro", True),
        ("seedance_2_0", True),
        ("bytedance/seedance-2.0", True),
        ("bytedance/seedance-2-0-260128@route", True),
        ("Seedance-2.0-20260128", True),
        ("", True),
        ("another", False),
        ("seedance-2.0-fast", False),
    ],
)
def test_no_name_of_a_model_hides_a_task(model: str, likely: bool) -> None:
    found = only(task(model=model))
    assert found.is_likely is likely
    assert likely or found.doubts == (f"its model is {model}",)


def test_what_the_service_tells_of_the_order_is_held_against_the_row() -> None:
    assert only(task(duration=5.0, resolution="720p")).is_likely
    assert only(task(duration=4.0)).doubts == ("asked for 4 s, but the row asked for 5 s",)
    assert not only(task(resolution="480p")).is_likely


def test_a_task_that_somebody_holds_is_none_and_the_likely_come_first() -> None:
    early = task(4, SENT - 5 * HOUR)
    tasks = [early, task(3, SENT + 3), task(1, SENT + 1), task(2, SENT + 2)]
    found = candidates(LOST, tasks, {"tk-2"})
    assert [c.task.task_id for c in found] == ["tk-1", "tk-3", "tk-4"]


def test_a_row_that_was_never_dated_is_looked_for_when_it_was_planned() -> None:
    undated = attempt(job(), Phase.AMBIGUOUS)
    assert window(undated) == (-SLACK, SLACK)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 2 * SENT), st.sampled_from(["", "x", "y"]))),
    st.sets(st.integers(0, 5)),
    st.floats(-1e6, 1e6),
)
def test_every_free_task_since_then_is_a_candidate(
    made: list[tuple[int, float, str]], held: set[int], ahead: float
) -> None:
    tasks = [task(number, created, model) for number, created, model in made]
    ids = {f"tk-{number}" for number in held}
    found = [c.task for c in candidates(LOST, tasks, ids, ahead)]
    since = earliest([LOST], ahead)
    expected = [t for t in tasks if t.task_id not in ids and (not t.created or t.created >= since)]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
