"""Paid clips arrive, however late; and where none does, buying waits and then ends."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from seedance_batch.core.attempt import ErrorClass, Phase
from seedance_batch.events import Remark, Stop, Stopping
from seedance_batch.runner.fetch import PATIENCE
from tests.benchmarks.world import START, Case, Played, play

QUICK: dict[str, Any] = {"generation_time": "1", "rpm": None}


def faulty(**faults: Any) -> dict[str, Any]:
    """Settings of a sandbox that works quickly, with these faults."""
    return QUICK | {"faults": faults}


def phases(played: Played) -> Counter[Phase]:
    """How many attempts stand where."""
    return Counter(a.state.phase for a in played.world.attempts.by_id.values())


def remarks(played: Played) -> list[str]:
    """What was said."""
    return [event.message for _, event in played.world.events if isinstance(event, Remark)]


def stops(played: Played) -> list[str]:
    """Why buying was ended."""
    return [event.message for _, event in played.world.events if isinstance(event, Stopping)]


# ── a file that is not there yet ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("late", [5, 25, 120, 400])
def test_a_file_that_is_not_there_yet_is_waited_for_and_had_soon_after_it_came(late: int) -> None:
    faults = faulty(files={"not_yet": 1.0}, not_yet_seconds=late)
    played = play(Case(3, settings=faults))
    assert phases(played) == {Phase.DONE: 3}
    assert played.ending.stop is None
    assert len(played.tasks) == 3
    assert played.seconds < 10 + 1.5 * late + 60 * (late > 100)
    assert sum("the clip has not arrived" in words for words in remarks(played)) == 1


def test_a_file_that_never_comes_is_left_to_the_next_run_after_ten_minutes() -> None:
    played = play(Case(3, settings=faulty(files={"404": 1.0})))
    assert phases(played) == {Phase.DOWNLOADING: 3}
    assert PATIENCE < played.seconds < PATIENCE + 120
    said = remarks(played)
    assert sum("could not be fetched in this run" in words for words in said) == 3
    assert sum("fetch requests such clips again" in words for words in said) == 1
    asked = [r for r in played.world.attempts.by_id.values() if r.state.error_message]
    assert {a.state.error_class for a in asked} == {None}


def test_a_file_whose_time_is_over_ends_its_row_after_one_fresh_look() -> None:
    settings = QUICK | {"url_ttl": 1.0, "faults": {"files": {"404": 1.0}}}
    played = play(Case(1, settings=settings))
    assert phases(played) == {Phase.EXPIRED: 1}
    assert played.seconds < 60


@pytest.mark.parametrize("odd", ["expire_zero", "expire_past", "expire_missing", "expire_iso"])
def test_an_expiry_that_says_nothing_true_ends_no_row(odd: str) -> None:
    faults = faulty(files={"not_yet": 1.0}, not_yet_seconds=25, outputs={odd: 1.0})
    played = play(Case(1, settings=faults))
    assert phases(played) == {Phase.DONE: 1}


def test_a_url_that_our_own_rules_refuse_is_never_the_clips_end() -> None:
    played = play(Case(2, settings=faulty(outputs={"forbidden_url": 1.0})))
    assert phases(played) == {Phase.DOWNLOADING: 2}
    assert played.seconds < 60
    (state, _) = (a.state for a in played.world.attempts.by_id.values())
    assert "169.254.169.254" in (state.error_message or "")
    assert any("by hand" in words for words in remarks(played))


@pytest.mark.cases(1)
@pytest.mark.parametrize("form", ["fragmented", "rotated", "webm"])
def test_a_good_clip_in_another_form_is_done_and_named_by_its_content(form: str) -> None:
    case = Case(1, settings=faulty(outputs={form: 1.0}))
    played = play(case)
    (attempt,) = played.world.attempts.by_id.values()
    assert attempt.state.phase is Phase.DONE, attempt.state.error_message
    ending = ".webm" if form == "webm" else ".mp4"
    assert attempt.state.clip is not None
    assert attempt.state.clip.file == f"videos/row00001{ending}"
    assert (attempt.state.clip.width, attempt.state.clip.height) == (864, 496)


@pytest.mark.parametrize("way", ["part", "packed"])
def test_a_file_is_read_however_it_is_handed_over(way: str) -> None:
    played = play(Case(1, settings=faulty(files={way: 1.0})))
    assert phases(played) == {Phase.DONE: 1}


# ── nothing usable comes ────────────────────────────────────────────────────────────────────────


@pytest.mark.cases(1)
@pytest.mark.parametrize("limit", [1, 4, 10])
def test_where_no_file_ever_comes_buying_waits_and_then_stops(limit: int) -> None:
    case = Case(60, rpm=300, concurrency=5, settings=faulty(files={"404": 1.0}), max_failures=limit)
    played = play(case)
    assert len(played.tasks) <= limit + 10
    assert phases(played) == {Phase.DOWNLOADING: len(played.tasks)}
    assert (
        sum("no more rows are bought until one arrives" in words for words in remarks(played)) == 1
    )
    if len(played.tasks) >= limit:
        assert played.ending.stop is Stop.FAILURES
        assert "could not be fetched (files.sandbox answered 404)" in played.ending.message
    assert played.ending.unsent == 60 - len(played.tasks)


@pytest.mark.slow
def test_buying_goes_on_once_the_first_clip_arrives() -> None:
    faults = faulty(files={"not_yet": 1.0}, not_yet_seconds=200)
    played = play(Case(30, rpm=300, concurrency=5, settings=faults, max_failures=5))
    assert phases(played) == {Phase.DONE: 30}
    assert played.ending.stop is None
    early = [t for t in played.tasks if t.times.created < START + 150]
    assert len(early) <= 15


@pytest.mark.parametrize("odd", ["other_length", "forbidden_url"])
def test_clips_that_are_of_no_use_stop_the_buying(odd: str) -> None:
    case = Case(
        40,
        concurrency=3,
        settings=faulty(outputs={odd: 1.0}),
        max_failures=4,
    )
    played = play(case)
    assert len(played.tasks) <= 4 + 6
    assert played.ending.stop is Stop.FAILURES
    assert "in a row produced no good clip" in played.ending.message


def test_expired_clips_stop_the_buying() -> None:
    settings = QUICK | {"url_ttl": 1.0, "faults": {"files": {"404": 1.0}}}
    played = play(Case(40, concurrency=3, settings=settings, max_failures=4))
    assert len(played.tasks) <= 4 + 6
    assert (played.ending.stop, played.ending.unsent) == (Stop.FAILURES, 40 - len(played.tasks))
    classes = {a.state.error_class for a in played.world.attempts.by_id.values()}
    assert classes == {ErrorClass.EXPIRED}


def test_some_useless_clips_among_good_ones_stop_nothing() -> None:
    faults = faulty(outputs={"forbidden_url": 0.3})
    played = play(Case(40, settings=faults, max_failures=8))
    assert len(played.tasks) == 40
    assert stops(played) == []
    assert phases(played)[Phase.DONE] > 20
