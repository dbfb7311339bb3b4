"""Rows that feed each other: which row a link means, what cannot be, and who goes first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.attempt import Kind
from seedance_batch.core.chains import KnownRow, heights, linked, longest_chain
from seedance_batch.core.manifest import Job
from seedance_batch.core.model import Link, LinkKind, Resolution
from seedance_batch.core.overview import Pace, forecast, generation_seconds
from seedance_batch.core.plan import make_plan
from seedance_batch.core.steps import Action, Plan, fitting, sources_first
from tests.core.plan_builders import job, prices

ROOM = 10 << 20


def fed(number: int, *rows: int, clip: bool = False, **fields: object) -> Job:
    """Row ``number``, which takes something of those rows."""
    field = "reference_video_urls" if clip else "reference_image_urls"
    links = [f"{'clip' if clip else 'last_frame'}:row{row}" for row in rows]
    media = {field: links} if rows else {}
    return job(f"row{number}", number, prompt=f"part {number}", **fields, **media)


def jobs_of(feeds: Mapping[int, tuple[int, ...]]) -> tuple[Job, ...]:
    """Jobs by the rows that feed each of them."""
    jobs = [fed(number, *rows) for number, rows in feeds.items()]
    found, troubles = linked(jobs, [KnownRow(j.key, j.row.line) for j in jobs], ROOM)
    assert troubles == []
    return found


def plan_of(jobs: tuple[Job, ...], selected: Collection[str] | None = None) -> Plan:
    return make_plan(jobs, [], table=prices(), kind=Kind.FINAL, selected=selected)


FEEDS = (
    st.integers(1, 8)
    .flatmap(
        lambda size: st.fixed_dictionaries(
            {
                number: st.sets(st.integers(1, number - 1), max_size=2).map(
                    lambda s: tuple(sorted(s))
                )
                if number > 1
                else st.just(())
                for number in range(1, size + 1)
            }
        )
    )
    .flatmap(lambda feeds: st.permutations(list(feeds)).map(lambda o: {n: feeds[n] for n in o}))
)
"""Rows in any order, none of which waits for itself."""


@pytest.mark.parametrize(
    ("text", "kind", "row"),
    [
        ("last_frame:a", LinkKind.LAST_FRAME, "a"),
        ("Last frame: shot 1, take 2", LinkKind.LAST_FRAME, "shot 1, take 2"),
        ("lastframe:a", LinkKind.LAST_FRAME, "a"),
        (" first-frame : Previous ", LinkKind.FIRST_FRAME, "previous"),
        ("clip:r-3f9a1c2b4d-2", LinkKind.CLIP, "r-3f9a1c2b4d-2"),
        ("last_frame:http://x", LinkKind.LAST_FRAME, "http://x"),
    ],
)
def test_a_link_is_read_as_people_write_it(text: str, kind: LinkKind, row: str) -> None:
    assert Link.parse(text) == Link(kind, row)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "clip:",
        "last_frame",
        "clips:a",
        "https://x/clip:a",
        "frames/last_frame:a",
        "last:a",
    ],
)
def test_an_address_or_a_path_is_no_link(text: str) -> None:
    assert Link.parse(text) is None


def test_an_id_that_a_spreadsheet_changed_is_found_where_only_one_is_meant() -> None:
    rows = [KnownRow("1.0", 1), KnownRow("B", 2), KnownRow("b", 3), KnownRow("row3", 4)]
    for wanted, key in (("1", "1.0"), ("B", "B"), ("b", "b")):
        plain = fed(3)
        task_input = plain.input.model_copy(update={"first_frame_url": f"last_frame:{wanted}"})
        (found,), troubles = linked([replace(plain, input=task_input)], rows, ROOM)
        assert ([source.key for source in found.sources], troubles) == ([key], [])


@given(FEEDS)
def test_every_row_goes_after_those_that_feed_it(feeds: dict[int, tuple[int, ...]]) -> None:
    jobs = jobs_of(feeds)
    plan = plan_of(jobs)
    assert [step.key for step in plan.steps] == [job.key for job in jobs]
    assert {step.action for step in plan.steps} == {Action.NEW}
    order = [step.key for step in sources_first(plan.new)]
    assert sorted(order) == sorted(job.key for job in jobs)
    high = heights(plan.new)
    for step in plan.new:
        for key in step.waits_for:
            assert order.index(key) < order.index(step.key)
            assert high[key] > high[step.key]
    assert len(longest_chain(plan.new)) == max(high.values())


@given(FEEDS, st.integers(0, 8))
def test_what_fits_under_a_cap_never_lacks_its_source(
    feeds: dict[int, tuple[int, ...]], rows: int
) -> None:
    plan = plan_of(jobs_of(feeds))
    each = plan.new[0].cost
    assert each is not None
    fit = {step.key for step in fitting(plan, each * rows)}
    assert len(fit) == min(rows, len(plan.new))
    assert all(set(step.waits_for) <= fit for step in plan.new if step.key in fit)


@given(FEEDS, st.data())
def test_a_row_without_its_source_is_a_trouble_and_costs_nothing(
    feeds: dict[int, tuple[int, ...]], data: st.DataObject
) -> None:
    jobs = jobs_of(feeds)
    chosen = data.draw(st.sets(st.sampled_from([job.key for job in jobs])))
    plan = plan_of(jobs, selected=chosen)
    lacking = {
        job.key
        for job in jobs
        if job.key in chosen and any(source.key not in chosen for source in job.sources)
    }
    assert {trouble.job.key for trouble in plan.troubles} == lacking
    bought = {step.key for step in plan.new}
    assert bought.isdisjoint(lacking)
    assert all(set(step.waits_for) <= bought for step in plan.new)


def test_circles_are_found_however_long_they_are() -> None:
    size = 1_500
    jobs = [fed(number, number % size + 1) for number in range(1, size + 1)]
    _, troubles = linked(jobs, [KnownRow(j.key, j.row.line) for j in jobs], ROOM)
    assert len(troubles) == 1
    assert "these rows wait for each other: row1 → row2 → " in troubles[0].words
    assert "1,494 more → row1" in troubles[0].words


def test_a_request_that_would_be_too_large_is_told_before_anything_is_made() -> None:
    large = {"resolution": "1080p"}
    jobs = [fed(n, **large) for n in range(1, 9)] + [fed(9, *range(1, 9), **large)]
    _, troubles = linked(jobs, [KnownRow(j.key, j.row.line) for j in jobs], ROOM)
    assert [(trouble.job.key, trouble.field) for trouble in troubles] == [
        ("row9", "reference_image_urls")
    ]
    assert "--max-body" in troubles[0].words


def test_clips_that_are_too_long_together_are_told_before_anything_is_made() -> None:
    jobs = [fed(1, duration=10), fed(2, duration=6), fed(3, 1, 2, clip=True)]
    _, troubles = linked(jobs, [KnownRow(j.key, j.row.line) for j in jobs], ROOM)
    assert "the limit is 15 s" in troubles[0].words


def test_a_clip_that_feeds_a_row_is_billed_by_its_length() -> None:
    jobs = [fed(1, duration=5), fed(2, 1, clip=True, duration=4)]
    found, _ = linked(jobs, [KnownRow(j.key, j.row.line) for j in jobs], ROOM)
    first, second = plan_of(found).steps
    assert (first.seconds, second.seconds) == (5, 4 + 6)
    assert not second.bounded


def test_a_chain_takes_as_long_as_its_rows_one_after_another() -> None:
    chain = plan_of(jobs_of({1: (), 2: (1,), 3: (2,), 4: (), 5: ()}))
    apart = plan_of(jobs_of(dict.fromkeys(range(1, 6), ())))
    each = generation_seconds(Resolution.P720, 5)
    pace = Pace(slots=10, rpm=600)
    assert forecast(apart, pace, 0.0).seconds < each + 1
    assert 3 * each <= forecast(chain, pace, 0.0).seconds < 3 * each + 1
