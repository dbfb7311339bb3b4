"""A batch whose commands are given in this process."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from seedance_batch.cli.main import main
from seedance_batch.errors import Exit
from tests.events_page import valid_output
from tests.service import SMALL, Batch
from tests.terminal import Screen

QUICK = ("--rpm", "600000", "--poll-interval", "0.1")
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
        """stdout as JSON values, one a line, each as the schema of ``--json`` says."""
        return [valid_output(json.loads(line)) for line in self.out.splitlines()]

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
    screen, out = Screen(120), io.StringIO()
    with screen.stream() as err, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Said(code, out.getvalue(), screen.text)


def shot(number: int, **fields: Any) -> dict[str, Any]:
    """A cheap row whose prompt is no other row's."""
    return {"id": f"shot{number}", "prompt": f"a paper boat, number {number}", **SMALL, **fields}


def shots(count: int) -> list[dict[str, Any]]:
    """So many rows."""
    return [shot(number) for number in range(1, count + 1)]


@dataclass
class Shop(Batch):
    """A batch whose commands are given in this process."""

    def fill(self, count: int) -> None:
        """A manifest of so many rows."""
        self.write(*shots(count))

    def plan(self, *flags: str, command: str = "plan", of: Path | str | None = None) -> Said:
        """A command that sends nothing."""
        source = str(of or self.manifest)
        return say(command, source, "--api-url", self.service.api_url, *flags)

    def run(self, *flags: str, command: str = "run", of: Path | str | None = None) -> Said:
        """A command with consent."""
        source = str(of or self.manifest)
        return say(
            command, source, "--api-url", self.service.api_url, *QUICK, "--yes", "-q", *flags
        )

    def leave(self, *flags: str) -> Said:
        """Runs that stop waiting almost at once, until one of them has sent a row."""
        before = len(self.tasks())
        while True:
            said = self.run("--wait", "0.2", *flags)
            if said.code != Exit.UNFINISHED or len(self.tasks()) > before:
                return said

    def at(self, command: str, *flags: str) -> Said:
        """A command on the run folder."""
        return say(command, str(self.run_folder), *flags)

    def online(self, command: str, *flags: str) -> Said:
        """A command on the run folder that asks the service."""
        return self.at(command, "--api-url", self.service.api_url, *flags)

    def charged(self) -> Decimal:
        """What the service took from this shop."""
        return sum((Decimal(task["price"]) for task in self.tasks()), Decimal(0))
