"""What the sandbox remembers, in SQLite: tasks, idempotency keys, requests, tries, callbacks.

Every change is committed before the answer that tells of it leaves, so the ledger survives the
death of the process. WAL without a sync per commit: a killed process loses nothing, and the
sandbox need not outlive a power cut.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from seedance_batch.sandbox.answers import Reply, Request
from seedance_batch.sandbox.config import Times

_VERSION: Final = 1

_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tasks (
  seq INTEGER PRIMARY KEY, task_id TEXT NOT NULL UNIQUE, account TEXT NOT NULL,
  number INTEGER NOT NULL, created REAL NOT NULL, handling REAL NOT NULL,
  archiving REAL NOT NULL, final REAL NOT NULL, error_code TEXT, error_message TEXT,
  model TEXT NOT NULL, route TEXT, storage TEXT, input TEXT NOT NULL,
  wants_last_frame INTEGER NOT NULL, content TEXT NOT NULL,
  nth INTEGER NOT NULL, body_sha256 TEXT NOT NULL, idempotency_key TEXT,
  micros INTEGER NOT NULL, callback_url TEXT);
CREATE UNIQUE INDEX tasks_of_account ON tasks (account, number);
CREATE INDEX tasks_by_end ON tasks (account, final);
CREATE INDEX spans ON tasks (created, final, micros);
CREATE TABLE keys (
  account TEXT NOT NULL, key TEXT NOT NULL, body_sha256 TEXT NOT NULL, task_id TEXT NOT NULL,
  created REAL NOT NULL, PRIMARY KEY (account, key)) WITHOUT ROWID;
CREATE TABLE requests (
  seq INTEGER PRIMARY KEY, time REAL NOT NULL, origin TEXT NOT NULL, method TEXT NOT NULL,
  path TEXT NOT NULL, status INTEGER NOT NULL, verdict TEXT NOT NULL, task_id TEXT,
  authorization INTEGER NOT NULL);
CREATE TABLE tries (
  kind TEXT NOT NULL, content TEXT NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (kind, content)) WITHOUT ROWID;
CREATE TABLE callbacks (
  seq INTEGER PRIMARY KEY, task_id TEXT NOT NULL, attempt INTEGER NOT NULL, due REAL NOT NULL);
CREATE INDEX callbacks_by_due ON callbacks (due);
"""


