"""Shows a run to people and machines: bars, plain lines or JSON lines. Observers only.

They are told the events of `seedance_batch.events` and change nothing in the run."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, Final, Protocol, TextIO

from seedance_batch.core.attempt import (
    FINAL_PHASES,
    Attempt,
    Phase,
    counts_against_budget,
    reason_of,
)
from seedance_batch.core.pricing import money
from seedance_batch.core.text import enveloped, in_usd, json_line, redact, shown, some, span
from seedance_batch.events import (
    AttemptChanged,
    BytesArrived,
    Paused,
    PosterMade,
    Remark,
    RequestEnded,
    RowSkipped,
    RunEvent,
    Stopping,
)
from seedance_batch.streams import unminded

# ── Observers of a run: bars on a terminal, plain lines elsewhere, JSON lines for machines ────────
# None of them ever stops what it watches: a stream that fails is written to no more.


_REDRAWN: Final = 0.1
"""Seconds between redraws of a bar, at least: thousands of rows change in a second."""
_LINES_EVERY: Final = 15.0
_LINES_LATER: Final = 60.0
_LATER_FROM: Final = 120.0
"""Seconds after which a run is a long one, whose log wants fewer lines."""

Clock = Callable[[], float]
Counted = Callable[[int], object]
"""Is told how many more are done."""


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
        self._course.hear(event, self._clock())
        match event:
            case AttemptChanged():
                self._draw()
            case BytesArrived(count):
                self._bytes.update(count)
            case RequestEnded():
                self._draw()  # time passes although no row changed
            case PosterMade(count, of):
                self._ending(count, of)
            case _:
                if (line := line_of(event)) is not None:
                    self._rows.write(line, file=self._stream)

    def _draw(self) -> None:
        now = self._clock()
        if now - self._drawn >= _REDRAWN:
            self._drawn = now
            self._rows.n = self._course.ended
            self._rows.set_postfix_str(self._course.words(now))

    def _ending(self, count: int, of: int) -> None:
        """The bar of rows counts posters now: the rows are all over."""
        now = self._clock()
        if count == of or now - self._drawn >= _REDRAWN:
            self._drawn = now
            self._rows.total, self._rows.n = of, count
            self._rows.set_description_str("posters", refresh=False)
            self._rows.set_postfix_str("for the review page")

    def close(self) -> None:
        """Take both bars off the terminal, the lower one first."""
        self._bytes.close()
        self._rows.close()


class Silent:
    """Shows remarks and stops, a line each, and no progress."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = unminded(stream)

    def __call__(self, event: RunEvent) -> None:
        if (line := line_of(event)) is not None:
            self._say(line)

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to put back."""


class Lines(Silent):
    """Also a plain line every so often, for logs."""

    def __init__(self, course: Course, stream: TextIO, clock: Clock = time.monotonic) -> None:
        super().__init__(stream)
        self._course = course
        self._clock = clock
        self._started = self._last = clock()

    def __call__(self, event: RunEvent) -> None:
        now = self._clock()
        self._course.hear(event, now)
        super().__call__(event)
        if now - self._last >= self._pause(now):
            self._last = now
            course = self._course
            if isinstance(event, PosterMade):
                self._say(f"{event.count:,} of {some(event.of, 'poster')} made for the review page")
                return
            self._say(f"{course.ended:,} of {some(course.rows, 'row')} ended: {course.words(now)}")

    def _pause(self, now: float) -> float:
        return _LINES_EVERY if now - self._started < _LATER_FROM else _LINES_LATER


class JsonLines(Silent):
    """One event a line on stdout, for machines."""

    def __init__(self, stream: TextIO, wall: Clock = time.time) -> None:
        super().__init__(stream)
        self._wall = wall

    def __call__(self, event: RunEvent) -> None:
        value = event_object(event, self._wall())
        if value is not None:
            self._say(json_line(value))


# ── Shows a run to people: bars on a terminal, a line every so often elsewhere. An observer only ──


def observer_for(
    rows: int,
    attempts: Iterable[Attempt],
    *,
    stream: TextIO | None,
    as_json: bool = False,
    progress: bool = True,
    bars: bool = False,
    foretold: float | None = None,
) -> Shown:
    """The observer that fits where the output goes; ``foretold`` are the forecast's seconds.

    ``stream`` is None where the program has no such stream, or wants nothing on it: then nothing
    is shown. ``bars`` are drawn on a terminal, or where they are asked for.
    """
    if as_json and sys.stdout is not None:
        return JsonLines(sys.stdout)
    if stream is None:
        return Silent(io.StringIO())
    if not progress:
        return Silent(stream)
    course = Course(rows, attempts, started=time.monotonic(), foretold=foretold)
    return Bars(course, stream) if bars or stream.isatty() else Lines(course, stream)


@contextlib.contextmanager
def bar_of(total: int, what: str, stream: TextIO | None) -> Iterator[Counted]:
    """A bar on a terminal that counts to ``total``; elsewhere nothing is shown."""
    if stream is None or not stream.isatty():
        yield lambda count: None
        return
    from tqdm.auto import tqdm

    with tqdm(
        total=total, desc=what, file=unminded(stream), leave=False, dynamic_ncols=True,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]",
    ) as bar:  # fmt: skip
        yield bar.update


# ── How a run goes, from its events: counts, money, rate and what is left; no output ──────────────


_MEASURED_SOON: Final = 5.0
"""With a tenth of the rows, what is measured weighs as much as what was foretold."""
_ENDED: Final = FINAL_PHASES | {Phase.AMBIGUOUS}
_MARKS: Final = {
    Phase.SUBMITTING: "sending",
    Phase.IN_FLIGHT: "in flight",
    Phase.DOWNLOADING: "fetching",
    Phase.DONE: "done",
    Phase.FAILED: "failed",
    Phase.AMBIGUOUS: "ambiguous",
    Phase.EXPIRED: "expired",
    Phase.MEDIA_MISMATCH: "mismatch",
}


class Course:
    """A run of ``rows`` rows that began at ``started``; times are seconds on one clock.

    ``foretold`` is what the forecast said that it takes, where there was one.
    """

    def __init__(
        self, rows: int, attempts: Iterable[Attempt], *, started: float, foretold: float | None
    ) -> None:
        self.rows = rows
        self._started = started
        self._foretold = foretold
        # What ended before this run is none of its business, until it changes.
        self._phases = {a.id: a.state.phase for a in attempts if a.state.phase not in _ENDED}
        self._counts = Counter(self._phases.values())
        self._costs: dict[int, Decimal] = {}
        self.spent = Decimal(0)
        """Estimates of what this run has sent."""
        self._paused_until = started

    def hear(self, event: RunEvent, now: float) -> None:
        """An attempt took a step, or the service asked to be left alone; nothing else counts."""
        match event:
            case AttemptChanged(attempt):
                self.take(attempt)
            case Paused(seconds):
                self._paused_until = max(self._paused_until, now + seconds)

    def take(self, attempt: Attempt) -> None:
        """An attempt stands as it is now."""
        phase = attempt.state.phase
        before = self._phases.get(attempt.id)
        if before is not None:
            self._counts[before] -= 1
        self._phases[attempt.id] = phase
        self._counts[phase] += 1
        cost = attempt.intent.est_cost if counts_against_budget(attempt.state) else None
        self.spent += (cost or Decimal(0)) - self._costs.get(attempt.id, Decimal(0))
        self._costs[attempt.id] = cost or Decimal(0)

    @property
    def ended(self) -> int:
        """Rows of this run with nothing left to wait for."""
        return sum(self._counts[phase] for phase in _ENDED)

    def left(self, now: float) -> float | None:
        """Seconds until the end: as foretold at first, as measured from a tenth of the rows on.

        Those under way count half, since on average half of their time is over.
        """
        elapsed, ended = now - self._started, self.ended
        under_way = self._counts[Phase.IN_FLIGHT] + self._counts[Phase.DOWNLOADING]
        measured = elapsed * self.rows / (ended + under_way / 2) if ended and self.rows else None
        if measured is None or self._foretold is None:
            whole = self._foretold if measured is None else measured
        else:
            share = min(1.0, ended / self.rows * _MEASURED_SOON)
            whole = share * measured + (1.0 - share) * self._foretold
        return None if whole is None or whole <= elapsed else whole - elapsed

    def words(self, now: float) -> str:
        """``about 4 min left, $4.20, 3 in flight, 9 done, 5.1 rows/min``.

        A narrow terminal shows the beginning of it.
        """
        parts = []
        left = self.left(now)
        if left is not None and self.ended < self.rows:
            parts.append(f"about {span(left)} left")
        if self.spent:
            parts.append(money(self.spent))
        if self._paused_until > now:
            parts.append(f"paused for {span(self._paused_until - now)} at the service's request")
        parts += [f"{self._counts[p]:,} {words}" for p, words in _MARKS.items() if self._counts[p]]
        minutes = (now - self._started) / 60.0
        if self.ended and minutes:
            parts.append(f"{self.ended / minutes:.1f} rows/min")
        return ", ".join(parts)


# ── A run told to Python's logging, for those who have set it up ─────────────────────────────────


_LOGGER: Final = logging.getLogger("seedance_batch")
_LOGGER.addHandler(logging.NullHandler())  # silent until somebody wants it


def log_event(event: RunEvent) -> None:
    """Tell an event to the logger ``seedance_batch``: rows as INFO, what stands out as WARNING."""
    if (line := line_of(event)) is not None:
        _LOGGER.warning("%s", redact(line))
    elif isinstance(event, AttemptChanged) and event.attempt.state.phase is not event.before:
        attempt = event.attempt
        message = attempt.state.error_message
        words = f": {message}" if message else ""
        _LOGGER.info("%s", redact(f"{attempt.intent.key}: {attempt.state.phase}{words}"))


# ── Events in words for people, and as JSON values for machines ───────────────────────────────────


def line_of(event: RunEvent) -> str | None:
    """An event in words, where it is worth a line."""
    match event:
        case Stopping(_, message):
            return f"No more rows are sent: {shown(message)}."
        case RowSkipped(key, message):
            return f"Row {shown(key)} was left out: {shown(message)}."
        case Remark(message) | Paused(_, message):
            return shown(message)
        case _:
            return None


def event_object(event: RunEvent, at: float) -> dict[str, Any] | None:
    """An event at a time, in Unix seconds, as JSON values; None for what would only be noise."""
    match event:
        case AttemptChanged(attempt, before) if attempt.state.phase is not before:
            return enveloped("row", at, _attempt_object(attempt) | {"before": before})
        case Stopping(why, message):
            return enveloped("stopping", at, {"why": why, "message": redact(message)})
        case RowSkipped(key, message):
            return enveloped("skipped", at, {"id": key, "message": redact(message)})
        case Remark(message) | Paused(_, message):
            return enveloped("remark", at, {"message": redact(message)})
        case AttemptChanged() | BytesArrived() | RequestEnded() | PosterMade():
            return None


def _attempt_object(attempt: Attempt) -> dict[str, Any]:
    state, intent = attempt.state, attempt.intent
    return {
        "id": intent.key,
        "kind": intent.kind,
        "attempt": intent.number,
        "status": state.phase,
        "task_id": state.task_id,
        "error_class": state.error_class,
        "reason": reason_of(state),
        "message": redact(state.error_message or "") or None,
        "est_cost_usd": in_usd(intent.est_cost),
        "video_file": state.clip.file if state.clip else None,
    }
