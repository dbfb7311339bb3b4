"""A desk at which commands are given in process, and a sandbox that keeps the books about them."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import pty
import shlex
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from seedance_batch.cli import main
from seedance_batch.journal import look_into
from seedance_batch.sandbox.config import checked
from seedance_batch.sandbox.server import running
from seedance_batch.state import Attempt

QUICK = ("--rpm", "60000", "--poll-interval", "0.1")
"""Flags of a run that nothing slows down."""
ROW_COST = Decimal("0.192")
"""What the sandbox takes for a `shot`."""


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """stdout as JSON values, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def hint(self) -> list[str]:
        """The words of the command that the last hint names."""
        hints = [line for line in (self.out + self.err).splitlines() if line.startswith("hint: ")]
        words = shlex.split(hints[-1].removeprefix("hint: "))
        assert words[0] == "seedance-batch", hints[-1]
        return words[1:]


def say(*words: str) -> Said:
    """Give a command as a person without a terminal would."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return Said(code, out.getvalue(), err.getvalue())


def say_at_a_terminal(*words: str) -> Said:
    """Give a command that shows its progress at a real terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    shown: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(ours, shown))
    reader.start()
    out = io.StringIO()
    with open(theirs, "w", encoding="utf-8") as err:  # noqa: PTH123
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
    reader.join()
    os.close(ours)
    return Said(code, out.getvalue(), b"".join(shown).decode())


def _drain(terminal: int, shown: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # how Linux tells that the other side is closed
        while found := os.read(terminal, 65_536):
            shown.append(found)


@dataclass(frozen=True)
class Service:
    """A sandbox that runs, and its books."""

    api_url: str

    def configure(self, **settings: Any) -> None:
        """Change settings while it serves."""
        answer = httpx.post(f"{self.api_url}/sandbox/config", json=settings, timeout=30)
        assert answer.status_code == 200, answer.text

    @contextlib.contextmanager
    def having(self, **settings: Any) -> Iterator[None]:
        """Settings for the length of a block."""
        before = httpx.get(f"{self.api_url}/sandbox/config", timeout=30).json()
        self.configure(**settings)
        try:
            yield
        finally:
            self.configure(**{name: before.get(name) for name in settings})

    def ledger(self) -> dict[str, Any]:
        """What it charged, and what it answered."""
        found: dict[str, Any] = httpx.get(f"{self.api_url}/sandbox/ledger", timeout=60).json()
        return found

    def tasks(self, key: str) -> list[dict[str, Any]]:
        """The charged tasks of one API key."""
        account = hashlib.sha256(key.encode()).hexdigest()[:16]
        return [task for task in self.ledger()["tasks"] if task["account"] == account]

    def posts(self) -> int:
        """How many creates were asked for, by anybody."""
        return int(self.ledger()["counters"]["create_requests"])


@contextlib.contextmanager
def serving(state: Path | None = None, **settings: Any) -> Iterator[Service]:
    """A quick sandbox with plain clips."""
    quick = {"generation_time": "0", "clips": "plain"}
    with running(checked({**quick, **settings}, "test"), state=state) as address:
        yield Service(address.api_url)


def shot(number: int, **fields: Any) -> dict[str, Any]:
    """A cheap row whose prompt is no other row's."""
    small = {"duration": 4, "resolution": "480p"}
    return {"id": f"shot{number}", "prompt": f"a paper boat, number {number}", **small, **fields}


def shots(count: int) -> list[dict[str, Any]]:
    """So many rows."""
    return [shot(number) for number in range(1, count + 1)]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV manifest."""
    headings = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, headings)
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """A CSV sheet."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@dataclass
class Shop:
    """A manifest in a folder of its own, and commands about it under an API key of its own."""

    folder: Path
    service: Service
    key: str
    more: list[str] = field(default_factory=list)

    @property
    def manifest(self) -> Path:
        """The manifest's file."""
        return self.folder / "shots.csv"

    @property
    def run_folder(self) -> Path:
        """Where its runs are kept."""
        return self.folder / "runs" / "shots"

    def write(self, *rows: Mapping[str, Any]) -> None:
        """Write the manifest."""
        write_rows(self.manifest, rows)

    def fill(self, count: int) -> None:
        """A manifest of so many rows."""
        self.write(*shots(count))

    def plan(self, *flags: str, command: str = "plan", of: Path | None = None) -> Said:
        """A command that sends nothing."""
        source = str(of or self.manifest)
        return say(command, source, "--api-url", self.service.api_url, *flags)

    def run(self, *flags: str, command: str = "run", of: Path | None = None) -> Said:
        """A command with consent."""
        source = str(of or self.manifest)
        return say(
            command, source, "--api-url", self.service.api_url, *QUICK, "--yes", "-q", *flags
        )

    def at(self, command: str, *flags: str) -> Said:
        """A command on the run folder."""
        return say(command, str(self.run_folder), *flags)

    def online(self, command: str, *flags: str) -> Said:
        """A command on the run folder that asks the service."""
        return self.at(command, "--api-url", self.service.api_url, *flags)

    def tasks(self) -> list[dict[str, Any]]:
        """What the service charged this shop."""
        return self.service.tasks(self.key)

    def prompts(self) -> list[str]:
        """Whose rows were charged, as they came in."""
        return [task["prompt"] for task in self.tasks()]

    def charged(self) -> Decimal:
        """The sum of that."""
        return sum((Decimal(task["price"]) for task in self.tasks()), Decimal(0))

    def attempts(self) -> list[Attempt]:
        """What the journal holds."""
        with look_into(self.run_folder / "journal.db") as journal:
            return journal.attempts()

    def results(self) -> list[dict[str, str]]:
        """The results sheet."""
        return read_rows(self.run_folder / "results.csv")

    def statuses(self) -> list[str]:
        """Each row's status, in manifest order."""
        return [row["status"] for row in self.results()]
