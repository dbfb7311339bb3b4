"""The plan reads at a glance, tells what is unknown, and prints nothing that could harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from seedance_batch.core.attempt import Attempt, Phase
from seedance_batch.core.manifest import Job
from seedance_batch.core.overview import overview, price_note
from seedance_batch.core.plan import make_plan
from seedance_batch.core.pricing import PriceTable
from seedance_batch.core.steps import RerunChoice
from seedance_batch.core.text import shown
from tests.core.plan_builders import attempt, job, prices

NEW = job("new", 1, prompt="a wolf")
TABLE = prices()


def lines(
    jobs: Sequence[Job],
    attempts: Sequence[Attempt] = (),
    *,
    table: PriceTable | None = TABLE,
    verbose: bool = False,
    rerun: RerunChoice | None = None,
) -> list[str]:
    return overview(make_plan(jobs, attempts, table=table, rerun=rerun), verbose=verbose)


def test_a_plan_is_a_table_by_action_with_what_is_new_and_what_was_spent() -> None:
    jobs = [NEW, job("edited", 2, duration=10), job("done", 3, seed=1), job("fly", 4, seed=2)]
    attempts = [
        attempt(job("edited"), Phase.DONE, id=1),
        attempt(jobs[2], Phase.DONE, id=2),
        attempt(jobs[3], Phase.IN_FLIGHT, id=3),
        attempt(job("gone", seed=4), Phase.FAILED, id=4),
    ]
    assert lines(jobs, attempts) == [
        "  + new              1 row         5 s         $0.50",
        "  ~ changed          1 row        10 s         $1.00",
        "  … in flight        1 row         5 s",
        "  = done             1 row         5 s",
        "  - removed          1 row         5 s",
        "    new money       2 rows        15 s         $1.50",
        "",
        "edited: duration 5 → 10.",
        "Spent so far: $1.00 settled, $0.50 reserved, up to $0.50 for failed attempts.",
        "Rows to be made again have already cost $0.50.",
        "An estimate at list price, not a cap; your account's discount is not included."
        " Prices from https://api.example/api/pricing, 2026-09-21.",
    ]


def test_verbose_says_why_for_each_row() -> None:
    failed = attempt(job("b", 2), Phase.FAILED, error_message="bad\n\x1b[31mday")
    found = lines([NEW, job("b", 2)], [failed], verbose=True)
    assert "    1      2  + new  16:9 720p 5 s  $0.50  not sent yet" in found
    assert r"    2      3  ! b  16:9 720p 5 s  transient: bad\n\x1b[31mday: rerun" in found


def test_a_plan_without_anything_says_so() -> None:
    assert lines([]) == ["Nothing to do."]


def test_a_plan_that_buys_nothing_does_not_talk_about_prices() -> None:
    found = lines([NEW], [attempt(NEW, Phase.DONE)])
    assert found == [
        "  = new              1 row         5 s".replace("new ", "done"),
        "",
        "Spent so far: $0.50 settled, $0.00 reserved.",
    ]


def test_an_unknown_cost_is_called_unknown_with_seconds_instead() -> None:
    found = lines([NEW, job("b", 2, resolution="480p", duration=9)], table=None)
    assert found[0] == "  + new             2 rows        14 s       unknown"
    assert found[-2:] == [
        "The cost is unknown: no price list.",
        "It buys  9 s of 480p, 5 s of 720p.",
    ]


def test_attempts_of_unknown_price_are_counted() -> None:
    found = lines([NEW], [attempt(NEW, Phase.DONE, cost=None)])
    assert (
        found[-1] == "Spent so far: $0.00 settled, $0.00 reserved, 1 attempt at an unknown price."
    )


@pytest.mark.parametrize(("count", "noun"), [(1, "1 row"), (2, "2 rows")])
def test_reference_videos_that_were_not_measured_are_said_to_be_bounded(
    count: int, noun: str
) -> None:
    video = ["https://cdn.example/v.mp4"]
    rows = [job(str(n), n, reference_video_urls=video) for n in range(count)]
    said = "\n".join(lines(rows))
    assert f"Reference videos of {noun} could not be measured" in said
    assert f"The estimate may be low: {noun} " in said


def test_sandbox_prices_are_no_real_money() -> None:
    sandbox = replace(TABLE, sandbox=True)
    assert lines([NEW], table=sandbox)[-1] == "Sandbox prices, no real money."
    assert price_note(sandbox) == "Sandbox prices, no real money."


def test_rows_that_a_rerun_leaves_out_are_counted() -> None:
    found = lines([NEW], rerun=RerunChoice())
    assert "Left out: 1 row that has not failed; use run instead." in found


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain — 字", "plain — 字"),
        ("a\tb\x00\x9b", r"a\tb\x00\x9b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("https://x.example/a?token=1", "https://x.example/a?[hidden]"),
    ],
)
def test_words_from_elsewhere_are_made_safe(text: str, safe: str) -> None:
    assert shown(text) == safe


def test_words_from_elsewhere_are_cut_after_their_secrets_are_out() -> None:
    assert shown("a\n\n b", one_line=True) == "a b"
    assert shown("data:video/mp4;base64," + "QUJD" * 20 + " is bad", 20) == "data:[hidden] is bad"
    assert shown("\x1b" * 9, 8) == r"\x1b\x1b…"
