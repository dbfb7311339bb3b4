"""A real terminal, whose every byte is read while it is written."""

from __future__ import annotations

import contextlib
import os
import pty
import termios
import threading
from collections.abc import Iterator
from typing import TextIO


class Screen:
    """What was written to a terminal of so many columns."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._shown: list[bytes] = []

    @contextlib.contextmanager
    def stream(self) -> Iterator[TextIO]:
        """Where to write; `text` is whole once this has ended."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, self._columns))
        reader = threading.Thread(target=self._drain, args=(ours,))
        reader.start()
        try:
            with open(theirs, "w", encoding="utf-8") as stream:  # noqa: PTH123
                yield stream
        finally:
            reader.join()
            os.close(ours)

    @property
    def text(self) -> str:
        """All that was written, with the codes that move the cursor."""
        return b"".join(self._shown).decode()

    def _drain(self, terminal: int) -> None:
        with contextlib.suppress(OSError):  # how Linux tells that the other side is closed
            while found := os.read(terminal, 65_536):
                self._shown.append(found)
