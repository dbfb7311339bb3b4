"""Events in any order: no illegal state, one task, and final states stay what they are."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from seedance_batch.core.attempt import (
    FINAL_PHASES,
    ErrorClass,
    Phase,
    State,
    charged,
    counts_against_budget,
    may_resend,
)
from seedance_batch.core.hiapi import TaskError, TaskStatus
from seedance_batch.core.lifecycle import (
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
from tests.core.state_samples import CLIP, VIDEO, task

TIMES = st.floats(0, 200_000)
TASKS = st.sampled_from(["tk-1", "tk-2", "tk-3"])
SHAS = st.sampled_from(["x", "y"])
LOOKS = st.builds(
    lambda status, video, task_id: task(status, *([VIDEO] if video else []), task_id=task_id),
    st.sampled_from(TaskStatus),
    st.booleans(),
    TASKS,
)
ANY: dict[type, st.SearchStrategy[Event]] = {
    Sent: st.builds(Sent, TIMES),
    Accepted: st.builds(Accepted, TASKS, TIMES, st.booleans()),
    Refused: st.just(Refused("429")),
    Unanswered: st.just(Unanswered("reset")),
    Rejected: st.builds(Rejected, st.just(TaskError("INVALID_REQUEST", "no")), TIMES),
    KeyMismatch: st.builds(KeyMismatch, st.just("422"), TIMES),
    WindowPassed: st.builds(WindowPassed, st.just("late"), TIMES),
    Seen: st.builds(Seen, LOOKS, TIMES),
    Named: st.just(Named("videos/a.mp4")),
    Doubted: st.just(Doubted("no route")),
    Forgotten: st.builds(Forgotten, st.just("unknown"), TIMES),
    UrlGone: st.builds(UrlGone, st.just("403"), TIMES),
    FileWrong: st.builds(FileWrong, SHAS, st.just("short"), st.just(CLIP), TIMES),
    Published: st.builds(Published, st.just(CLIP), TIMES),
}
PERSONS: dict[type, st.SearchStrategy[Event]] = {
    Adopted: st.builds(Adopted, TASKS, TIMES),
    Released: st.builds(Released, TIMES),
    Refetch: st.just(Refetch()),
}
ALLOWED = {
    Phase.PLANNED: {Phase.SUBMITTING, Phase.IN_FLIGHT},
    Phase.SUBMITTING: {Phase.PLANNED, Phase.IN_FLIGHT, Phase.FAILED, Phase.AMBIGUOUS},
    Phase.IN_FLIGHT: {Phase.DOWNLOADING, Phase.FAILED, Phase.EXPIRED},
    Phase.DOWNLOADING: {Phase.DONE, Phase.EXPIRED, Phase.MEDIA_MISMATCH},
    Phase.AMBIGUOUS: {Phase.IN_FLIGHT, Phase.FAILED},
    Phase.DONE: {Phase.DOWNLOADING},
    Phase.EXPIRED: {Phase.DOWNLOADING, Phase.IN_FLIGHT},
    Phase.MEDIA_MISMATCH: {Phase.DOWNLOADING},
    Phase.FAILED: {Phase.IN_FLIGHT, Phase.DOWNLOADING},
}
"""Where one event may lead; the last four only by a person, or a task that turns up after all."""


class Life(RuleBasedStateMachine):
    """One attempt, and what is known of it from outside."""

    @initialize()
    def begin(self) -> None:
        self.state = State()

    @rule(event=st.one_of(*ANY.values()))
    def something_happens(self, event: Event) -> None:
        before = self.state
        self._step(event)
        if before.phase in FINAL_PHASES:
            released = before.error_class is ErrorClass.RELEASED
            late = released and isinstance(event, Accepted | Seen)
            assert late or self.state == before

    @rule(event=st.one_of(*PERSONS.values()))
    def a_person_decides(self, event: Event) -> None:
        self._step(event)

    @rule()
    def the_row_goes_its_usual_way(self) -> None:
        """So that the far phases are visited often."""
        usual: dict[Phase, Event] = {
            Phase.PLANNED: Sent(10.0),
            Phase.SUBMITTING: Accepted("tk-1", 11.0),
            Phase.IN_FLIGHT: Seen(
                task(TaskStatus.SUCCESS, VIDEO, task_id=self.state.task_id or ""), 60.0
            ),
            Phase.DOWNLOADING: Published(CLIP, 70.0),
        }
        if self.state.phase in usual:
            self._step(usual[self.state.phase])

    def _step(self, event: Event) -> None:
        before, self.state = self.state, step(self.state, event)
        after = self.state
        assert after.phase is before.phase or after.phase in ALLOWED[before.phase]
        assert step(before, event) == after  # the same again: pure
        if before.task_id is not None and not isinstance(event, Adopted):
            assert after.task_id == before.task_id  # a task, once known, is kept: a person decides
        if before.phase is Phase.SUBMITTING and after.phase is Phase.PLANNED:
            assert before.unanswered <= 1  # no doubt is forgotten
        if (
            after.phase is Phase.FAILED
            and after.task_id is None
            and before.phase is not after.phase
        ):
            assert before.unanswered <= 1 or isinstance(event, Released)

    @invariant()
    def is_legal(self) -> None:
        state = self.state
        known = {
            Phase.IN_FLIGHT,
            Phase.DOWNLOADING,
            Phase.DONE,
            Phase.EXPIRED,
            Phase.MEDIA_MISMATCH,
        }
        assert (state.task_id is not None) >= (state.phase in known)
        assert (state.task_id is None) >= (
            state.phase in {Phase.PLANNED, Phase.SUBMITTING, Phase.AMBIGUOUS}
        )
        assert (state.clip is not None) == (state.phase in {Phase.DONE, Phase.MEDIA_MISMATCH})
        assert (state.video_url is not None) >= (
            state.phase in {Phase.DOWNLOADING, Phase.DONE, Phase.MEDIA_MISMATCH}
        )
        assert (state.unanswered > 0) >= (state.phase is Phase.SUBMITTING)
        assert (state.first_sent_at is not None) >= (state.unanswered > 0)

    @invariant()
    def is_sent_again_only_while_that_is_safe(self) -> None:
        if may_resend(self.state, 1e6):
            assert self.state.task_id is None
            assert self.state.unanswered == 0

    @invariant()
    def what_may_have_been_paid_counts(self) -> None:
        if self.state.task_id is not None or self.state.unanswered:
            assert counts_against_budget(self.state) or charged(self.state) == "no"


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=80, stateful_step_count=40)
