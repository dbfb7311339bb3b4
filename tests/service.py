"""What every test of whole runs stands on: a sandbox with its ledger, and a batch under its key.

How a command is given is another matter: `tests.cli.shop` gives it in this process, `tests.rig` in
forked ones that can be killed. `tests.benchmarks.world` plays a run in virtual time.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import ssl
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx

from seedance_batch.core.attempt import Attempt, Phase
from seedance_batch.journal.opening import look_into
from seedance_batch.sandbox.config import checked
from seedance_batch.sandbox.server import running

SMALL: dict[str, Any] = {"duration": 4, "resolution": "480p"}
"""The cheapest clip."""
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For requests to this machine: a context with authorities takes longer than the request."""
AT_ONCE: dict[str, Any] = {"generation_time": "0", "clips": "plain"}
"""Settings of a sandbox that nobody waits for."""


# ── the server ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class Service:
    """A sandbox that serves, and its books."""

    api_url: str

    def configure(self, **settings: Any) -> None:
        """Change settings while it serves."""
        answer = httpx.post(
            f"{self.api_url}/sandbox/config", json=settings, timeout=120, verify=NO_TLS
        )
        assert answer.status_code == 200, answer.text

    @contextlib.contextmanager
    def having(self, **settings: Any) -> Iterator[None]:
        """Settings for the length of a block."""
        before = httpx.get(f"{self.api_url}/sandbox/config", timeout=120, verify=NO_TLS).json()
        self.configure(**settings)
        try:
            yield
        finally:
            self.configure(**{name: before.get(name) for name in settings})

    def ledger(self, *, requests: bool = True) -> dict[str, Any]:
        """What it charged, and what it answered."""
        url = f"{self.api_url}/sandbox/ledger?requests={int(requests)}"
        found: dict[str, Any] = httpx.get(url, timeout=120, verify=NO_TLS).json()
        return found

    def tasks(self, key: str) -> list[dict[str, Any]]:
        """The charged tasks of one API key."""
        account = hashlib.sha256(key.encode()).hexdigest()[:16]
        url = f"{self.api_url}/sandbox/ledger?requests=0&account={account}"
        found: list[dict[str, Any]] = httpx.get(url, timeout=120, verify=NO_TLS).json()["tasks"]
        return found

    def requests(self, origin: str = "api", method: str = "POST") -> list[dict[str, Any]]:
        """Requests of one kind, oldest first."""
        found = self.ledger()["requests"]
        return [r for r in found if (r["origin"], r["method"]) == (origin, method)]

    def posts(self) -> int:
        """How many creates were asked for, by anybody."""
        return int(self.ledger(requests=False)["counters"]["create_requests"])


@contextlib.contextmanager
def serving(state: Path | None = None, **settings: Any) -> Iterator[Service]:
    """A quick sandbox with plain clips, in a thread of this process."""
    with running(checked({**AT_ONCE, **settings}, "test"), state=state) as address:
        yield Service(address.api_url)


# ── the batch ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Batch:
    """A manifest in a folder of its own, and an API key of its own to run it with."""

    folder: Path
    service: Service
    key: str = "sk-test"

    small: ClassVar[Mapping[str, Any]] = {}
    """Fields of a row that says nothing else."""

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
        self.folder.mkdir(parents=True, exist_ok=True)
        write_rows(self.manifest, [{**self.small, **row} for row in rows])

    def attempts(self) -> list[Attempt]:
        """What the journal holds."""
        with look_into(self.run_folder / "journal.db") as journal:
            return journal.attempts()

    def phases(self) -> Counter[Phase]:
        """How many attempts stand where."""
        return Counter(attempt.state.phase for attempt in self.attempts())

    def results(self) -> list[dict[str, str]]:
        """The results sheet."""
        return read_rows(self.run_folder / "results.csv")

    def statuses(self) -> list[str]:
        """Each row's status, in manifest order."""
        return [row["status"] for row in self.results()]

    def tasks(self) -> list[dict[str, Any]]:
        """What the service charged this batch's key."""
        return self.service.tasks(self.key)

    def prompts(self) -> list[str]:
        """Whose rows were charged, as they came in."""
        return [task["prompt"] for task in self.tasks()]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file."""
    headings = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, headings)
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """A CSV sheet."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))
