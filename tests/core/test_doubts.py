"""Rows that look bought: by sheets, clips, the manifest itself, other folders, or a lost log."""

from __future__ import annotations

import pytest

from seedance_batch.core.attempt import RESEND_WINDOW, Attempt, Kind, Phase
from seedance_batch.core.manifest import Told
from seedance_batch.core.plan import Doubt, Sign, Traces, doubts, make_plan
from seedance_batch.core.steps import Action, Plan, RerunChoice
from tests.core.plan_builders import attempt, job, prices

NOW = 1_800_000_000.0
LONG_AGO = NOW - RESEND_WINDOW
ROWS = [job("a", 1), job("b", 2, prompt="a wolf")]


def plan(*attempts: Attempt, rerun: RerunChoice | None = None, kind: Kind = Kind.FINAL) -> Plan:
    return make_plan(ROWS, attempts, table=prices(), rerun=rerun, kind=kind)


def told(status: str = "done", *, task: str = "tk-x", at: float | None = LONG_AGO) -> Told:
    return Told(status, "final", task, at)


def found(traces: Traces, of: Plan | None = None) -> list[Doubt]:
    return doubts(of or plan(), traces, NOW)


def test_where_there_are_no_traces_there_is_no_doubt() -> None:
    assert found(Traces()) == []


@pytest.mark.parametrize("at", [LONG_AGO, NOW, None])
def test_what_sheets_of_another_journal_say_is_a_doubt_however_old(at: float | None) -> None:
    assert found(Traces(sheets={"a": told(at=at)})) == [Doubt(Sign.SHEETS, ("a",))]


@pytest.mark.parametrize(
    ("age", "doubtful"), [(0.0, 0), (RESEND_WINDOW - 1, 0), (RESEND_WINDOW, 1)]
)
def test_what_was_sent_under_the_same_identity_is_replayed_inside_the_window(
    age: float, doubtful: int
) -> None:
    sheets = {"a": told(at=NOW - age)}
    assert len(found(Traces(sheets=sheets, sheets_are_own=True))) == doubtful
    assert len(found(Traces(lost_since=NOW - age))) == doubtful


def test_a_time_that_is_not_said_is_no_excuse() -> None:
    assert found(Traces(sheets={"a": told(at=None)}, sheets_are_own=True))


@pytest.mark.parametrize("status", ["new", "failed", "removed", ""])
def test_what_was_not_paid_for_is_no_doubt(status: str) -> None:
    assert found(Traces(sheets={"a": told(status)}, manifest={"b": told(status)})) == []


def test_a_task_that_the_journal_knows_is_no_doubt() -> None:
    """The row failed, or was edited, since the sheet was written."""
    failed = plan(attempt(ROWS[0], Phase.FAILED, task_id="tk-x"), rerun=RerunChoice())
    assert failed.new
    assert found(Traces(sheets={"a": told()}, manifest={"a": told()}), failed) == []
    assert found(Traces(sheets={"a": told(task="tk-y")}), failed) == [Doubt(Sign.SHEETS, ("a",))]


def test_who_agreed_once_is_not_asked_again_for_the_same_row() -> None:
    turned_away = plan(attempt(ROWS[0], Phase.PLANNED))
    assert turned_away.new
    every = Traces(
        manifest={"a": told()}, elsewhere=frozenset({ROWS[0].content}), lost_since=LONG_AGO
    )
    assert found(every, turned_away) == [Doubt(Sign.LOST, ("b",))]
    failed = plan(attempt(ROWS[0], Phase.FAILED, task_id="tk-y"), rerun=RerunChoice())
    assert found(Traces(manifest={"a": told()}), failed) == []


def test_an_attempt_without_a_task_is_known_by_its_row() -> None:
    waiting = told("submitting", task="")
    assert found(Traces(sheets={"a": waiting}))
    edited = plan(attempt(job("a", seed=3), Phase.DONE))
    assert edited.steps[0].action is Action.CHANGED
    assert found(Traces(sheets={"a": waiting}), edited) == []


def test_a_draft_is_no_sign_of_its_final() -> None:
    draft = Told("done", "draft", "tk-x", LONG_AGO)
    assert found(Traces(sheets={"a": draft}, manifest={"b": draft})) == []
    assert found(Traces(sheets={"a": draft}), plan(kind=Kind.DRAFT))


def test_a_clip_is_a_doubt_unless_it_was_surely_made_under_this_identity_inside_the_window() -> (
    None
):
    young, old = NOW - 3600, LONG_AGO
    assert found(Traces(clips={"a": NOW - 60}, made_at=young)) == []
    assert found(Traces(clips={"a": young - 1}, made_at=young)) == [Doubt(Sign.CLIPS, ("a",))]
    assert found(Traces(clips={"a": NOW - 60}, made_at=old))  # copying gives files another time
    assert found(Traces(clips={"a": NOW - 60}))


def test_an_order_that_another_folder_sent_is_a_doubt_where_it_is_the_first_here() -> None:
    elsewhere = Traces(elsewhere=frozenset({ROWS[0].content}))
    assert found(elsewhere) == [Doubt(Sign.FOLDER, ("a",))]
    again = plan(attempt(ROWS[0], Phase.FAILED), rerun=RerunChoice())
    assert again.steps[0].action is Action.RERUN
    assert found(elsewhere, again) == []


def test_each_row_is_doubted_once() -> None:
    every = Traces(
        sheets={"a": told()},
        clips={"a": 0.0, "b": 0.0},
        manifest={"a": told(), "b": told()},
        elsewhere=frozenset(row.content for row in ROWS),
        lost_since=LONG_AGO,
    )
    assert found(every) == [Doubt(Sign.SHEETS, ("a",)), Doubt(Sign.CLIPS, ("b",))]


def test_what_is_not_new_is_never_in_doubt() -> None:
    kept = plan(attempt(ROWS[0], Phase.DONE), attempt(ROWS[1], Phase.IN_FLIGHT, id=2))
    assert found(Traces(sheets={"a": told("done")}, lost_since=LONG_AGO), kept) == []
