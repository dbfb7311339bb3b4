"""What `check` warns of stands in every plan above the question, and in its JSON."""

from __future__ import annotations

import pytest
import xlsxwriter

from tests.cli.shop import Shop, say, shot

FORMAT = "is not sent, but seems to contain the aspect_ratio"


@pytest.fixture
def framed(shop: Shop) -> Shop:
    """Three rows whose ratio stands under a heading that is not sent."""
    shop.write(*(shot(number, Shape="9:16") for number in (1, 2, 3)))
    return shop


@pytest.mark.parametrize("flags", [[], ["--dry-run"], ["-q"], ["--json"]])
def test_a_run_shows_the_warnings_of_its_manifest_before_it_asks(
    framed: Shop, flags: list[str]
) -> None:
    said = say("run", str(framed.manifest), "--api-url", framed.service.api_url, *flags)

    assert FORMAT in said.out + said.err
    assert framed.tasks() == []


def test_programs_are_told_them_by_the_plan_and_by_the_first_event(framed: Shop) -> None:
    (plan,) = framed.plan("--json").lines
    start = framed.run("--json").lines[0]

    for told in (plan["warnings"], start["warnings"]):
        assert [(each["line"], each["column"]) for each in told] == [(1, "Shape")]


def test_a_plan_that_buys_nothing_warns_of_nothing(framed: Shop) -> None:
    framed.run()

    assert FORMAT not in framed.plan().out
    assert framed.plan("--json").lines[0]["warnings"] == []


def test_warnings_of_rows_that_are_not_chosen_are_left_out(shop: Shop) -> None:
    shop.write(shot(1), shot(2, model="seedance-9"), shot(3, model="seedance-8"))

    said = shop.plan("--ids", "shot2").out
    assert "‘seedance-9’ is not a model" in said
    assert "seedance-8" not in said


def test_a_long_list_of_causes_is_cut_and_says_what_shows_the_rest(shop: Shop) -> None:
    shop.write(*(shot(number, model=f"seedance-{number}-x") for number in range(20)))

    lines = [line for line in shop.plan().out.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 13
    assert lines[-1] == ("warning: and 8 more warnings; to see all: seedance-batch check shots.csv")


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_strict_makes_problems_of_warnings(framed: Shop, flags: list[str]) -> None:
    assert say("check", str(framed.manifest), *flags).code == 0
    assert say("check", "--strict", str(framed.manifest), *flags).code == 2


def test_hidden_rows_and_merged_prompts_are_said_above_the_price(shop: Shop) -> None:
    path = shop.manifest.with_name("sheet.xlsx")
    with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
        sheet = book.add_worksheet("Shots")
        rows = ("id", "prompt"), ("a", "A calm lake"), ("b", ""), ("c", "A fox runs")
        for line, cells in enumerate(rows):
            sheet.write_row(line, 0, cells)
        sheet.merge_range(1, 1, 2, 1, "A calm lake")
        sheet.set_row(3, None, None, {"hidden": True})

    said = shop.plan(of=path).out
    assert "sheet.xlsx!Shots!B2, B3 (rows 1-2): B2:B3 is merged" in said
    assert "sheet.xlsx!Shots!4 (row 3): is hidden in the workbook, but is sent" in said
