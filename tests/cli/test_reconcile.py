"""``reconcile`` under other clocks and other names: no task that is nobody's is ever hidden."""

from __future__ import annotations

import sqlite3
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from seedance_batch.core.attempt import Kind, Phase
from seedance_batch.errors import Exit
from tests import patient
from tests.cli.shop import Shop, say, shot

LOST = {"create": {"reset_after": 1.0}}
HOUR = 3600.0


def _lose(shop: Shop, *flags: str, **faults: Any) -> None:
    """The rows are sent, and every answer is lost."""
    with shop.service.having(faults=LOST | faults):
        assert shop.run("--wait", "1", *flags).code == Exit.UNFINISHED


def _doubt(shop: Shop, *flags: str) -> None:
    """What was lost is too old to be resent."""
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:
        journal.execute("UPDATE attempts SET first_sent_at = first_sent_at - 90000")
    journal.close()
    assert shop.run(*flags).code == Exit.UNFINISHED


def _until_its_date_is_ours(shop: Shop) -> None:
    """The sandbox's ``Date`` is made once a second."""
    while True:
        date = parsedate_to_datetime(patient.get(f"{shop.service.api_url}/").headers["date"])
        if abs(date.timestamp() - time.time()) < HOUR:
            return
        time.sleep(0.1)


@pytest.mark.cases(1)
@pytest.mark.parametrize("ahead", [2 * HOUR, -2 * HOUR], ids=["behind", "ahead"])
def test_where_our_clock_is_two_hours_off_the_task_is_found_and_adopted(
    shop: Shop, ahead: float
) -> None:
    shop.fill(1)
    with shop.service.having(clock_ahead=ahead):
        _lose(shop)
        _doubt(shop)
        (task,) = shop.tasks()
        said = shop.online("reconcile")
        assert f"could be {task['task_id']}" in said.out
        assert "--release" not in said.hint
        assert say(*said.hint).code == Exit.OK
        assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_where_our_clock_was_off_and_is_right_again_the_task_is_less_likely_and_shown(
    shop: Shop,
) -> None:
    shop.fill(1)
    with shop.service.having(clock_ahead=2 * HOUR):
        _lose(shop)
        _doubt(shop)
    (task,) = shop.tasks()
    _until_its_date_is_ours(shop)
    said = shop.online("reconcile")
    assert f"less likely {task['task_id']}" in said.out
    assert "after the row was given up" in said.out
    assert "hint:" not in said.out
    (asked,) = shop.online("reconcile", "--json").lines
    assert asked["candidates"] == []
    assert [each["task_id"] for each in asked["less_likely"]] == [task["task_id"]]


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("bytedance/seedance-2.0", True),
        ("{}@route", True),
        ("{}-20260401", True),
        ("doubao-video", False),
    ],
)
def test_however_the_service_names_the_model_the_task_is_shown(
    shop: Shop, name: str, likely: bool
) -> None:
    shop.fill(1)
    with shop.service.having(faults={"model_name": name}):
        _lose(shop, model_name=name)
        _doubt(shop)
        (task,) = shop.tasks()
        said = shop.online("reconcile")
    assert f"{'could be' if likely else 'less likely'} {task['task_id']}" in said.out
    assert ("hint: " in said.out) is likely
    adopted = shop.online("reconcile", "--adopt", f"shot1={task['task_id']}")
    assert adopted.code == Exit.OK
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_no_page_of_the_list_is_left_out_because_of_its_size_or_total(shop: Shop) -> None:
    shop.fill(3)
    _lose(shop)
    _doubt(shop)
    with shop.service.having(faults={"list_size": 1}):
        asked = shop.online("reconcile", "--json").lines
    assert [len(each["candidates"]) for each in asked] == [3, 3, 3]


