"""What is shown, and to whom: streams that may fail, and objects for programs."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO, cast


def tell(event: str, fields: Mapping[str, Any]) -> None:
    """Print an object for programs on stdout."""
    from seedance_batch.core.text import enveloped, json_line

    sys.stdout.write(json_line(enveloped(event, time.time(), fields)) + "\n")
    sys.stdout.flush()


def say_aside(words: str) -> None:
    """Print a line for people on stderr."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


class Outlet:
    """Stands in for a text stream; to write to it never raises for the stream's own reasons.

    Whoever read it may have gone away, or the disk behind it be full: a run goes on all the same.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | ValueError | None = None
        """Why nothing is written any more."""

    def write(self, text: str) -> int:
        """Write; what the stream's encoding lacks is escaped."""
        if not isinstance(text, str):
            raise TypeError("a text stream takes str")  # as others do, which is how they are told
        if self.fault is None:
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
        if self.fault is None:
            with self._unminded():
                self._stream.flush()

    @property
    def closed(self) -> bool:
        """Whether there is no use in writing more."""
        return self.fault is not None or self._stream.closed

    @contextlib.contextmanager
    def _unminded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as fault:  # ValueError: it was closed
            self.fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def speak_utf8() -> None:
    """Make stdout UTF-8 with plain line ends, as JSON is, whatever a locale has made of it."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # a stream in memory has no bytes
        reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def unminded(stream: TextIO) -> TextIO:
    """The stream as one that never fails."""
    return cast("TextIO", Outlet(stream))


@contextlib.contextmanager
def unminded_output() -> Iterator[Outlet]:
    """stdout and stderr as streams that never fail, for the length of a program; stdout is given.

    A stream that was closed before the start leads nowhere. It also takes its file number: a
    journal that got it would take what a library writes there.
    """
    streams = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        present = [
            stream or stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
            for stream in streams
        ]
        out, err = map(Outlet, present)
        sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
        try:
            yield out
        finally:
            sys.stdout, sys.stderr = streams
            for outlet in (out, err):
                _let_go(outlet)


def _let_go(outlet: Outlet) -> None:
    """Drop what could not be written, or Python would complain of it at the program's end."""
    outlet.flush()
    if outlet.fault is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), outlet.fileno())
