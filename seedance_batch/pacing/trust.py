"""Whether the task list, or tasks by id, are to be had and to be believed.

The list is a shortcut: one page tells of a hundred tasks. What it says of an ending is a hint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_FAILED_AT: Final = 3
"""After so many answers in a row that could not be had, the other way is gone."""
_LIMITED: Final = 0.5
"""What a 429 counts among those: it may well be about all requests."""
_FIRST_REST: Final = 60.0
"""Seconds after which the list is tried again; each time twice as long, up to `_LONGEST_REST`."""
_LONGEST_REST: Final = 600.0
_OLD: Final = 10.0
"""Seconds by which a list may lag behind the tasks."""
_DOUBTED_FROM: Final = 30.0
"""Seconds of age from which a list's "running" is checked, where it has shown no ending yet."""
_TWICE: Final = 2.0
"""Times the usual length of a generation from which it is checked otherwise, and times the age at
the last check for the next one."""
_WORD_TIMES: Final = 3
_WORD_SECONDS: Final = 120.0
"""A list's word for an ending that no detail confirms or denies is taken after both of these."""


@dataclass(slots=True)
class Trust:
    """Remembers how one way of looking came out, and says whether it is worth a request."""

    proven: bool = False
    """It has shown an ending, so it is not always old."""
    _failures: float = 0
    _rest: float = _FIRST_REST
    _not_before: float = float("-inf")

    def is_good(self, now: float) -> bool:
        """Whether it is worth asking."""
        return now >= self._not_before

    def failed(self, now: float, *, limited: bool = False) -> None:
        """No answer that says anything could be had; ``limited``: for too many requests."""
        self._failures += _LIMITED if limited else 1
        if self._failures >= _FAILED_AT:
            self.leave(now)

    def answered(self, *, told: bool = True) -> None:
        """An answer came; ``told``: it showed the ending of a task, so it is no old one."""
        if told or self._failures >= _FAILED_AT:
            self._not_before = float("-inf")
        self._failures = 0
        if told:
            self.proven, self._rest = True, _FIRST_REST

    def leave(self, now: float) -> None:
        """It is no use for now: it does not come, or calls running what ended long ago."""
        self.proven = False
        self._not_before = now + self._rest
        self._rest = min(_LONGEST_REST, 2 * self._rest)


@dataclass(frozen=True, slots=True)
class Word:
    """A list's word for an ending, which the task's own page neither confirms nor denies."""

    since: float
    times: int = 1

    def again(self) -> Word:
        """The list said so once more."""
        return Word(self.since, self.times + 1)

    def stands(self, now: float) -> bool:
        """Whether it was said often and long enough to be taken for true."""
        return self.times >= _WORD_TIMES and now - self.since >= _WORD_SECONDS


def wants_check(age: float, usual: float | None, checked: float, *, proven: bool) -> bool:
    """Whether a task that the list calls running at this age is asked for by id.

    ``usual`` is a generation's length, None where no ending is known; ``checked`` the age at the
    last check (0: none); ``proven``: the list has shown an ending.
    """
    if proven:
        return age >= max(_DOUBTED_FROM, _TWICE * (usual or 0.0), _TWICE * checked)
    soon = checked + usual / 2 if usual is not None else float("inf")
    return age >= max(_DOUBTED_FROM, min(_TWICE * checked, soon))


def is_old(age: float, took: float | None) -> bool:
    """Whether a list that called a task running at this age was old: it had ended before."""
    return took is None or age - took >= _OLD
