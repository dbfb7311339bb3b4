"""Rows are inserted, sorted, deleted, renumbered and edited between runs: what was bought stays
bought, and belongs to the row that asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seedance_batch.core.attempt import Phase
from tests.rig import Bench, row

MakeBench = Callable[..., Bench]
Rows = list[dict[str, Any]]


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    """Four rows, all done."""
    made = make_bench(4)
    assert made.forked().code == 0
    assert len(made.tasks()) == 4
    return made


def rows() -> Rows:
    """As they were first run."""
    return [row(n) for n in range(1, 5)]


def run(bench: Bench, table: Rows) -> list[dict[str, str]]:
    """Run another version of the manifest to its end; returns the results sheet."""
    bench.write(*table)
    ran = bench.forked()
    assert ran.code == 0, ran.output
    return bench.results()


def clips(sheet: list[dict[str, str]]) -> dict[str, str]:
    """Prompt → task."""
    return {line["prompt"]: line["task_id"] for line in sheet}


def test_sorting_deleting_and_inserting_shift_nothing(bench: Bench) -> None:
    before = clips(bench.results())
    sheet = run(bench, rows()[::-1][:3])
    assert [line["id"] for line in sheet] == ["row4", "row3", "row2", "row1"]
    assert [line["status"] for line in sheet] == ["done"] * 3 + ["removed"]
    assert all(before[p] == task for p, task in clips(sheet).items() if p)
    assert len(bench.tasks()) == 4
    sheet = run(bench, [row(9), *rows()])  # and the deleted row is back
    assert before.items() <= clips(sheet).items()
    assert len(bench.tasks()) == 5
    assert bench.verdict(5).holds


@pytest.mark.more
def test_renumbered_and_swapped_rows_keep_their_clips(bench: Bench) -> None:
    before = clips(bench.results())
    renumbered = [{**each, "id": f"shot{n}"} for n, each in enumerate(rows()[::-1])]
    sheet = run(bench, renumbered)
    assert clips(sheet) == before
    assert {line["status"] for line in sheet} == {"done"}
    first, second, *rest = rows()
    first["id"], second["id"] = second["id"], first["id"]
    assert clips(run(bench, [first, second, *rest])) == before
    assert clips(run(bench, rows())) == before
    assert len(bench.tasks()) == 4
    assert bench.verdict(4).holds


def test_other_flags_buy_nothing_however_often_the_command_is_given(bench: Bench) -> None:
    for _ in range(2):
        bench.forked("--set", "duration=5")
        assert len(bench.tasks()) == 4
    assert bench.forked("--set", "duration=5", "--remake").code == 0
    assert len(bench.tasks()) == 8
    assert bench.verdict(4).lost == []


def test_an_edited_row_is_bought_anew_and_both_clips_are_kept(bench: Bench) -> None:
    edited = rows()
    edited[1]["prompt"] = "a paper boat under a bridge"
    sheet = run(bench, edited)
    assert len(bench.tasks()) == 5
    assert sheet[1]["attempts"] == "2"
    assert bench.verdict(5).holds
    assert clips(run(bench, rows()))["a paper boat on street number 2"]
    assert len(bench.tasks()) == 5  # edited back: the first clip is there still


def test_a_copy_of_a_row_whose_clip_moved_away_is_a_new_order(bench: Bench) -> None:
    moved = rows()
    moved[0]["id"] = "renamed"
    run(bench, moved)
    assert len(bench.tasks()) == 4
    sheet = run(bench, [*moved, row(1)])
    assert len(bench.tasks()) == 5
    assert len({line["task_id"] for line in sheet}) == 5


def test_a_row_that_takes_over_a_clip_gives_up_what_it_had_only_planned(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(2)
    charged = float(bench.service.ledger()["counters"]["charged_total"])
    bench.service.configure(balance=charged + 0.20)
    assert bench.forked("-j", "1").code == 6
    assert bench.phases() == {Phase.DONE: 1, Phase.PLANNED: 1}
    sheet = run(bench, [{**row(1), "id": "row2"}])
    assert [line["status"] for line in sheet] == ["done"]
    assert len(bench.tasks()) == 1
    assert bench.verdict(1).holds


def test_rows_without_ids_are_known_by_what_they_ask_for(make_bench: MakeBench) -> None:
    bench = make_bench()
    table = [{"prompt": f"a lamp in window {n // 2}"} for n in range(4)]  # two pairs of twins
    run(bench, table)
    assert len(bench.tasks()) == 4
    run(bench, table[::-1])
    run(bench, [{"prompt": "a new lamp"}, *table[1:]])
    assert len(bench.tasks()) == 5
    assert bench.phases() == {Phase.DONE: 5}


@pytest.mark.more
def test_a_renumbered_row_in_flight_is_watched_under_its_new_name(make_bench: MakeBench) -> None:
    bench = make_bench(2)
    bench.service.configure(generation_time="2")
    assert bench.forked("--wait", "0.6").code == 5
    sheet = run(bench, [{**row(n), "id": f"other{n}"} for n in (1, 2)])
    assert {(line["id"], line["status"]) for line in sheet} == {
        ("other1", "done"),
        ("other2", "done"),
    }
    assert len(bench.tasks()) == 2
    assert bench.verdict(2).holds


def test_a_row_edited_while_it_is_in_flight_keeps_both_clips(make_bench: MakeBench) -> None:
    bench = make_bench(1)
    bench.service.configure(generation_time="2")
    assert bench.forked("--wait", "0.6").code == 5
    run(bench, [row(1, prompt="another boat altogether")])
    assert len(bench.tasks()) == 2
    assert bench.verdict(2).holds
