"""A plan says of every row what would be done, why, and for how much; it never pays twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.attempt import (
    FINAL_PHASES,
    UNSETTLED_PHASES,
    Attempt,
    ErrorClass,
    Kind,
    Phase,
    State,
    TakeName,
)
from seedance_batch.core.decide import Flags
from seedance_batch.core.manifest import Job
from seedance_batch.core.plan import make_plan
from seedance_batch.core.steps import Action, Plan, RerunChoice, Step, cheapest
from tests.core.plan_builders import attempt, job, prices

FOX = job("a")
EDITED = job("a", prompt="a grey wolf")
RERUN = RerunChoice()
REDO = RerunChoice(redo={"a": TakeName(Kind.FINAL, 1)})


def plan(
    jobs: Sequence[Job] | Job, attempts: Sequence[Attempt] | Attempt = (), **options: Any
) -> Plan:
    jobs = [jobs] if isinstance(jobs, Job) else jobs
    attempts = [attempts] if isinstance(attempts, Attempt) else attempts
    return make_plan(jobs, attempts, table=prices(), **options)


def only(found: Plan) -> Step:
    (step,) = found.steps
    return step


def actions(found: Plan) -> dict[str, Action]:
    return {step.key: step.action for step in found.steps}


def test_signs_are_those_of_the_documentation() -> None:
    assert [a.sign for a in Action] == ["+", "~", "↻", "…", "?", "⬇", "=", "→", "!", "-"]
    assert [a for a in Action if a.spends] == [Action.NEW, Action.CHANGED, Action.RERUN]
    assert {a for a in Action if a.may_cost and not a.spends} == {Action.SETTLE}


# ── a row that is as it was ─────────────────────────────────────────────────────────────────────


def test_a_row_without_attempts_is_new_money() -> None:
    step = only(plan(FOX))
    assert (step.action, step.number, step.attempt) == (Action.NEW, 1, None)
    assert (step.cost, step.seconds, step.spent_before) == (Decimal("0.50"), 5, 0)
    assert step.reason == "not sent yet"


@pytest.mark.parametrize(
    ("phase", "action"),
    [
        (Phase.SUBMITTING, Action.IN_FLIGHT),
        (Phase.IN_FLIGHT, Action.IN_FLIGHT),
        (Phase.DOWNLOADING, Action.FETCH),
        (Phase.DONE, Action.DONE),
        (Phase.FAILED, Action.BLOCKED),
        (Phase.AMBIGUOUS, Action.BLOCKED),
        (Phase.EXPIRED, Action.BLOCKED),
        (Phase.MEDIA_MISMATCH, Action.BLOCKED),
    ],
)
def test_a_row_that_was_sent_takes_no_new_money_by_itself(phase: Phase, action: Action) -> None:
    made = attempt(FOX, phase)
    found = plan(FOX, made)
    step = only(found)
    assert (step.action, step.attempt, step.cost, step.number) == (action, made, None, 2)
    assert (found.new, found.new_cost, found.new_rows) == ((), 0, 0)


def test_a_planned_attempt_is_continued_under_its_own_number() -> None:
    planned = attempt(FOX, Phase.PLANNED, number=1)
    step = only(plan(FOX, planned))
    assert (step.action, step.attempt, step.number) == (Action.NEW, planned, 1)
    assert (step.cost, step.spent_before) == (Decimal("0.50"), 0)
    assert step.reason == "planned before, not sent"


def test_a_planned_attempt_of_an_edited_row_costs_what_the_edit_costs() -> None:
    planned = attempt(FOX, Phase.PLANNED)
    step = only(plan(job("a", duration=10), planned))
    assert (step.action, step.attempt, step.number) == (Action.NEW, planned, 1)
    assert step.cost == Decimal("1.00")
    assert "then edited" in step.reason


# ── edited rows ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("phase", sorted(FINAL_PHASES | {Phase.IN_FLIGHT, Phase.DOWNLOADING}))
def test_an_edited_row_is_a_new_attempt_with_its_reason_and_what_it_cost_before(
    phase: Phase,
) -> None:
    step = only(plan(EDITED, attempt(FOX, phase, number=3)))
    assert (step.action, step.number, step.attempt) == (Action.CHANGED, 4, None)
    assert step.reason == "prompt changed (‘a red fox’ → ‘a grey wolf’)"
    assert (step.cost, step.spent_before) == (Decimal("0.50"), Decimal("0.50"))


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({}, {"duration": 8}, "duration 5 → 8"),
        ({}, {"seed": 0}, "seed added (0)"),
        ({"seed": 7}, {}, "seed removed (7)"),
        ({}, {"generate_audio": False}, "generate_audio true → false"),
        ({}, {"return_last_frame": True}, "return_last_frame false → true"),
        ({}, {"web_search": False}, "web_search added (false)"),
        ({}, {"first_frame_url": "https://x.example/1"}, "first_frame_url added"),
        ({"first_frame_url": "https://x.example/1"}, {}, "first_frame_url removed"),
        (
            {"reference_image_urls": ["https://x.example/1"]},
            {"reference_image_urls": ["https://x.example/2"]},
            "reference_image_urls changed",
        ),
        (
            {"prompt": "one fox", "resolution": "480p"},
            {"prompt": "two foxes", "resolution": "1080p"},
            "prompt changed (‘one fox’ → ‘two foxes’), resolution 480p → 1080p",
        ),
        ({}, {"model": "seedance-3-0"}, "model seedance-2-0 → seedance-3-0"),
    ],
)
def test_the_reason_says_what_was_edited(
    before: dict[str, Any], after: dict[str, Any], reason: str
) -> None:
    made = attempt(job("a", **before), Phase.DONE)
    assert only(plan(job("a", **after), made)).reason == reason


def test_a_difference_that_the_body_does_not_show_is_still_a_change() -> None:
    made = attempt(FOX, Phase.DONE)
    other = replace(made, intent=replace(made.intent, content="0" * 64))
    assert only(plan(FOX, other)).reason == "content changed"


def test_a_row_edited_back_keeps_the_clip_it_has() -> None:
    first, second = attempt(FOX, Phase.DONE, id=1), attempt(EDITED, Phase.DONE, id=2, number=2)
    step = only(plan(FOX, [first, second]))
    assert (step.action, step.attempt) == (Action.DONE, first)


def test_an_older_clip_outlives_a_newer_failure() -> None:
    done, failed = attempt(FOX, Phase.DONE, id=1), attempt(FOX, Phase.EXPIRED, id=2, number=2)
    assert only(plan(FOX, [done, failed])).attempt == done


def test_a_newer_attempt_under_way_comes_before_an_older_clip() -> None:
    done, newer = attempt(FOX, Phase.DONE, id=1), attempt(FOX, Phase.IN_FLIGHT, id=2, number=2)
    assert only(plan(FOX, [newer, done])).attempt == newer


@pytest.mark.parametrize("phase", sorted(UNSETTLED_PHASES))
def test_an_edit_waits_until_the_former_content_is_settled(phase: Phase) -> None:
    open_ = attempt(FOX, phase, id=1)
    later = attempt(job("a", prompt="third"), Phase.DONE, id=2, number=2)
    for attempts in ([open_], [open_, later]):
        step = only(plan(EDITED, attempts))
        assert not step.action.spends
        assert step.attempt == open_
        assert ("prompt changed" in step.reason) is (phase is Phase.SUBMITTING)
        assert ("reconcile" in step.reason) is (phase is Phase.AMBIGUOUS)


# ── drafts and finals ───────────────────────────────────────────────────────────────────────────


def test_a_draft_never_stands_for_a_final_clip_nor_the_other_way_round() -> None:
    draft = attempt(FOX, Phase.DONE, kind=Kind.DRAFT)
    final = attempt(FOX, Phase.DONE, kind=Kind.FINAL)
    assert only(plan(FOX, draft)).action is Action.NEW
    assert only(plan(FOX, final, kind=Kind.DRAFT)).action is Action.NEW
    assert only(plan(FOX, draft, kind=Kind.DRAFT)).action is Action.DONE


def test_an_ambiguous_draft_does_not_hold_up_the_final_clip() -> None:
    assert only(plan(FOX, attempt(FOX, Phase.AMBIGUOUS, kind=Kind.DRAFT))).action is Action.NEW


# ── rerun ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "choice", "taken"),
    [
        (ErrorClass.TRANSIENT, RERUN, True),
        (ErrorClass.RELEASED, RERUN, True),
        (ErrorClass.REFUSED, RERUN, False),
        (ErrorClass.INVALID, RERUN, False),
        (ErrorClass.PERMANENT, RERUN, False),
        (ErrorClass.EXPIRED, RERUN, False),
        (ErrorClass.MEDIA_MISMATCH, RERUN, False),
        (ErrorClass.REFUSED, RerunChoice(force=True), True),
        (ErrorClass.INVALID, RerunChoice(force=True), True),
        (ErrorClass.PERMANENT, RerunChoice(force=True), True),
        (ErrorClass.EXPIRED, RerunChoice(force=True), False),
        (ErrorClass.TRANSIENT, RerunChoice(force=True), True),
        (ErrorClass.REFUSED, RerunChoice(frozenset({ErrorClass.REFUSED})), False),
        (ErrorClass.REFUSED, RerunChoice(frozenset({ErrorClass.REFUSED}), force=True), True),
        (ErrorClass.INVALID, RerunChoice(frozenset({ErrorClass.REFUSED}), force=True), False),
        (ErrorClass.EXPIRED, RerunChoice(frozenset({ErrorClass.EXPIRED})), True),
        (ErrorClass.TRANSIENT, RerunChoice(frozenset({ErrorClass.EXPIRED})), False),
        (ErrorClass.MEDIA_MISMATCH, RerunChoice(frozenset({ErrorClass.MEDIA_MISMATCH})), True),
    ],
)
def test_a_rerun_takes_what_it_was_told_to(
    error: ErrorClass, choice: RerunChoice, taken: bool
) -> None:
    paid = {
        ErrorClass.EXPIRED: Phase.EXPIRED,
        ErrorClass.MEDIA_MISMATCH: Phase.MEDIA_MISMATCH,
    }
    failed = attempt(FOX, paid.get(error, Phase.FAILED), error=error, error_message="why")
    step = only(plan(FOX, failed, rerun=choice))
    assert step.action is (Action.RERUN if taken else Action.BLOCKED)
    assert step.number == 2
    assert step.reason.startswith(f"{error}: why")


@pytest.mark.parametrize("phase", sorted(UNSETTLED_PHASES))
def test_no_rerun_takes_a_row_that_is_not_settled(phase: Phase) -> None:
    everything = RerunChoice(frozenset(ErrorClass), force=True)
    assert not plan(FOX, attempt(FOX, phase), rerun=everything).new


def test_a_blocked_row_says_what_leads_on() -> None:
    words = {
        error: only(plan(FOX, attempt(FOX, Phase.FAILED, error=error))).reason
        for error in (ErrorClass.TRANSIENT, ErrorClass.REFUSED)
    }
    assert words[ErrorClass.TRANSIENT] == "transient: rerun"
    assert words[ErrorClass.REFUSED] == "refused: edit the row, or rerun --force"
    assert "fetch asks for it again" in only(plan(FOX, attempt(FOX, Phase.EXPIRED))).reason


def test_a_failure_without_a_class_is_the_rows_own() -> None:
    made = attempt(FOX, Phase.FAILED)
    unclear = replace(made, state=State(phase=Phase.FAILED, task_id="tk-1"))
    assert not plan(FOX, unclear, rerun=RERUN).new


def test_a_rerun_leaves_out_rows_that_have_not_failed() -> None:
    rows = [job("new", 1, seed=1), job("edited", 2, duration=8), job("failed", 3, duration=9)]
    attempts = [
        attempt(job("edited"), Phase.DONE, id=1),
        attempt(rows[2], Phase.FAILED, id=2),
    ]
    found = plan(rows, attempts, rerun=RERUN)
    assert actions(found) == {"failed": Action.RERUN}
    assert found.left_out == 2


@pytest.mark.parametrize("error", [ErrorClass.REFUSED, ErrorClass.INVALID, ErrorClass.PERMANENT])
def test_a_rerun_takes_failed_rows_that_were_edited(error: ErrorClass) -> None:
    failed = attempt(FOX, Phase.FAILED, error=error)
    assert only(plan(EDITED, failed, rerun=RERUN)).action is Action.CHANGED
    assert only(plan(EDITED, failed)).action is Action.CHANGED


def test_a_rerun_that_was_cut_short_before_it_was_sent_goes_on() -> None:
    failed = attempt(FOX, Phase.FAILED, id=1)
    planned = attempt(FOX, Phase.PLANNED, id=2, number=2)
    for choice in (None, RERUN):
        step = only(plan(FOX, [failed, planned], rerun=choice))
        assert (step.action, step.attempt, step.number) == (Action.RERUN, planned, 2)


def test_a_planned_attempt_older_than_the_failure_is_no_consent() -> None:
    planned = attempt(FOX, Phase.PLANNED, id=1, number=1)
    failed = attempt(FOX, Phase.FAILED, id=2, number=2)
    step = only(plan(FOX, [planned, failed]))
    assert (step.action, step.number) == (Action.BLOCKED, 3)


@pytest.mark.parametrize(
    ("others", "action"),
    [
        ([], Action.RERUN),
        ([Phase.PLANNED], Action.RERUN),
        ([Phase.FAILED], Action.RERUN),
        ([Phase.SUBMITTING], Action.IN_FLIGHT),
        ([Phase.IN_FLIGHT], Action.IN_FLIGHT),
        ([Phase.DOWNLOADING], Action.FETCH),
        ([Phase.DONE], Action.DONE),
        ([Phase.FAILED, Phase.DONE], Action.DONE),
        ([Phase.AMBIGUOUS], Action.BLOCKED),
        ([Phase.EXPIRED], Action.BLOCKED),
        ([Phase.MEDIA_MISMATCH], Action.BLOCKED),
    ],
)
def test_a_row_marked_redo_gets_another_take_unless_one_is_on_its_way(
    others: list[Phase], action: Action
) -> None:
    attempts = [attempt(FOX, Phase.DONE, id=1)]
    attempts += [attempt(FOX, phase, id=n, number=n) for n, phase in enumerate(others, 2)]
    step = only(plan(FOX, attempts, rerun=REDO))
    assert step.action is action
    assert step.spent_before >= Decimal("0.50")


def test_a_take_that_was_refused_is_asked_for_once_more_by_force_alone() -> None:
    refused = attempt(FOX, Phase.FAILED, id=2, number=2, error=ErrorClass.REFUSED)
    attempts = [attempt(FOX, Phase.DONE, id=1), refused]
    step = only(plan(FOX, attempts, rerun=REDO))
    assert (step.action, step.attempt) == (Action.BLOCKED, refused)
    step = only(plan(FOX, attempts, rerun=replace(REDO, force=True)))
    assert (step.action, step.number) == (Action.RERUN, 3)
    assert only(plan(FOX, attempts, rerun=REDO.only_redo())).action is Action.BLOCKED


def test_a_wish_for_another_kind_an_unknown_take_or_a_former_text_is_kept_back() -> None:
    done = attempt(FOX, Phase.DONE, id=1)
    for wish, words in ((("draft", 1), "redo as a draft"), (("final", 5), "redo final 5")):
        choice = RerunChoice(redo={"a": TakeName(Kind(wish[0]), wish[1])})
        step = only(plan(FOX, done, rerun=choice))
        assert step.action is Action.BLOCKED
        assert words in step.reason
    step = only(plan(EDITED, done, rerun=REDO))
    assert step.action is Action.BLOCKED
    assert "then edited" in step.reason


def test_only_what_is_done_can_be_made_once_more() -> None:
    assert only(plan(FOX, attempt(FOX, Phase.EXPIRED), rerun=REDO)).action is Action.BLOCKED
    assert only(plan(FOX, rerun=REDO)).action is Action.BLOCKED


# ── moved and removed rows ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("phase", "action"),
    [
        (Phase.SUBMITTING, Action.MOVED),
        (Phase.IN_FLIGHT, Action.MOVED),
        (Phase.DOWNLOADING, Action.MOVED),
        (Phase.DONE, Action.MOVED),
        (Phase.AMBIGUOUS, Action.BLOCKED),
        (Phase.FAILED, Action.BLOCKED),
        (Phase.EXPIRED, Action.BLOCKED),
        (Phase.MEDIA_MISMATCH, Action.BLOCKED),
    ],
)
def test_a_row_with_a_new_id_is_still_the_same_order(phase: Phase, action: Action) -> None:
    made = attempt(job("old"), phase)
    step = only(plan(job("new"), made))
    assert (step.key, step.action, step.attempt, step.cost) == ("new", action, made, None)
    assert step.number == 1


@pytest.mark.parametrize(
    ("phase", "error"),
    [(Phase.PLANNED, None), (Phase.FAILED, ErrorClass.INVALID)],
)
def test_what_was_never_charged_is_not_taken_over(phase: Phase, error: ErrorClass | None) -> None:
    gone = attempt(job("old"), phase, error=error, task_id=None)
    assert actions(plan(job("new"), gone))["new"] is Action.NEW


def test_an_order_that_is_taken_over_never_has_a_planned_attempts_number() -> None:
    own = attempt(job("new"), Phase.PLANNED, id=2)
    step = only(plan(job("new"), [attempt(job("old"), Phase.DONE, id=1), own]))
    assert (step.action, step.number) == (Action.MOVED, 2)


def test_equal_orders_are_taken_over_one_each_in_order() -> None:
    old = [attempt(job(key), Phase.DONE, id=n) for n, key in enumerate("xyz", 1)]
    found = plan([job("1", 1), job("2", 2), job("3", 3), job("4", 4)], list(reversed(old)))
    kept = [step.attempt and step.attempt.id for step in found.steps]
    assert kept == [1, 2, 3, None]
    assert found.steps[-1].action is Action.NEW


def test_the_best_of_equal_orders_is_taken_first() -> None:
    old = [
        attempt(job("x"), Phase.EXPIRED, id=1),
        attempt(job("y"), Phase.DONE, id=2),
    ]
    assert actions(plan(job("new"), old)) == {"new": Action.MOVED, "x": Action.REMOVED}


def test_a_clip_whose_row_is_unchanged_is_nobody_elses() -> None:
    found = plan([job("a", 1), job("b", 2)], attempt(job("a"), Phase.DONE))
    assert actions(found) == {"a": Action.DONE, "b": Action.NEW}


def test_a_clip_whose_row_asks_for_something_else_is_free_to_take() -> None:
    swapped = [job("a", 1, prompt="a wolf"), job("b", 2, prompt="a fox")]
    attempts = [
        attempt(job("a", prompt="a fox"), Phase.DONE, id=1),
        attempt(job("b", prompt="a wolf"), Phase.DONE, id=2),
    ]
    found = plan(swapped, attempts)
    assert [step.action for step in found.steps] == [Action.MOVED, Action.MOVED]
    assert [step.attempt for step in found.steps] == attempts[::-1]


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.PLANNED}))
def test_an_order_that_another_row_takes_over_is_no_longer_the_first_rows(phase: Phase) -> None:
    rows = [job("a", 1, prompt="a wolf"), job("b", 2)]
    step, taken = plan(rows, attempt(job("a"), phase)).steps
    assert (step.action, step.number, step.spent_before) == (Action.NEW, 2, 0)
    assert (taken.attempt is not None, taken.spent_before) == (True, Decimal("0.50"))


def test_removed_rows_are_asked_before_rows_that_were_edited() -> None:
    attempts = [attempt(job("a"), Phase.DONE, id=1), attempt(job("gone"), Phase.DONE, id=2)]
    found = plan([job("a", 1, prompt="a wolf"), job("b", 2)], attempts)
    assert found.steps[1].attempt == attempts[1]


def test_a_row_with_a_failure_of_its_own_takes_over_a_clip_but_no_other_failure() -> None:
    own = attempt(FOX, Phase.FAILED, id=1)
    clip, lost = attempt(job("x"), Phase.DONE, id=2), attempt(job("x"), Phase.EXPIRED, id=2)
    assert only(plan(FOX, [own, clip])).action is Action.MOVED
    assert only(plan(FOX, [own, lost], selected={"a"})).attempt == own


def test_an_unselected_row_keeps_its_claim() -> None:
    found = plan([job("1", 1), job("2", 2)], attempt(job("x"), Phase.DONE), selected={"2"})
    assert only(found).action is Action.NEW


def test_a_row_with_a_problem_keeps_what_is_its_own() -> None:
    found = plan(job("b"), attempt(job("a"), Phase.DONE), rows_known={"a"})
    assert actions(found) == {"b": Action.NEW}


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.PLANNED, Phase.SUBMITTING}))
def test_a_row_that_left_the_manifest_is_shown_and_costs_nothing(phase: Phase) -> None:
    found = plan(job("b", prompt="other"), attempt(job("gone"), phase))
    removed = found.steps[-1]
    assert (removed.action, removed.key, removed.job) == (Action.REMOVED, "gone", None)
    assert (removed.cost, found.new_rows) == (None, 1)


def test_an_unanswered_send_that_no_row_asks_for_is_a_line_with_its_cost() -> None:
    sent = attempt(job("gone"), Phase.SUBMITTING, cost="0.40")
    found = plan(job("b", prompt="other"), sent)
    settle = found.steps[-1]
    assert (settle.action, settle.attempt, settle.cost) == (Action.SETTLE, sent, Decimal("0.40"))
    assert (found.new_rows, found.settling, found.left_alone) == (1, (settle,), frozenset())
    left = found.without_settling("why")
    assert (left.steps[-1].action, left.settling) == (Action.BLOCKED, ())
    for unseen in (left, plan(job("b", prompt="other"), sent, selected={"b"})):
        assert (unseen.left_alone, unseen.also_watched) == ({sent.id}, ())


@pytest.mark.parametrize(
    ("rows", "taken_back"),
    [
        ([job("a", 1)], False),
        ([job("a", 1, prompt="edited")], True),
        ([job("renamed", 1)], False),
        ([job("b", 2, prompt="other")], True),
    ],
)
def test_a_send_is_taken_back_where_no_row_chosen_or_not_asks_for_it(
    rows: list[Job], taken_back: bool
) -> None:
    sent = attempt(FOX, Phase.SUBMITTING)
    assert bool(plan(rows, sent).taken_back) is taken_back
    assert bool(plan(rows, sent, selected=()).taken_back) is taken_back
    assert plan(rows, sent, rows_known={"a"}).taken_back == frozenset()
    draft = replace(sent, intent=replace(sent.intent, kind=Kind.DRAFT))
    asked = {row.key: row.content for row in rows}
    expected = taken_back or rows[0].key == "renamed"  # nothing moves between kinds
    assert bool(plan(rows, draft, contents_elsewhere=asked).taken_back) is expected


def test_a_removed_row_that_was_never_sent_is_nothing() -> None:
    assert plan([], attempt(job("gone"), Phase.PLANNED)).steps == ()


def test_work_under_way_that_no_row_shows_is_watched_all_the_same() -> None:
    rows = [job("a", 1, prompt="edited"), job("b", 2)]
    attempts = [
        attempt(job("a"), Phase.IN_FLIGHT, id=1),
        attempt(rows[1], Phase.DOWNLOADING, id=2),
        attempt(rows[1], Phase.SUBMITTING, id=3, kind=Kind.DRAFT),
        attempt(job("gone", prompt="gone"), Phase.IN_FLIGHT, id=4),
        attempt(job("gone", prompt="gone"), Phase.DONE, id=5, number=2),
    ]
    found = plan(rows, attempts)
    assert [a.id for a in found.also_watched] == [1, 3, 4]
    assert [a.id for a in plan(rows, attempts, selected={"a"}).also_watched] == [1, 2, 3, 4]


# ── flags that change bodies ────────────────────────────────────────────────────────────────────


LONGER = job("a", duration=8)


def with_flags(now: dict[str, str], then: dict[str, str], *, remake: bool = False) -> Flags:
    return Flags(now, lambda _: then, remake)


def test_a_row_is_not_made_anew_for_other_flags_unless_told_to() -> None:
    done = attempt(FOX, Phase.DONE)
    asked = with_flags({"set duration": "8"}, {})
    held = only(plan(LONGER, done, flags=asked))
    assert (held.action, held.kept) == (Action.BLOCKED, done)
    assert "--set duration unset → 8" in held.reason
    assert "--remake" in held.reason
    told = with_flags({"set duration": "8"}, {}, remake=True)
    assert only(plan(LONGER, done, flags=told)).action is Action.CHANGED


def test_a_row_keeps_the_flags_that_it_was_made_with_while_none_ask_otherwise() -> None:
    done = attempt(LONGER, Phase.DONE)
    kept = only(plan(FOX, done, flags=with_flags({}, {"set duration": "8"})))
    assert (kept.action, kept.kept) == (Action.DONE, done)
    other = with_flags({"set duration": "6"}, {"set duration": "8"})
    assert only(plan(job("a", duration=6), done, flags=other)).action is Action.BLOCKED


def test_a_renamed_row_is_the_same_row_whatever_flags_are_left_out_or_given() -> None:
    done = attempt(LONGER, Phase.DONE)
    renamed = job("b", prompt=FOX.input.prompt)
    moved = only(plan(renamed, done, flags=with_flags({}, {"set duration": "8"})))
    assert (moved.action, moved.key, moved.attempt) == (Action.MOVED, "b", done)
    other = job("b", prompt=FOX.input.prompt, duration=6)
    held = only(plan(other, done, flags=with_flags({"set duration": "6"}, {"set duration": "8"})))
    assert (held.action, held.kept) == (Action.BLOCKED, done)
    told = with_flags({"set duration": "6"}, {"set duration": "8"}, remake=True)
    assert [step.action for step in plan(other, done, flags=told).new] == [Action.NEW]


def test_a_row_beside_the_one_that_was_made_with_other_flags_is_new() -> None:
    done, twin = attempt(LONGER, Phase.DONE), job("b", prompt=FOX.input.prompt)
    found = plan([FOX, twin], done, flags=with_flags({}, {"set duration": "8"}))
    assert [step.action for step in found.steps] == [Action.DONE, Action.NEW]


def test_an_edit_is_an_edit_whatever_the_flags_were() -> None:
    done = attempt(LONGER, Phase.DONE)
    edited = only(plan(EDITED, done, flags=with_flags({}, {"set duration": "8"})))
    assert (edited.action, edited.kept) == (Action.CHANGED, None)
    assert only(plan(LONGER, attempt(FOX, Phase.DONE))).action is Action.CHANGED


def test_a_failed_row_may_be_asked_for_with_other_flags() -> None:
    failed = attempt(FOX, Phase.FAILED)
    asked = with_flags({"set duration": "8"}, {})
    assert only(plan(LONGER, failed, flags=asked)).action is Action.CHANGED


def test_a_take_with_other_flags_that_failed_leaves_the_row_done_as_it_was() -> None:
    takes = [attempt(FOX, Phase.DONE, id=1), attempt(LONGER, Phase.FAILED, id=2, number=2)]
    found = only(plan(FOX, takes, flags=with_flags({}, {"set duration": "8"})))
    assert (found.action, found.attempt) == (Action.DONE, takes[0])


def test_a_row_that_once_was_as_asked_is_done() -> None:
    takes = [attempt(FOX, Phase.DONE, id=1), attempt(LONGER, Phase.DONE, id=2, number=2)]
    asked = with_flags({}, {"set duration": "8"})
    assert only(plan(FOX, takes, flags=asked)).action is Action.DONE


def test_remake_does_not_make_anew_what_is_done_as_asked() -> None:
    assert only(plan(FOX, attempt(FOX, Phase.DONE), flags=Flags(remake=True))).action is Action.DONE


# ── totals ──────────────────────────────────────────────────────────────────────────────────────


def test_totals_are_sums_by_action() -> None:
    rows = [job("a", 1), job("b", 2, duration=10), job("c", 3, resolution="480p")]
    found = plan(rows, attempt(rows[0], Phase.DONE))
    assert {a: (t.rows, t.seconds, t.cost) for a, t in found.totals.items()} == {
        Action.NEW: (2, 15, Decimal("1.50")),
        Action.DONE: (1, 5, Decimal(0)),
    }
    assert (found.new_rows, found.new_cost) == (2, Decimal("1.50"))
    assert found.seconds_by_resolution == {"720p": 10, "480p": 5}


def test_one_unknown_price_makes_the_sum_unknown_never_zero() -> None:
    table = prices({"rule": {"resolution": {"match": "480p"}}, "pricing_type": "fixed"})
    rows = [job("a", 1), job("b", 2, resolution="480p")]
    found = make_plan(rows, [], table=table)
    assert found.new_cost is None
    assert [step.no_price for step in found.steps] == [None, "the matching price is null or zero"]


def test_the_cheapest_rows_are_those_to_try_first() -> None:
    rows = [job("a", 1, duration=9), job("b", 2, duration=4), job("c", 3), job("d", 4)]
    found = plan(rows, attempt(rows[3], Phase.DONE))
    assert [step.key for step in cheapest(found.new, 2)] == ["b", "c"]
    unpriced = make_plan(rows, [], table=None)
    assert [step.key for step in cheapest(unpriced.new, 3)] == ["b", "c", "d"]


def test_a_row_without_a_price_is_tried_after_all_that_have_one() -> None:
    table = prices({"rule": {"resolution": {"match": "480p"}}, "pricing_type": "fixed"})
    rows = [job("a", 1, resolution="480p", duration=4), job("b", 2, duration=9), job("c", 3)]
    found = make_plan(rows, [], table=table)
    assert [step.key for step in cheapest(found.new, 2)] == ["c", "b"]


# ── whatever happens ────────────────────────────────────────────────────────────────────────────

CONTENTS = [{"prompt": name} for name in ("one", "two", "three")]
CHOICES = st.sampled_from([None, RERUN, RerunChoice(frozenset(ErrorClass), force=True)])


@st.composite
def journals(draw: st.DrawFn) -> tuple[list[Job], list[Attempt]]:
    """Rows and attempts in any combination, impossible ones among them."""
    keys = draw(st.lists(st.sampled_from("abcd"), unique=True))
    jobs = [job(key, n, **draw(st.sampled_from(CONTENTS))) for n, key in enumerate(keys, 1)]
    attempts = [
        attempt(
            job(draw(st.sampled_from("abcdef")), **draw(st.sampled_from(CONTENTS))),
            draw(st.sampled_from(Phase)),
            id=n,
            number=n,
            kind=draw(st.sampled_from(Kind)),
            cost=draw(st.sampled_from(["0.5", None])),
        )
        for n in range(1, draw(st.integers(1, 9)))
    ]
    return jobs, attempts


def own_attempts(found: Plan, step: Step) -> list[Attempt]:
    """The row's attempts of the plan's kind, without those that another row took over."""
    taken = {s.attempt.id for s in found.steps if s.attempt and s.key != s.attempt.intent.key}
    return [
        a
        for a in found.attempts
        if a.intent.kind is step.kind and a.intent.key == step.key and a.id not in taken
    ]


@given(journals(), st.sampled_from(Kind), CHOICES)
def test_new_money_is_never_spent_on_what_is_paid_or_not_settled(
    journal: tuple[list[Job], list[Attempt]], kind: Kind, rerun: RerunChoice | None
) -> None:
    jobs, attempts = journal
    found = plan(jobs, attempts, kind=kind, rerun=rerun)
    for step in found.new:
        own = own_attempts(found, step)
        assert not any(a.state.phase in UNSETTLED_PHASES for a in own)
        assert step.job
        live = {Phase.IN_FLIGHT, Phase.DOWNLOADING, Phase.DONE}
        assert not any(a.state.phase in live and a.intent.content == step.job.content for a in own)
        sent = [a.intent.number for a in own if a.state.phase is not Phase.PLANNED]
        assert step.number not in sent


@given(journals(), st.sampled_from(Kind), CHOICES)
def test_no_attempt_is_carried_twice_and_none_under_way_is_forgotten(
    journal: tuple[list[Job], list[Attempt]], kind: Kind, rerun: RerunChoice | None
) -> None:
    jobs, attempts = journal
    found = plan(jobs, attempts, kind=kind, rerun=rerun)
    carried = [step.attempt.id for step in found.steps if step.attempt]
    assert len(carried) == len(set(carried))
    under_way = {Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.DOWNLOADING}
    watched = {*carried, *(a.id for a in found.also_watched)}
    watched |= found.left_alone
    assert {a.id for a in attempts if a.state.phase in under_way} <= watched


@given(journals(), st.sampled_from(Kind))
def test_without_a_rerun_every_row_has_one_step_in_manifest_order(
    journal: tuple[list[Job], list[Attempt]], kind: Kind
) -> None:
    jobs, attempts = journal
    found = plan(jobs, attempts, kind=kind)
    assert [step.job for step in found.steps if step.job] == jobs
    assert found == plan(jobs, attempts, kind=kind)
