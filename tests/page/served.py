"""A run folder with a journal that a test changes while its page is served."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from seedance_batch.batch.showing import Showing
from seedance_batch.core.attempt import Attempt, State
from seedance_batch.core.outcome import RowRecord, outcomes
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import open_journal
from seedance_batch.journal.records import Facts
from seedance_batch.page.serving import Listening, listening, serving
from seedance_batch.run_folder import RunFolder
from tests.service import NO_TLS
from tests.writer.samples import PERSON, add_clips


@dataclass
class Kept:
    """A run folder whose journal is open."""

    path: Path
    journal: Journal

    def rows(self, rows: Sequence[RowRecord], columns: Sequence[str] = PERSON) -> None:
        """The manifest as it was just read."""
        self.journal.write(records.set_rows(rows, columns))

    def add(self, *attempts: Attempt, clips: bool = True) -> list[Attempt]:
        """Attempts, as far as they came, with a playable file for each clip."""
        if clips:
            add_clips(self.path, outcomes([], attempts))
        added = []
        for one in attempts:
            (new,) = self.journal.write(records.add_attempts([one.intent], State()))
            added.append(Attempt(new.id, one.intent, one.state))
            self.journal.write(records.save(added[-1], at=1.0, event="Sent"))
        return added

    def become(self, attempt: Attempt, state: State) -> None:
        """An attempt comes further."""
        now = Attempt(attempt.id, attempt.intent, state)
        add_clips(self.path, outcomes([], [now]))
        self.journal.write(records.save(now, at=2.0, event="Seen"))

    def facts(self, **facts: Any) -> None:
        """What the journal knows of the run."""
        self.journal.write(records.set_facts(Facts(**facts)))


@contextlib.contextmanager
def kept(path: Path) -> Iterator[Kept]:
    """An empty run folder."""
    path.mkdir(exist_ok=True)
    with open_journal(path / "journal.db") as journal:
        found = Kept(path, journal)
        found.facts(manifest_name="storyboard", prices_note="Sandbox prices.")
        yield found


@dataclass
class Page:
    """A served page, asked as a browser asks."""

    where: Listening

    @property
    def address(self) -> str:
        """Where it is."""
        return self.where.address

    @property
    def origin(self) -> str:
        """What its own posts bear."""
        return f"http://127.0.0.1:{self.where.port}"

    def get(self, name: str = "", **headers: str) -> httpx.Response:
        """One file of it."""
        return httpx.get(self.address + name, headers=headers, trust_env=False, verify=NO_TLS)

    def news(self, rows: int = 0, marks: int = 0) -> Any:
        """What changed."""
        return self.get(f"news?rows={rows}&marks={marks}").json()

    def mark(self, key: str, take: str, **said: Any) -> httpx.Response:
        """Say something of a take."""
        body = json.dumps({"id": key, "take": take, "said": said})
        return self.post(body)

    def post(self, body: str | bytes, **headers: str) -> httpx.Response:
        """Post a mark as the page does; ``headers`` replace its own."""
        own = {"content-type": "application/json", "origin": self.origin}
        sent = {k: v for k, v in (own | headers).items() if v}
        url = self.address + "marks"
        return httpx.post(
            url, content=body, headers=sent, trust_env=False, timeout=60, verify=NO_TLS
        )

    def raw(self, request: bytes) -> bytes:
        """The first bytes of the answer to exactly this."""
        with socket.create_connection(("127.0.0.1", self.where.port), timeout=60) as connection:
            connection.sendall(request)
            return connection.recv(65536)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Page]:
    """Serve the page of a run folder on loopback."""
    where = listening("127.0.0.1", 0)
    with serving(Showing(RunFolder(folder)), where):
        yield Page(where)
