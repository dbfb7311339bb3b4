"""Shows a run to people: bars on a terminal, a line every so often elsewhere. An observer only."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable
from typing import TextIO

from seedance_batch.progress.course import Course
from seedance_batch.progress.observers import Bars, JsonLines, Lines, Shown, Silent
from seedance_batch.state import Attempt


def observer_for(
    rows: int,
    attempts: Iterable[Attempt],
    *,
    as_json: bool,
    progress: bool,
    stream: TextIO | None,
    foretold: float | None = None,
) -> Shown:
    """The observer that fits where the output goes; ``foretold`` are the forecast's seconds.

    ``stream`` is None where the program has no such stream: then nothing is shown.
    """
    if as_json and sys.stdout is not None:
        return JsonLines(sys.stdout)
    if stream is None:
        return Silent(io.StringIO())
    if not progress:
        return Silent(stream)
    if stream.isatty():
        return bars_for(rows, attempts, stream, foretold)
    return Lines(_course(rows, attempts, foretold), stream)


def bars_for(
    rows: int, attempts: Iterable[Attempt], stream: TextIO, foretold: float | None = None
) -> Bars:
    """Bars, whatever the stream is."""
    return Bars(_course(rows, attempts, foretold), stream)


def _course(rows: int, attempts: Iterable[Attempt], foretold: float | None) -> Course:
    return Course(rows, attempts, started=time.monotonic(), foretold=foretold)


__all__ = ["Bars", "Course", "JsonLines", "Lines", "Shown", "Silent", "bars_for", "observer_for"]
