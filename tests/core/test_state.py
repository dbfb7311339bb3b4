"""The life of an attempt, event by event: each line of the design's table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seedance_batch.core.attempt import (
    RESEND_WINDOW,
    UNTOLD_LIFE,
    Charged,
    ErrorClass,
    Phase,
    State,
    charged,
    classify,
    counts_against_budget,
    may_resend,
)
from seedance_batch.core.hiapi import OutputType, Task, TaskError, TaskStatus
from seedance_batch.core.lifecycle import (
    FRESH,
    LOOK_AGAIN,
    MISSING_VIDEO_PATIENCE,
    Accepted,
    Adopted,
    Doubted,
    Event,
    FileWrong,
    Forgotten,
    KeyMismatch,
    Named,
    Published,
    Refetch,
    Refused,
    Rejected,
    Released,
    Seen,
    Sent,
    Unanswered,
    UrlGone,
    WindowPassed,
    step,
)
from tests.core.state_samples import CLIP, EMPTY, FAILED, LAST, MADE, RUNNING, TASK, VIDEO, task


def after(*events: Event, start: State | None = None) -> State:
    """The state that some events lead to."""
    state = start or State()
    for event in events:
        state = step(state, event)
    return state


SENT = after(Sent(10.0))
FLYING = after(Sent(10.0), Accepted(TASK, 11.0))
LOADING = after(Seen(MADE, 60.0), start=FLYING)
DONE = after(Named("videos/a.mp4"), Published(CLIP, 70.0), start=LOADING)
UNSURE = after(WindowPassed("too late", 99.0), start=SENT)
OVER = {
    "done": DONE,
    "failed": after(Seen(FAILED, 60.0), start=FLYING),
    "expired": after(
        UrlGone("403", 970.0), Seen(MADE, 971.0), UrlGone("403", 972.0), start=LOADING
    ),
    "mismatch": after(
        FileWrong("x", "too short", CLIP, 70.0), FileWrong("x", "too short", CLIP, 71.0),
        start=LOADING,
    ),
}  # fmt: skip
EVENTS: list[Event] = [
    Sent(100.0),
    Accepted("tk-other", 100.0),
    Refused("429"),
    Unanswered("reset"),
    Rejected(TaskError("INVALID_REQUEST", "no"), 100.0),
    KeyMismatch("422", 100.0),
    WindowPassed("late", 100.0),
    Seen(MADE, 100.0),
    Seen(FAILED, 100.0),
    Seen(RUNNING, 100.0),
    Named("videos/b.mp4"),
    UrlGone("403", 100.0),
    Doubted("no route"),
    Forgotten("unknown", 80.0),
    FileWrong("x", "wrong", CLIP, 100.0),
    Published(CLIP, 100.0),
]


# ── sending ─────────────────────────────────────────────────────────────────────────────────────


def test_the_usual_life() -> None:
    assert [s.phase for s in (State(), SENT, FLYING, LOADING, DONE)] == [
        Phase.PLANNED,
        Phase.SUBMITTING,
        Phase.IN_FLIGHT,
        Phase.DOWNLOADING,
        Phase.DONE,
    ]
    assert (FLYING.task_id, FLYING.unanswered, FLYING.first_sent_at) == (TASK, 0, None)
    assert (DONE.clip, DONE.finished_at) == (CLIP, 50.0)
    assert (LOADING.video_url, LOADING.last_frame_url) == (VIDEO.url, LAST.url)


def test_a_resend_remembers_the_first_send_by_the_earliest_clock() -> None:
    assert after(Sent(10.0), Unanswered("reset"), Sent(7.0), Sent(12.0)) == State(
        phase=Phase.SUBMITTING,
        unanswered=3,
        first_sent_at=7.0,
        submitted_at=10.0,
        error_message="reset",
    )


def test_a_refused_send_is_planned_again() -> None:
    state = after(Sent(10.0), Refused("429"))
    assert state == State(submitted_at=10.0, error_message="429")
    assert may_resend(state, 10.0 + 2 * RESEND_WINDOW)


def test_a_refusal_after_an_unanswered_send_keeps_the_doubt() -> None:
    state = after(Sent(10.0), Unanswered("reset"), Sent(20.0), Refused("503"))
    assert (state.phase, state.unanswered, state.first_sent_at) == (Phase.SUBMITTING, 1, 10.0)
    assert not may_resend(state, 10.0 + RESEND_WINDOW)


def test_a_rejected_send_has_failed_and_one_after_a_lost_answer_is_ambiguous() -> None:
    no = Rejected(TaskError("INVALID_REQUEST", "no"), 30.0)
    failed = after(Sent(10.0), no)
    assert (failed.phase, failed.error_class) == (Phase.FAILED, ErrorClass.INVALID)
    assert (failed.error_code, failed.finished_at) == ("INVALID_REQUEST", 30.0)
    unsure = after(Sent(10.0), Unanswered("reset"), Sent(20.0), no)
    assert (unsure.phase, unsure.error_message) == (Phase.AMBIGUOUS, "no")


@pytest.mark.parametrize("event", [KeyMismatch("422", 30.0), WindowPassed("late", 30.0)])
def test_what_may_have_been_accepted_is_ambiguous(event: Event) -> None:
    state = step(SENT, event)
    assert (state.phase, state.error_class) == (Phase.AMBIGUOUS, ErrorClass.AMBIGUOUS)
    assert (state.error_code, state.finished_at) == (None, 30.0)
    assert not may_resend(state, 30.0)


def test_a_late_answer_settles_a_doubt() -> None:
    state = step(UNSURE, Accepted(TASK, 120.0, replayed=True))
    assert (state.phase, state.task_id, state.replayed) == (Phase.IN_FLIGHT, TASK, True)
    assert (state.error_class, state.finished_at) == (None, None)


def test_a_callback_may_be_faster_than_the_answer_of_a_planned_attempt() -> None:
    assert step(State(), Accepted(TASK, 5.0)).submitted_at == 5.0


def test_a_failure_that_names_a_clip_tells_where_it_lies() -> None:
    told = Task(TASK, TaskStatus.FAIL, output=(VIDEO,), error=TaskError("TASK_FAILED", "no"))
    state = step(FLYING, Seen(told, 60.0))
    assert (state.phase, state.video_url) == (Phase.FAILED, VIDEO.url)
    assert state.error_message == "no (it names a clip all the same, at video_url)"
    assert (state.error_class, state.finished_at) == (ErrorClass.REFUSED, 60.0)


# ── looking ─────────────────────────────────────────────────────────────────────────────────────


def test_another_tasks_look_and_a_running_one_change_nothing() -> None:
    assert step(FLYING, Seen(task(TaskStatus.SUCCESS, VIDEO, task_id="tk-2"), 60.0)) == FLYING
    assert step(FLYING, Seen(RUNNING, 60.0)) == FLYING
    assert step(SENT, Seen(MADE, 60.0)) == SENT


def test_a_failed_task_fails_by_its_class() -> None:
    state = OVER["failed"]
    assert (state.error_class, state.error_code) == (ErrorClass.TRANSIENT, "TASK_TIMEOUT")
    silent = step(FLYING, Seen(task(TaskStatus.FAIL), 60.0))
    assert (silent.error_class, silent.error_code) == (ErrorClass.PERMANENT, None)
    assert silent.error_message


def test_a_success_without_a_video_is_looked_at_again_for_ten_minutes() -> None:
    waiting = after(Seen(EMPTY, 60.0), Seen(EMPTY, 59.0 + MISSING_VIDEO_PATIENCE), start=FLYING)
    assert (waiting.phase, waiting.no_video_since) == (Phase.IN_FLIGHT, 60.0)
    assert step(waiting, Seen(MADE, 61.0)).phase is Phase.DOWNLOADING
    gone = step(waiting, Seen(EMPTY, 60.0 + MISSING_VIDEO_PATIENCE))
    assert (gone.phase, gone.error_class) == (Phase.EXPIRED, ErrorClass.EXPIRED)


# ── the file ────────────────────────────────────────────────────────────────────────────────────


def test_a_url_whose_time_is_over_is_looked_up_once_and_then_the_row_is_expired() -> None:
    gone = step(LOADING, UrlGone("403", 970.0))
    assert (gone.phase, gone.needs_look) == (Phase.DOWNLOADING, True)
    assert step(gone, Seen(RUNNING, 971.0)) == gone
    fresh = replace(VIDEO, url="https://files.example/new.mp4")
    found = step(gone, Seen(task(TaskStatus.SUCCESS, fresh), 971.0))
    assert (found.video_url, found.needs_look) == (fresh.url, False)
    assert found.last_frame_url == LAST.url  # the new look named none
    assert step(found, UrlGone("403", 972.0)).phase is Phase.EXPIRED


@pytest.mark.parametrize("later", [FRESH, -5.0])
def test_a_url_that_has_aged_since_its_look_is_looked_up_again(later: float) -> None:
    looked = after(UrlGone("403", 970.0), Seen(MADE, 971.0), start=LOADING)
    again = step(looked, UrlGone("403", 971.0 + later))
    assert (again.phase, again.needs_look) == (Phase.DOWNLOADING, True)


def test_a_file_that_is_refused_before_its_time_is_over_is_never_expired() -> None:
    state = LOADING
    for at in range(60, 880, 20):
        state = after(UrlGone("404", float(at)), Seen(MADE, at + 1.0), start=state)
        assert state.phase is Phase.DOWNLOADING
    assert state.error_message == "404"
    # A look from before that time is not the last one that is owed.
    assert step(state, UrlGone("404", 905.0)).needs_look


def test_a_file_that_does_not_come_is_looked_up_every_few_minutes() -> None:
    looked = after(UrlGone("404", 70.0), Seen(MADE, 71.0), start=LOADING)
    assert not step(looked, UrlGone("404", 71.0 + LOOK_AGAIN - 1)).needs_look
    assert step(looked, UrlGone("404", 71.0 + LOOK_AGAIN)).needs_look


@pytest.mark.parametrize(("ours", "server"), [(2000.0, 100.0), (100.0, 2000.0)])
def test_one_clock_alone_ends_no_clip(ours: float, server: float) -> None:
    once, twice = UrlGone("404", ours, server), UrlGone("404", ours + 2, server + 2)
    assert after(once, Seen(MADE, ours + 1), twice, start=LOADING).phase is Phase.DOWNLOADING
    both = UrlGone("404", 2002.0, 2002.0)
    assert after(once, Seen(MADE, 2001.0), both, start=LOADING).phase is Phase.EXPIRED


@pytest.mark.parametrize("said", [None, 0.0, 40.0, 50.0])
def test_where_no_time_is_said_that_can_be_true_a_file_is_waited_for_a_day(
    said: float | None,
) -> None:
    untold = replace(VIDEO, expires_at=said)
    made = task(TaskStatus.SUCCESS, untold, completed=50.0)
    start = step(FLYING, Seen(made, 60.0))
    for at, phase in [(5_000.0, Phase.DOWNLOADING), (51 + UNTOLD_LIFE, Phase.EXPIRED)]:
        state = after(UrlGone("404", at), Seen(made, at + 1), UrlGone("404", at + 70), start=start)
        assert state.phase is phase


def test_a_host_that_cannot_be_reached_is_no_reason_to_give_the_clip_up() -> None:
    doubted = step(LOADING, Doubted("no route"))
    assert (doubted.phase, doubted.needs_look) == (Phase.DOWNLOADING, True)
    assert after(Seen(MADE, 61.0), Doubted("no route"), start=doubted).phase is Phase.DOWNLOADING
    assert step(FLYING, Doubted("no route")) == FLYING


def test_a_paid_clip_that_nobody_has_any_more_is_expired() -> None:
    gone = step(LOADING, UrlGone("403", 970.0))
    forgotten = step(gone, Forgotten("unknown", 980.0))
    assert (forgotten.phase, forgotten.error_message) == (Phase.EXPIRED, "unknown")
    assert step(gone, Forgotten("unknown", 980.0, 800.0)).phase is Phase.DOWNLOADING
    assert step(LOADING, Forgotten("unknown", 80.0)) == LOADING
    assert step(FLYING, Forgotten("unknown", 80.0)) == FLYING


def test_a_task_that_is_forgotten_before_its_clip_is_due_leaves_the_clip_to_its_host() -> None:
    gone = step(LOADING, UrlGone("404", 70.0))
    forgotten = step(gone, Forgotten("unknown", 80.0))
    assert (forgotten.phase, forgotten.needs_look) == (Phase.DOWNLOADING, False)
    assert forgotten.video_url == VIDEO.url


@pytest.mark.parametrize("seen", [EMPTY, FAILED])
def test_a_look_that_names_no_clip_any_more_leaves_the_known_url_to_be_tried(seen: Task) -> None:
    looked = after(UrlGone("404", 70.0), Seen(seen, 71.0), start=LOADING)
    assert (looked.phase, looked.needs_look) == (Phase.DOWNLOADING, False)
    assert looked.video_url == VIDEO.url
    late = after(UrlGone("404", 970.0), Seen(seen, 971.0), UrlGone("404", 972.0), start=LOADING)
    assert late.phase is Phase.EXPIRED


def test_a_look_that_nobody_asked_for_changes_no_url() -> None:
    assert step(LOADING, Seen(EMPTY, 61.0)) == LOADING


def test_a_wrong_file_is_fetched_once_more_and_the_same_again_is_a_mismatch() -> None:
    once = step(LOADING, FileWrong("x", "too short", CLIP, 70.0))
    assert (once.phase, once.rejected_sha256) == (Phase.DOWNLOADING, "x")
    other = step(once, FileWrong("y", "too short", CLIP, 71.0))
    assert (other.phase, other.rejected_sha256) == (Phase.DOWNLOADING, "y")
    state = step(other, FileWrong("y", "too short", CLIP, 72.0))
    assert (state.phase, state.clip, state.finished_at) == (Phase.MEDIA_MISMATCH, CLIP, 50.0)
    assert step(once, Published(CLIP, 73.0)).error_message is None


def test_a_file_event_before_there_is_a_file_means_nothing() -> None:
    assert step(FLYING, Published(CLIP, 70.0)) == FLYING


# ── final states ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", OVER.values(), ids=OVER)
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_final_states_absorb(state: State, event: Event) -> None:
    assert step(state, event) == state


def test_a_person_adopts_or_releases_what_is_ambiguous() -> None:
    adopted = step(UNSURE, Adopted("tk-9", 120.0))
    assert (adopted.phase, adopted.task_id, adopted.replayed) == (Phase.IN_FLIGHT, "tk-9", False)
    released = step(UNSURE, Released(120.0))
    assert (released.phase, released.error_class) == (Phase.FAILED, ErrorClass.RELEASED)
    assert step(SENT, Adopted("tk-9", 120.0)) == SENT
    assert step(DONE, Released(120.0)) == DONE


def test_a_person_adopts_a_task_for_a_row_that_was_said_to_have_failed() -> None:
    failed = after(Seen(FAILED, 60.0), start=FLYING)
    for task_id in (TASK, "tk-9"):
        adopted = step(failed, Adopted(task_id, 120.0))
        assert (adopted.phase, adopted.task_id) == (Phase.IN_FLIGHT, task_id)
        assert (adopted.error_class, adopted.error_message) == (None, None)


def test_a_person_releases_a_row_whose_task_the_service_has_forgotten() -> None:
    released = step(FLYING, Released(120.0))
    assert (released.phase, released.error_class) == (Phase.FAILED, ErrorClass.RELEASED)
    assert released.task_id == TASK
    assert "forgotten" in (released.error_message or "")
    assert counts_against_budget(released)  # it may have been paid for
    assert step(released, Accepted("tk-other", 130.0)) == released


def test_the_clip_of_a_released_row_is_fetched_when_its_task_is_there_again() -> None:
    released = step(FLYING, Released(120.0))
    assert step(released, Seen(RUNNING, 130.0)) == released
    found = step(released, Seen(MADE, 140.0))
    assert (found.phase, found.video_url, found.error_class) == (Phase.DOWNLOADING, VIDEO.url, None)


def test_a_released_row_takes_the_task_that_turns_up_after_all() -> None:
    released = step(UNSURE, Released(120.0))
    assert step(released, Accepted(TASK, 130.0)).phase is Phase.IN_FLIGHT


def test_a_paid_clip_can_be_fetched_again() -> None:
    again = step(DONE, Refetch())
    assert (again.phase, again.needs_look, again.clip) == (Phase.DOWNLOADING, True, None)
    assert again.file == DONE.file
    never_shown = after(Seen(EMPTY, 60.0), Seen(EMPTY, 60.0 + MISSING_VIDEO_PATIENCE), start=FLYING)
    assert step(never_shown, Refetch()).phase is Phase.IN_FLIGHT
    assert step(OVER["failed"], Refetch()) == OVER["failed"]
    assert step(FLYING, Refetch()) == FLYING


# ── what follows ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("task_timeout", ErrorClass.TRANSIENT),
        ("INPUT_TOO_LARGE", ErrorClass.INVALID),
        ("TASK_FAILED", ErrorClass.REFUSED),
        ("something_new", ErrorClass.PERMANENT),
    ],
)
def test_error_codes_have_a_class(code: str, expected: ErrorClass) -> None:
    assert classify(code) is expected


def test_a_resend_is_allowed_inside_23_hours_only() -> None:
    assert may_resend(State(), 1e9)
    assert may_resend(SENT, 9.9 + RESEND_WINDOW)
    assert not may_resend(SENT, 10.0 + RESEND_WINDOW)
    assert not may_resend(FLYING, 11.0)


@pytest.mark.parametrize(
    ("state", "expected", "counts"),
    [
        (State(), Charged.NO, False),
        (SENT, Charged.UNKNOWN, True),
        (FLYING, Charged.UNKNOWN, True),
        (LOADING, Charged.YES, True),
        (DONE, Charged.YES, True),
        (OVER["expired"], Charged.YES, True),
        (OVER["mismatch"], Charged.YES, True),
        (OVER["failed"], Charged.UNKNOWN, True),
        (UNSURE, Charged.UNKNOWN, True),
        (step(UNSURE, Released(1.0)), Charged.UNKNOWN, True),
        (step(SENT, Rejected(TaskError("INVALID_REQUEST", ""), 1.0)), Charged.NO, False),
    ],
)
def test_what_may_have_been_charged_counts(state: State, expected: Charged, counts: bool) -> None:
    assert charged(state) is expected
    assert counts_against_budget(state) is counts


def test_a_task_shows_its_first_output_of_a_type() -> None:
    assert MADE.first(OutputType.LAST_FRAME) == LAST
    assert EMPTY.first(OutputType.VIDEO) is None