def test_no_release_is_proposed_for_what_was_sent_minutes_ago(shop: Shop) -> None:
    shop.fill(1)
    with shop.service.having(faults={"create": {"reset": 1.0}}):
        assert shop.run("--wait", "1").code == Exit.UNFINISHED
    _doubt(shop)
    said = shop.online("reconcile")
    assert "try again later" in said.out
    assert "hint:" not in said.out


# ── a draft and its final ───────────────────────────────────────────────────────────────────────


def _both_in_doubt(shop: Shop, **faults: Any) -> tuple[str, str]:
    """A draft and a final of one row; returns their tasks."""
    shop.write(shot(1, duration=5, resolution="720p"))
    _lose(shop, "--draft", **faults)
    _lose(shop, **faults)
    _doubt(shop)
    tasks = {task["input"]["duration"]: task["task_id"] for task in shop.tasks()}
    return tasks[4], tasks[5]


@pytest.mark.more
def test_a_draft_and_its_final_in_doubt_are_told_apart_by_what_the_service_says(
    shop: Shop,
) -> None:
    with shop.service.having(faults={"repeat_input": True}):
        draft, final = _both_in_doubt(shop, repeat_input=True)
        said = shop.online("reconcile")
        assert f"could be {draft} (success, made" in said.out
        assert "4 s of 480p)" in said.out
        assert "shot1@draft: " in said.out
        hints = [line for line in said.out.splitlines() if line.startswith("hint: ")]
        assert [f"shot1@draft={draft}" in hint for hint in hints] == [True, False]
        assert [f"shot1@final={final}" in hint for hint in hints] == [False, True]


@pytest.mark.slow
def test_adopt_looks_at_the_clip_and_refuses_the_finals_task_for_the_draft(shop: Shop) -> None:
    draft, final = _both_in_doubt(shop)
    said = shop.online("reconcile")
    assert "the service does not say what they were asked for" in said.out
    assert "hint:" not in said.out
    bare = shop.online("reconcile", "--adopt", f"shot1={final}")
    assert bare.code == Exit.USAGE
    assert "shot1@draft or shot1@final" in bare.err
    wrong = shop.online("reconcile", "--adopt", f"shot1@draft={final}")
    assert wrong.code == Exit.USAGE
    assert "it fits shot1@final" in wrong.err
    assert say(*wrong.hint, "--api-url", shop.service.api_url).code == Exit.UNFINISHED
    assert shop.online("reconcile", "--adopt", f"shot1={draft}").code == Exit.OK
    assert shop.run().code == Exit.OK
    assert {(a.intent.kind, a.state.phase) for a in shop.attempts()} == {
        (Kind.DRAFT, Phase.DONE),
        (Kind.FINAL, Phase.DONE),
    }
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_while_a_task_runs_that_nobody_can_tell_adopt_waits_for_it(shop: Shop) -> None:
    with shop.service.having(generation_time="600"):
        draft, _ = _both_in_doubt(shop)
        said = shop.online("reconcile", "--adopt", f"shot1@draft={draft}")
        assert said.code == Exit.USAGE
        assert "is still running" in said.err


def test_a_task_that_fits_no_row_is_adopted_all_the_same_and_it_is_said(shop: Shop) -> None:
    shop.fill(1)
    with shop.service.having(faults={"outputs": {"other_size": 1.0}}):
        _lose(shop, outputs={"other_size": 1.0})
        _doubt(shop)
        (task,) = shop.tasks()
        said = shop.online("reconcile", "--adopt", f"shot1={task['task_id']}")
    assert said.code == Exit.OK
    assert "it does not look like this row's" in said.err


@pytest.mark.more
def test_what_is_adopted_while_it_runs_is_said_to_be_unchecked(shop: Shop) -> None:
    shop.fill(1)
    with shop.service.having(generation_time="600"):
        _lose(shop)
        _doubt(shop)
        (task,) = shop.tasks()
        said = shop.online("reconcile", "--adopt", f"shot1={task['task_id']}")
    assert said.code == Exit.OK
    assert "this was not checked" in said.err
