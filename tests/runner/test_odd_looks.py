"""Lists that do not come, are old or wrong, and details that are not found: every clip arrives."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.events import Remark, Stop
from seedance_batch.sandbox.config import ApiFault
from seedance_batch.sandbox.ledger import StoredRequest
from tests.benchmarks.cases import configured
from tests.benchmarks.figures import figures, lags_of, most_in_a_window
from tests.benchmarks.world import START, Case, Played, Script, World, play
from tests.rig import some

QUICK = {"generation_time": "lognormal:40:0.25"}


def played(rows: int = 12, **faults: Any) -> Played:
    """A run of small rows against a service with these faults."""
    settings = {**QUICK, "rpm": 60, "faults": {"retry_after": "none", **faults}}
    return play(Case(rows, settings=settings))


def phases(found: Played) -> list[Phase]:
    """How the rows stand."""
    return [attempt.state.phase for attempt in found.world.attempts.by_id.values()]


def lists(found: Played) -> list[StoredRequest]:
    """Requests for list pages; a run's first one only tells the service's clock."""
    return [r for r in found.requests if r.method == "GET" and "page=" in r.path][1:]


def told(found: Played) -> str:
    """All remarks."""
    return "\n".join(e.message for _, e in found.world.events if isinstance(e, Remark))


def assert_all_done(found: Played) -> None:
    """Every row done once, in the requests that a minute may have."""
    assert phases(found) == [Phase.DONE] * found.case.rows
    assert len(found.tasks) == found.case.rows
    assert most_in_a_window([r.time for r in found.requests], 60.0) <= found.case.rpm


NO_PAGES = some(
    ApiFault.BUSY,
    ApiFault.HTML_AFTER,
    slow=map(ApiFault, ("500", "404", "405", "empty_after", "reset")),
)


@pytest.mark.cases(1)
@pytest.mark.parametrize("fault", NO_PAGES)
def test_where_list_pages_never_come_tasks_are_asked_for_by_id(fault: ApiFault) -> None:
    settings = {**QUICK, "rpm": 60, "faults": {"retry_after": "none"}}
    found = play(Case(12, settings=settings, script=configured((0.5, {"lists": {fault: 1.0}}))))
    assert_all_done(found)
    assert len(lists(found)) <= 8
    assert max(lags_of(found)) < 30


@pytest.mark.parametrize("name", some("405", slow=("503", "html_after")))
def test_where_no_list_ever_comes_rows_are_sent_all_the_same(name: str) -> None:
    found = played(4, lists={name: 1.0})
    assert_all_done(found)


@pytest.mark.slow
def test_a_list_that_comes_back_is_used_again() -> None:
    script = configured((0.5, {"lists": {ApiFault.BUSY: 1.0}}), (120.0, {"lists": {}}))
    found = play(Case(60, settings={**QUICK, "rpm": 60}, script=script))
    assert_all_done(found)
    good = [r for r in lists(found) if r.status == 200 and r.time > START + 120]
    assert len(good) > 5


@pytest.mark.cases(1)
@pytest.mark.parametrize("odd", some("stale", "says_fail_once", slow=("says_fail", "missing")))
def test_a_list_that_is_wrong_about_tasks_ends_none_of_them(odd: str) -> None:
    found = played(20, listed={odd: 1.0})
    assert_all_done(found)
    assert max(lags_of(found)) < 60


@pytest.mark.slow
def test_a_list_that_is_wrong_about_some_tasks_costs_few_requests_for_the_others() -> None:
    plain, odd = played(30), played(30, listed={"stale": 0.1, "says_fail_once": 0.1})
    assert_all_done(odd)
    assert figures(odd).requests < 1.4 * figures(plain).requests


def test_a_fail_that_a_list_tells_is_asked_for_by_id_and_costs_no_more_than_that() -> None:
    found = played(20, tasks={"TASK_FAILED": 1.0}, listed={})
    assert phases(found) == [Phase.FAILED] * 20
    gets = [r for r in found.requests if r.path.startswith("/v1/tasks/")]
    assert {r.task_id for r in gets} == {task.task_id for task in found.tasks}


def test_where_no_detail_is_found_the_list_is_asked() -> None:
    found = played(6, details={"404": 1.0})
    assert_all_done(found)
    assert found.ending.stop is None


@pytest.mark.parametrize("fault", some("404", "503", slow=("429", "html_after", "reset")))
def test_a_single_task_whose_detail_never_comes_is_seen_in_the_list(fault: str) -> None:
    assert_all_done(played(1, details={fault: 1.0}))


def test_lists_that_are_refused_as_too_many_for_good_are_left_for_details() -> None:
    assert_all_done(played(3, lists={"429": 1.0}))


@pytest.mark.slow
def test_after_an_outage_of_everything_pages_are_looked_at_again() -> None:
    down = {"lists": {ApiFault.BUSY: 1.0}, "details": {ApiFault.BUSY: 1.0}}
    script = configured((20.0, down), (320.0, {"lists": {}, "details": {}}))
    settings = {"generation_time": "400", "rpm": 60, "faults": {"retry_after": "none"}}
    found = play(Case(30, concurrency=30, settings=settings, script=script))
    assert_all_done(found)
    after = [r for r in found.requests if r.time > START + 330]
    assert len(after) < 60


def test_without_details_the_lists_word_for_a_fail_is_taken_after_minutes() -> None:
    found = played(2, details={"404": 1.0}, tasks={"TASK_FAILED": 1.0})
    assert phases(found) == [Phase.FAILED] * 2
    ends = [task.times.final for task in found.tasks]
    assert found.seconds + START > min(ends) + 120


def test_a_list_that_never_ends_holds_nothing_up() -> None:
    found = played(8, list_size=2, list_by_marks=True, details={"404": 0.6})
    assert_all_done(found)
    assert len(lists(found)) < 100


def test_pages_that_hold_less_than_they_say_are_turned() -> None:
    found = played(20, list_size=5)
    assert_all_done(found)
    assert any("page=2" in r.path for r in lists(found))


@pytest.mark.parametrize("seconds", some(60.0, slow=(5.0, 200.0)))
def test_a_task_that_is_unknown_at_first_comes_through(seconds: float) -> None:
    found = played(6, unknown_seconds=seconds)
    assert_all_done(found)
    assert found.ending.stop is not Stop.ACCOUNT


# ── tasks that keep their places ────────────────────────────────────────────────────────────────


def leaving_at(seconds: float) -> Script:
    """Ends the run after so long."""

    async def leave(world: World) -> None:
        await anyio.sleep(seconds)
        world.stopper.stop(Stop.WAIT, "enough")

    return leave


def played_until(seconds: float, rows: int, concurrency: int, **more: Any) -> Played:
    """A run with tasks that never end, left after so long."""
    settings = {**QUICK, "rpm": 60, **more}
    return play(Case(rows, concurrency=concurrency, settings=settings, script=leaving_at(seconds)))


STUCK = ("boat 1 drifts", "boat 2 drifts", "boat 3 drifts")


@pytest.mark.more
def test_tasks_that_never_end_are_named_and_lend_their_places_to_others() -> None:
    found = played_until(1500, 12, 4, faults={"stuck": STUCK})
    assert sorted(phases(found)) == [Phase.DONE] * 9 + [Phase.IN_FLIGHT] * 3
    remarks = told(found)
    assert "row00001, row row00002, row row00003" in remarks
    assert "others took" in remarks
    assert "only tasks that take unusually long are left" in remarks
    assert "--wait" in remarks
    assert len(remarks.splitlines()) == 2


def test_where_all_places_are_kept_from_the_start_the_others_are_sent_all_the_same() -> None:
    found = played_until(1000, 6, 3, faults={"stuck": STUCK})
    assert sorted(phases(found)) == [Phase.DONE] * 3 + [Phase.IN_FLIGHT] * 3


def test_a_single_place_that_is_kept_from_the_start_is_lent_on_after_minutes() -> None:
    found = played_until(1000, 3, 1, faults={"stuck": STUCK[:1]})
    assert sorted(phases(found)) == [Phase.DONE] * 2 + [Phase.IN_FLIGHT]


@pytest.mark.slow
def test_tasks_that_never_end_are_watched_slowly_and_their_clips_come_however_late() -> None:
    found = played_until(3000, 12, 12, faults={"stuck": STUCK})
    late = [r for r in found.requests if r.time > START + 2000]
    assert 5 < len(late) < 40


@pytest.mark.slow
def test_a_cap_of_the_service_holds_also_for_places_that_are_lent_on() -> None:
    found = played_until(2000, 12, 4, faults={"stuck": STUCK}, max_at_once=4)
    assert sorted(phases(found)) == [Phase.DONE] * 9 + [Phase.IN_FLIGHT] * 3
    refused = sum(r.status == 429 for r in found.requests)
    assert refused < 2000 / 40 * 1.5


def test_a_task_that_the_service_forgot_lends_its_place_on_is_named_and_the_run_ends() -> None:
    settings = {**QUICK, "rpm": 60, "faults": {"forgotten": STUCK[:1]}}
    found = play(Case(3, concurrency=1, settings=settings))
    assert sorted(phases(found)) == [Phase.DONE] * 2 + [Phase.IN_FLIGHT]
    assert "accepted row row00001 but does not know tk-hiapi-" in told(found)
    assert found.ending.stop is None
    assert found.ending.forgotten == ("row00001",)
    assert "may have been paid for" in told(found)
    assert len(found.tasks) == 3
