"""A workbook's sheets and their values, read by calamine in another process: see there for why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seedance_batch.reader import workbook_process
from seedance_batch.reader.table import Value
from seedance_batch.reader.workbook_archive import WorkbookFault

PATIENCE: Final = 120.0
"""Seconds for a whole workbook; a sheet of 100,000 rows takes two."""


@dataclass(frozen=True, slots=True)
class SheetValues:
    """The rectangle of a sheet that holds values; rows and columns count from 0."""

    top: int
    left: int
    rows: list[list[Value]]
    merged: list[tuple[tuple[int, int], tuple[int, int]]]
    """First and last (row, column) of each merged range."""


class Book:
    """An open workbook; ask it inside the ``with`` of `opened_book`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        answer = self._answer()
        self.names: list[str] = answer["names"]
        self.visible: list[str] = answer["visible"]
        """The worksheets that a person sees, in order."""

    def values(self, name: str) -> SheetValues | None:
        """A sheet's values; None where it has none. Raises `WorkbookFault`."""
        self._send(json.dumps(name).encode() + b"\n")
        answer = self._answer()
        if answer["start"] is None:
            return None
        top, left = answer["start"]
        merged = [((a, b), (c, d)) for (a, b), (c, d) in answer["merged"]]
        return SheetValues(top, left, answer["rows"], merged)

    def _send(self, data: bytes) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # the missing answer tells as much
                self._process.stdin.write(data)
                self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise WorkbookFault(workbook_process.DAMAGED)
        answer: dict[str, Any] = json.loads(line, object_hook=workbook_process.told)
        if "fault" in answer:
            raise WorkbookFault(answer["fault"])
        return answer


@contextmanager
def opened_book(data: bytes) -> Iterator[Book]:
    """A workbook to ask for its values. Raises `WorkbookFault` where it cannot be read."""
    with _started() as process:
        guard = threading.Timer(PATIENCE, process.kill)
        guard.daemon = True
        guard.start()
        try:
            _hand_over(process, data)
            yield Book(process)
        finally:
            guard.cancel()
            process.kill()


def _started() -> subprocess.Popen[bytes]:
    script = Path(workbook_process.__file__)
    try:
        return subprocess.Popen(  # noqa: S603 - our own script, under the Python that runs this
            # -P: the script's neighbours are no modules that it should find.
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "RUST_BACKTRACE": "0", "PYTHONIOENCODING": "utf-8"},
        )
    except OSError as error:
        raise WorkbookFault(f"cannot be read: no process to read it in ({error})") from None


def _hand_over(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.write(b"%d\n" % len(data))
            process.stdin.write(data)
            process.stdin.flush()
