"""Which tasks may be an ambiguous row's: by model and time, and nobody else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.candidates import SLACK, candidates, window
from seedance_batch.model import Task, TaskStatus
from seedance_batch.state import Phase
from tests.plan_builders import attempt, job

SENT = 1_800_000_000.0
GAVE_UP = SENT + 120


def task(number: int = 1, created: float = SENT, model: str = "seedance-2-0") -> Task:
    return Task(f"tk-{number}", TaskStatus.RUNNING, model=model, created=created)


LOST = attempt(job(), Phase.AMBIGUOUS, submitted_at=SENT, finished_at=GAVE_UP)


def test_a_task_made_while_the_row_was_being_sent_may_be_its_own() -> None:
    assert candidates(LOST, [task()], ()) == [task()]


@pytest.mark.parametrize(
    ("created", "fits"),
    [
        (SENT - SLACK, True),
        (SENT - SLACK - 1, False),
        (GAVE_UP + SLACK, True),
        (GAVE_UP + SLACK + 1, False),
        (0.0, False),
    ],
)
def test_the_clocks_may_differ_by_ten_minutes(created: float, fits: bool) -> None:
    assert bool(candidates(LOST, [task(created=created)], ())) == fits


@pytest.mark.parametrize(
    ("model", "fits"),
    [
        ("seedance-2-0", True),
        ("seedance-2.0", True),
        ("seedance-2-0@pro", True),
        ("", True),
        ("another", False),
        ("another@pro", False),
    ],
)
def test_both_spellings_and_every_route_of_the_model_fit(model: str, fits: bool) -> None:
    assert bool(candidates(LOST, [task(model=model)], ())) == fits


def test_a_task_that_somebody_holds_is_none_and_the_oldest_comes_first() -> None:
    tasks = [task(3, SENT + 3), task(1, SENT + 1), task(2, SENT + 2)]
    assert [t.task_id for t in candidates(LOST, tasks, {"tk-2"})] == ["tk-1", "tk-3"]


def test_a_row_that_was_never_dated_is_looked_for_when_it_was_planned() -> None:
    undated = attempt(job(), Phase.AMBIGUOUS)
    assert window(undated) == (-SLACK, SLACK)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 2 * SENT), st.sampled_from(["", "x", "y"]))),
    st.sets(st.integers(0, 5)),
)
def test_a_candidate_is_always_a_free_task_of_the_window(
    made: list[tuple[int, float, str]], held: set[int]
) -> None:
    tasks = [task(number, created, model) for number, created, model in made]
    found = candidates(LOST, tasks, {f"tk-{number}" for number in held})
    start, end = window(LOST)
    assert all(t in tasks and start <= t.created <= end and t.model == "" for t in found)
    assert not {t.task_id for t in found} & {f"tk-{number}" for number in held}
