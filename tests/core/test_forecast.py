"""A forecast follows slots, request budget, generation times, and clips made before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.attempt import Attempt, Phase
from seedance_batch.core.manifest import Job
from seedance_batch.core.model import Resolution
from seedance_batch.core.overview import (
    Forecast,
    Pace,
    forecast,
    forecast_lines,
    generation_seconds,
)
from seedance_batch.core.plan import make_plan
from seedance_batch.core.text import size, some, span
from tests.core.plan_builders import CLIP, attempt, job, prices

NOW = 1_790_000_000.0


def look(
    jobs: list[Job], attempts: list[Attempt] | None = None, *, slots: int = 10, rpm: float = 60
) -> Forecast:
    return forecast(make_plan(jobs, attempts or [], table=prices()), Pace(slots, rpm), NOW)


def rows(count: int) -> list[Job]:
    return [job(f"r{n}", n, prompt=f"prompt {n}") for n in range(1, count + 1)]


def test_the_reference_clip_takes_what_was_measured() -> None:
    assert generation_seconds(Resolution.P720, 5) == 130
    assert generation_seconds(Resolution.P720, 10) == 8 + 2 * 122
    assert generation_seconds(Resolution.P1080, 5) == 8 + 2.25 * 122
    assert generation_seconds(Resolution.P720, 5, slowness=2) == 260


@pytest.mark.parametrize(
    ("count", "slots", "rpm", "seconds"),
    [
        (0, 10, 60, 0),
        (1, 10, 60, 130),
        (2, 1, 60, 260),
        (4, 2, 6000, 260),
        (11, 10, 60, 260),
        (101, 500, 60, 100 * 1.2 + 130),
        (3, 500, 6, 2 * 12 + 130),
    ],
)
def test_time_is_bounded_by_slots_and_by_the_request_budget(
    count: int, slots: int, rpm: float, seconds: float
) -> None:
    assert look(rows(count), slots=slots, rpm=rpm).seconds == pytest.approx(seconds, abs=0.1)


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from([6.0, 60.0, 600.0]))
def test_time_is_never_below_either_limit_and_never_above_their_sum(
    count: int, slots: int, rpm: float
) -> None:
    found = look(rows(count), slots=slots, rpm=rpm).seconds
    by_slots, by_requests = -(-count // slots) * 130, count * 1.2 * 60 / rpm
    assert max(by_slots, by_requests) <= found + 1.2 * 60 / rpm
    assert found <= by_slots + by_requests + 130


def test_tasks_in_flight_hold_their_slots_for_the_rest_of_their_time() -> None:
    jobs = rows(2)
    half_way = attempt(jobs[0], Phase.IN_FLIGHT, submitted_at=NOW - 65)
    assert look(jobs[:1], [half_way], slots=1).seconds == 65
    assert look(jobs, [half_way], slots=1).seconds == 65 + 130
    unsent = attempt(jobs[0], Phase.SUBMITTING)
    assert look(jobs, [unsent], slots=1).seconds == 260
    overdue = attempt(jobs[0], Phase.IN_FLIGHT, submitted_at=NOW - 9999)
    assert look(jobs, [overdue], slots=1).seconds == 130


def test_more_in_flight_than_slots_frees_a_slot_late() -> None:
    jobs = rows(3)
    flying = [
        attempt(of, Phase.IN_FLIGHT, id=n, submitted_at=NOW - 30 * n)
        for n, of in enumerate(jobs[:2], 1)
    ]
    assert look(jobs, flying, slots=1).seconds == 100 + 130


def test_measured_clips_replace_what_is_assumed() -> None:
    jobs = rows(2)
    done = attempt(jobs[0], Phase.DONE, submitted_at=NOW - 500, finished_at=NOW - 240, clip=CLIP)
    found = look(jobs, [done])
    assert (found.seconds, found.time_measured) == (260, True)
    assert found.bytes == 4_000_000
    assumed = look(jobs)
    assert not assumed.time_measured
    assert assumed.bytes == 2 * round(0.75 * 1280 * 720 * 5)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"submitted_at": NOW},
        {"finished_at": NOW},
        {"submitted_at": NOW, "finished_at": NOW - 1, "clip": replace(CLIP, seconds=0.0)},
        {"submitted_at": NOW, "finished_at": NOW, "clip": replace(CLIP, width=0)},
    ],
)
def test_what_was_not_measured_well_is_not_used(state: dict[str, Any]) -> None:
    jobs = rows(2)
    found = look(jobs, [attempt(jobs[0], Phase.DONE, **state)])
    assert not found.time_measured
    assert found.bytes == look(jobs[1:]).bytes


def test_clips_to_fetch_need_room_and_may_expire() -> None:
    jobs = rows(4)
    attempts = [
        attempt(of, Phase.DOWNLOADING, id=n, url_expires_at=at)
        for n, (of, at) in enumerate(
            zip(jobs, (NOW - 1, NOW + 10, NOW + 86400, None), strict=True), 1
        )
    ]
    found = look([*jobs, job("new", 5)], attempts)
    assert (found.urls_expired, found.urls_expiring) == (1, 1)
    assert found.bytes == look(rows(5)).bytes


def test_a_forecast_reads_as_sentences() -> None:
    jobs = rows(101)
    gone = attempt(jobs[0], Phase.DOWNLOADING, url_expires_at=NOW - 1)
    pace = Pace(10, 60)
    found = forecast(make_plan(jobs, [gone], table=prices()), pace, NOW)
    assert list(forecast_lines(found, pace)) == [
        "Takes about 22 min with 10 tasks at once and 60 requests a minute,"
        " assuming 130 s for 5 s of 720p.",
        "Needs about 349 MB on disk.",
        "1 clip to fetch has a URL that has expired or soon will; a fresh URL is requested for "
        "each.",
    ]
    assert list(forecast_lines(look([]), pace)) == []
    measured = replace(found, time_measured=True, urls_expired=0)
    assert "at the pace of this folder's earlier clips" in next(forecast_lines(measured, pace))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_spans_of_time_read_well(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_counts_read_well() -> None:
    assert [some(n, "new row") for n in (0, 1, 2_000)] == [
        "0 new rows",
        "1 new row",
        "2,000 new rows",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (3_200_000, "3.2 MB"),
        (999_499, "999 kB"),
        (999_999, "1 MB"),
        (10**12, "1 TB"),
        (2 * 10**13, "20 TB"),
    ],
)
def test_sizes_read_well(count: int, text: str) -> None:
    assert size(count) == text