class StateError(Exception):
    """A state file that this sandbox cannot continue."""


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task as it was accepted; what it is *now* follows from its times."""

    task_id: str
    account: str
    times: Times
    error_code: str | None
    error_message: str | None
    model: str
    route: str | None
    storage: str | None
    input_json: str
    """``input`` as JSON; ``{}`` in list pages, where megabytes of media would only cost time."""
    wants_last_frame: bool
    content: str
    """sha256 of model and input."""
    nth: int
    """Which task of the same content this is, from 1."""
    body_sha256: str
    idempotency_key: str | None
    price: Decimal
    callback_url: str | None

    @property
    def input(self) -> dict[str, Any]:
        """``input`` as it was sent."""
        fields: dict[str, Any] = json.loads(self.input_json)
        return fields


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What an idempotency key stands for."""

    body_sha256: str
    task_id: str
    created: float


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One request and what became of it."""

    time: float
    origin: str
    method: str
    path: str
    status: int
    verdict: str
    task_id: str | None
    authorization: bool

    @classmethod
    def of(
        cls, origin: str, time: float, request: Request, answer: Reply, *, path: str
    ) -> StoredRequest:
        """A request that came at that time, and its answer."""
        keyed = "authorization" in request.headers
        about = request.method, path, answer.status, answer.verdict, answer.task_id
        return cls(time, origin, *about, keyed)


@dataclass(frozen=True, slots=True)
class DueCallback:
    """A delivery that is still to be made."""

    seq: int
    task_id: str
    attempt: int
    due: float


_COLUMNS: Final = (
    "task_id, account, created, handling, archiving, final, error_code, error_message, model,"
    " route, storage, {input}, wants_last_frame, content, nth, body_sha256, idempotency_key,"
    " micros, callback_url"
)
_WHOLE: Final = _COLUMNS.format(input="input")
_LIGHT: Final = _COLUMNS.format(input="'{}'")
_MICRO: Final = Decimal("0.000001")


class Ledger:
    """The state file, or a state in memory; used from one thread at a time."""

    def __init__(self, path: Path | None) -> None:
        target = ":memory:" if path is None else path
        self._db = sqlite3.connect(target, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise StateError(f"{path}: no state of the sandbox ({error})") from error
        except StateError as error:
            self._db.close()
            raise StateError(f"{path}: {error}") from None

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        version = self._value("PRAGMA user_version")
        if version not in (0, _VERSION):
            raise StateError(f"made by another version of the sandbox ({version})")
        if version == 0:
            self._create_tables()

    def _create_tables(self) -> None:
        """One transaction, the version number within it: a kill leaves all or nothing."""
        secret, world = secrets.token_hex(16), secrets.token_hex(8)
        self._db.executescript(
            f"BEGIN IMMEDIATE;{_TABLES}"  # noqa: S608  (our own text and hex digits)
            f"INSERT INTO meta VALUES ('secret', '{secret}'), ('world', '{world}');"
            f"PRAGMA user_version={_VERSION};COMMIT;"
        )

    def close(self) -> None:
        """Ends the use of the state."""
        self._db.close()

    def meta(self, name: str) -> str:
        """``secret`` signs file URLs, ``world`` sets this state's ids apart from any other's."""
        return str(self._value("SELECT value FROM meta WHERE name=?", name))

    def _value(self, query: str, *arguments: object) -> Any:
        """The one value that a query answers."""
        (value,) = self._db.execute(query, arguments).fetchone()
        return value

    # -- tasks ---------------------------------------------------------------------------------

    def add_task(self, task: StoredTask, first_callback: float | None) -> None:
        """Accepts a task with its key and its first callback, in one commit."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._insert_task(task)
            if task.idempotency_key is not None:
                self._remember_key(task, task.idempotency_key)
            if first_callback is not None:
                self.add_callback(task.task_id, 1, first_callback)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _insert_task(self, task: StoredTask) -> None:
        times = task.times
        marks = ",".join("?" * 20)
        self._db.execute(
            f"INSERT INTO tasks ({_WHOLE}, number) VALUES ({marks})",  # noqa: S608
            (
                task.task_id, task.account, times.created, times.handling, times.archiving,
                times.final, task.error_code, task.error_message, task.model, task.route,
                task.storage, task.input_json, task.wants_last_frame, task.content, task.nth,
                task.body_sha256, task.idempotency_key, int(task.price / _MICRO),
                task.callback_url, self.count_tasks(task.account) + 1,
            ),
        )  # fmt: skip

    def _remember_key(self, task: StoredTask, key: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO keys VALUES (?,?,?,?,?)",
            (task.account, key, task.body_sha256, task.task_id, task.times.created),
        )

    def key(self, account: str, key: str) -> StoredKey | None:
        """What the key stands for, however old."""
        row = self._db.execute(
            "SELECT body_sha256, task_id, created FROM keys WHERE account=? AND key=?",
            (account, key),
        ).fetchone()
        return StoredKey(*row) if row else None

    def task(self, task_id: str) -> StoredTask | None:
        """The task of that id, whosoever it is."""
        row = self._db.execute(
            f"SELECT {_WHOLE} FROM tasks WHERE task_id=?",  # noqa: S608
            (task_id,),
        ).fetchone()
        return _task(row) if row else None

    def page(self, account: str, page: int, size: int) -> list[StoredTask]:
        """One page of an account, newest first; numbers have no gap, so no page is slow."""
        last = self.count_tasks(account) - (page - 1) * size
        rows = self._db.execute(
            f"SELECT {_LIGHT} FROM tasks WHERE account=? AND number>? AND number<=?"  # noqa: S608
            " ORDER BY number DESC",
            (account, max(last - size, 0), max(last, 0)),
        )
        return [_task(row) for row in rows]

    def count_tasks(self, account: str) -> int:
        """How many tasks the account ever made."""
        query = "SELECT coalesce(max(number), 0) FROM tasks WHERE account=?"
        return int(self._value(query, account))

    def count_running(self, account: str, now: float) -> int:
        """The account's unfinished tasks."""
        query = "SELECT count(*) FROM tasks WHERE account=? AND final>?"
        return int(self._value(query, account, now))

    def next_end(self, account: str, now: float) -> float | None:
        """When the account's next task finishes."""
        query = "SELECT min(final) FROM tasks WHERE account=? AND final>?"
        end: float | None = self._value(query, account, now)
        return end

    def count_all(self) -> int:
        """All accepted tasks."""
        return int(self._value("SELECT count(*) FROM tasks"))

    def charged(self) -> Decimal:
        """What all tasks cost together."""
        micros = self._value("SELECT coalesce(sum(micros), 0) FROM tasks INDEXED BY spans")
        return Decimal(micros) * _MICRO

    def spans(self) -> list[tuple[float, float]]:
        """From when to when each task ran, without reading the tasks themselves."""
        return self._db.execute("SELECT created, final FROM tasks ORDER BY created").fetchall()

    def tasks(self, account: str | None = None) -> Iterator[StoredTask]:
        """All tasks, or one account's, in the order of their making."""
        rows = self._db.execute(
            f"SELECT {_WHOLE} FROM tasks WHERE ? IS NULL OR account = ? ORDER BY seq",  # noqa: S608
            (account, account),
        )
        return (_task(row) for row in rows)

    # -- requests and tries --------------------------------------------------------------------

    def add_request(self, request: StoredRequest) -> None:
        """Writes down what a request was answered."""
        self._db.execute(
            "INSERT INTO requests (time, origin, method, path, status, verdict, task_id,"
            " authorization) VALUES (?,?,?,?,?,?,?,?)",
            (
                request.time, request.origin, request.method, request.path, request.status,
                request.verdict, request.task_id, request.authorization,
            ),
        )  # fmt: skip

    def requests(self) -> Iterator[StoredRequest]:
        """All requests in the order of their coming."""
        rows = self._db.execute(
            "SELECT time, origin, method, path, status, verdict, task_id, authorization"
            " FROM requests ORDER BY time, seq"
        )
        return (StoredRequest(*row) for row in rows)

    def tally(self) -> Iterator[tuple[str, str, int, str, int, int]]:
        """How many requests of each (origin, method, status, verdict), and with a key on them."""
        return self._db.execute(
            "SELECT origin, method, status, verdict, count(*), sum(authorization)"
            " FROM requests GROUP BY 1, 2, 3, 4"
        )

    def count_try(self, kind: str, content: str) -> int:
        """Counts one more try of this content and returns which it is, from 1."""
        query = "INSERT INTO tries VALUES (?,?,1) ON CONFLICT DO UPDATE SET n=n+1 RETURNING n"
        return int(self._value(query, kind, content))

    # -- callbacks -----------------------------------------------------------------------------

    def add_callback(self, task_id: str, attempt: int, due: float) -> None:
        """Plans a delivery."""
        self._db.execute(
            "INSERT INTO callbacks (task_id, attempt, due) VALUES (?,?,?)", (task_id, attempt, due)
        )

    def postpone_callback(self, seq: int, attempt: int, due: float) -> None:
        """A delivery failed: plans the next one in its place."""
        self._db.execute("UPDATE callbacks SET attempt=?, due=? WHERE seq=?", (attempt, due, seq))

    def remove_callback(self, seq: int) -> None:
        """A delivery is over, one way or the other."""
        self._db.execute("DELETE FROM callbacks WHERE seq=?", (seq,))

    def due_callbacks(self) -> list[DueCallback]:
        """The deliveries still to be made, earliest first."""
        rows = self._db.execute(
            "SELECT seq, task_id, attempt, due FROM callbacks ORDER BY due, seq LIMIT 1000"
        )
        return [DueCallback(*row) for row in rows]


def _task(row: tuple[Any, ...]) -> StoredTask:
    (task_id, account, created, handling, archiving, final, error_code, error_message, model,
     route, storage, fields, wants_last_frame, content, nth, body_sha256, key, micros,
     callback_url) = row  # fmt: skip
    return StoredTask(
        task_id, account, Times(created, handling, archiving, final), error_code, error_message,
        model, route, storage, fields, bool(wants_last_frame), content, nth, body_sha256, key,
        Decimal(micros) * _MICRO, callback_url,
    )  # fmt: skip
