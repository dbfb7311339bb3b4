"""What is left of a plan once it was carried out, and what that means for its exit code. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from seedance_batch.errors import Exit
from seedance_batch.plan.steps import Action, Step
from seedance_batch.state import UNFINISHED_PHASES

_WELL = frozenset({Action.DONE, Action.MOVED, Action.REMOVED})
_UNDER_WAY = frozenset({Action.IN_FLIGHT, Action.FETCH, Action.SETTLE})


def left_over(fresh: Iterable[Step]) -> tuple[Step, ...]:
    """The steps of a plan made afterwards that are not done."""
    return tuple(step for step in fresh if step.action not in _WELL)


def exit_of(left: Iterable[Step], *, held: Collection[str], stopped: bool) -> Exit:
    """0 nothing is left · 3 a row has no good clip · 5 a row is unfinished, or was not sent.

    ``held`` rows were kept back from the start; where sending ``stopped``, that has a code of its
    own for the rows that were not sent.
    """
    return max((_exit_of(step, held, stopped) for step in left), default=Exit.OK)


def _exit_of(step: Step, held: Collection[str], stopped: bool) -> Exit:
    if step.action in _UNDER_WAY:
        return Exit.UNFINISHED
    if step.action.spends:
        if step.key in held:
            return Exit.SOME_FAILED
        return Exit.OK if stopped else Exit.UNFINISHED
    doubtful = step.attempt is not None and step.attempt.state.phase in UNFINISHED_PHASES
    return Exit.UNFINISHED if doubtful else Exit.SOME_FAILED
