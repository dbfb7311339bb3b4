"""Observers of a run: bars on a terminal, plain lines elsewhere, JSON lines for machines.

None of them ever stops what it watches: a stream that fails is written to no more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO

from seedance_batch.events import AttemptChanged, BytesArrived, Paused, RequestEnded, RunEvent
from seedance_batch.outlet import unminded
from seedance_batch.progress.course import Course
from seedance_batch.progress.words import as_json, line_of
from seedance_batch.words import moment, some

_REDRAWN: Final = 0.1
"""Seconds between redraws of a bar, at least: thousands of rows change in a second."""
_LINES_EVERY: Final = 15.0
_LINES_LATER: Final = 60.0
_LATER_FROM: Final = 120.0
"""Seconds after which a run is a long one, whose log wants fewer lines."""

Clock = Callable[[], float]


class Shown(Protocol):
    """An observer with an end."""

    def __call__(self, event: RunEvent) -> None: ...

    def close(self) -> None:
        """Leave the terminal as it was."""


class Bars:
    """Two tqdm bars on stderr: rows with counts, money, rate and time left, and bytes of clips."""

    def __init__(self, course: Course, stream: TextIO, clock: Clock = time.monotonic) -> None:
        from tqdm.auto import tqdm

        self._course = course
        self._stream = stream = unminded(stream)
        self._clock = clock
        self._drawn = float("-inf")
        common: dict[str, Any] = {"file": stream, "dynamic_ncols": True, "leave": False}
        self._rows = tqdm(
            total=course.rows,
            desc="rows ",
            position=0,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
            **common,
        )
        self._bytes = tqdm(
            unit="B", unit_scale=True, unit_divisor=1024, desc="clips", position=1, **common
        )

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, Paused):
            self._course.pause(self._clock() + event.seconds)
        match event:
            case AttemptChanged():
                self._course.take(event)
                self._draw()
            case BytesArrived(count):
                self._bytes.update(count)
            case RequestEnded():
                self._draw()  # time passes although no row changed
            case _:
                if (line := line_of(event)) is not None:
                    self._rows.write(line, file=self._stream)

    def _draw(self) -> None:
        now = self._clock()
        if now - self._drawn >= _REDRAWN:
            self._drawn = now
            self._rows.n = self._course.ended
            self._rows.set_postfix_str(self._course.words(now))

    def close(self) -> None:
        """Take both bars off the terminal, the lower one first."""
        self._bytes.close()
        self._rows.close()


class Lines:
    """A plain line every so often, for logs."""

    def __init__(self, course: Course, stream: TextIO, clock: Clock = time.monotonic) -> None:
        self._course = course
        self._stream = unminded(stream)
        self._clock = clock
        self._started = self._last = clock()

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, Paused):
            self._course.pause(self._clock() + event.seconds)
        if isinstance(event, AttemptChanged):
            self._course.take(event)
        elif (line := line_of(event)) is not None:
            self._say(line)
        now = self._clock()
        if now - self._last >= self._pause(now):
            self._last = now
            course = self._course
            self._say(f"{course.ended:,} of {some(course.rows, 'row')} ended: {course.words(now)}")

    def _pause(self, now: float) -> float:
        return _LINES_EVERY if now - self._started < _LATER_FROM else _LINES_LATER

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to put back."""


class JsonLines:
    """One event a line on stdout, for machines."""

    def __init__(self, stream: TextIO, wall: Clock = time.time) -> None:
        self._stream = unminded(stream)
        self._wall = wall

    def __call__(self, event: RunEvent) -> None:
        value = as_json(event, moment(self._wall()))
        if value is not None:
            print(json.dumps(value, ensure_ascii=False), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to put back."""


class Silent:
    """Shows remarks and stops, and no progress."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = unminded(stream)

    def __call__(self, event: RunEvent) -> None:
        if (line := line_of(event)) is not None:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to put back."""
