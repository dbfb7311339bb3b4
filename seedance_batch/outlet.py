"""A stream to show things on that may fail: from then on what is written goes nowhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class Outlet:
    """Stands in for a text stream; to write to it never raises for the stream's own reasons.

    Whoever read it may have gone away, or the disk behind it be full: a run goes on all the same.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        """Write; what the stream's encoding lacks is escaped."""
        if not isinstance(text, str):
            raise TypeError("a text stream takes str")  # as others do, which is how they are told
        if not self._gone:
            with self._unminded():
                self._write(text)
        return len(text)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def flush(self) -> None:
        """Flush, if that can be done."""
        if not self._gone:
            with self._unminded():
                self._stream.flush()

    @contextlib.contextmanager
    def _unminded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: it was closed
            self._gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def unminded(stream: TextIO) -> TextIO:
    """The stream as one that never fails."""
    return cast("TextIO", Outlet(stream))


@contextlib.contextmanager
def unminded_output() -> Iterator[None]:
    """stdout and stderr as streams that never fail, for the length of a block."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(unminded, streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


@contextlib.contextmanager
def present_output() -> Iterator[None]:
    """Streams that were closed before the start lead nowhere, for the length of a block.

    They also take the file numbers, so that no journal gets one and what a library writes there.
    """
    with contextlib.ExitStack() as stack:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
                setattr(sys, name, nowhere)
                stack.callback(setattr, sys, name, None)
        yield


def let_go() -> None:
    """At a program's end: what could not be written is dropped, so that nothing complains of it."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
