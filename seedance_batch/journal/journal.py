"""The durable record of attempts: SQLite in the run folder, one writer, commits in groups.

Intent is written before the deed and fact after it; what this file holds is what happened. It
decides nothing: states come from `core.lifecycle`, and every sheet can be rebuilt from here."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import anyio

from seedance_batch.core.attempt import Attempt, Kind, Phase, TakeName
from seedance_batch.core.outcome import RowRecord
from seedance_batch.errors import StorageFailed
from seedance_batch.journal import records
from seedance_batch.journal.records import Facts, KindFacts, Operation

# ── The open journal: what is read from it, and operations that are durable when they return ──────


T = TypeVar("T")
_SETTLE_EVERY: Final = 1.0
"""Seconds after which commits move from SQLite's log into the journal's own file: a copy of that
file alone is never much older."""
_PAGE: Final = 500
"""Rows."""


class Journal:
    """An open journal. Use `open_journal`; the caller holds the run folder's lock.

    ``write`` and its async twin run an operation inside a transaction and return once it is
    durable. They raise `StorageFailed` if the disk refuses, and from then on always: a journal
    that could not commit once records nothing more, so nothing more may be sent.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        reader: sqlite3.Connection,
        path: Path,
        *,
        threaded: bool,
        lost_since: float | None = None,
    ) -> None:
        self.path = path
        self.lost_since = lost_since
        """When a run began whose last records are missing here: the log beside the file is gone."""
        self.commits = 0
        """Transactions since it was opened: who has copied it knows by that whether it changed."""
        self._connection = connection
        self._reader = reader
        self._reading = threading.Lock()
        self._failure: StorageFailed | None = None
        self._settled_at = 0.0
        self._writer = Writer(self._commit) if threaded else None

    # ── writing ─────────────────────────────────────────────────────────────────────────────

    def write(self, operation: Operation[T]) -> T:
        """Run one operation durably; blocks until it is committed."""
        if self._writer is not None:
            return self._writer.submit(operation).result()
        future: Future[T] = Future()
        self._commit([(operation, future)])
        return future.result()

    async def awrite(self, operation: Operation[T]) -> T:
        """As `write`, without blocking the event loop; many waiting calls share one commit.

        Cancellation waits for the commit: what was handed over is recorded.
        """
        if self._writer is None:
            return self.write(operation)
        future = asyncio.wrap_future(self._writer.submit(operation))
        with anyio.CancelScope(shield=True):
            await future
        return future.result()

    def settle(self) -> None:
        """Have the next commit in the journal's own file before it is reported as durable."""
        self._settled_at = 0.0

    def check(self) -> None:
        """Raises `StorageFailed` once a commit has failed: what is done now is not recorded."""
        if self._failure is not None:
            raise self._failure

    def _commit(self, batch: Sequence[tuple[Operation[Any], Future[Any]]]) -> None:
        try:
            self.check()
            with self._transaction():
                results = [operation(self._connection) for operation, _ in batch]
            self.commits += 1
            self._move_into_the_file()
        except BaseException as error:  # handed to whoever waits; nobody is left hanging
            reason = self._translate(error)
            if len(batch) > 1 and reason is not self._failure:
                for item in batch:  # one operation's fault is not its neighbours'
                    self._commit([item])
                return
            for _, future in batch:
                future.set_exception(reason)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)

    def _move_into_the_file(self) -> None:
        now = time.monotonic()
        if self._settled_at and now - self._settled_at < _SETTLE_EVERY:
            return
        self._settled_at = now
        with contextlib.suppress(sqlite3.Error):  # what is in the log is durable all the same
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _translate(self, error: BaseException) -> BaseException:
        if _is_the_disk(error):
            self._failure = StorageFailed(
                f"The journal {self.path} cannot be written: {error}. Nothing more was sent; "
                "what was sent before is recorded.",
                hint="free some space or repair the disk, then run the same command again",
            )
            return self._failure
        return error

    # ── what is kept ────────────────────────────────────────────────────────────────────────

    def facts(self) -> Facts:
        """What is known beside rows and attempts."""
        return records.facts_from(self._read(records.FACTS))

    def facts_of(self, kind: Kind) -> KindFacts:
        """What is known beside them about one kind."""
        return records.kind_facts_from(self._read("SELECT name, value FROM meta"), kind)

    @cached_property
    def _version(self) -> int:
        """An older one where the journal is only looked at; one that is written is made new."""
        return int(self._read("PRAGMA user_version")[0][0])

    def attempts(self) -> list[Attempt]:
        """Every attempt, oldest first."""
        found = self._read(
            f"SELECT {records.attempt_columns(self._version)} FROM attempts ORDER BY id"
        )
        return [records.attempt_from(row) for row in found]

    def orders(self) -> frozenset[tuple[str, str]]:
        """The row key and the content of every attempt; much quicker to have than `attempts`."""
        return frozenset(self._read("SELECT key, content FROM attempts"))

    def rows(self) -> list[RowRecord]:
        """The rows of the last-read manifest, in its order."""
        found = self._read(
            f"SELECT {records.row_columns(self._version)} FROM rows ORDER BY position"
        )
        return [records.row_from(row) for row in found]

    def histories(self) -> Iterator[tuple[RowRecord, list[Attempt]]]:
        """The rows of the last-read manifest, each with its attempts: as `rows` and `attempts` give
        them, but with few of them in memory. All are as they were at one moment."""
        rows, attempts = records.row_columns(self._version), records.attempt_columns(self._version)
        self._read("BEGIN")
        try:
            last = -1
            while page := self._read(
                f"SELECT position, {rows} FROM rows WHERE position > ? ORDER BY position "
                f"LIMIT {_PAGE}",
                (last,),
            ):
                last = page[-1][0]
                read = [records.row_from(values) for _, *values in page]
                found: dict[str, tuple[RowRecord, list[Attempt]]]
                found = {row.key: (row, []) for row in read}
                marks = ", ".join("?" * len(found))
                for each in self._read(
                    f"SELECT {attempts} FROM attempts WHERE key IN ({marks}) ORDER BY id", (*found,)
                ):
                    attempt = records.attempt_from(each)
                    found[attempt.intent.key][1].append(attempt)
                yield from found.values()
        finally:
            self._read("COMMIT")

    def take(self, attempt: int) -> tuple[str, TakeName] | None:
        """The row's key and the name of an attempt; None where there is no such one."""
        found = self._read("SELECT key, kind, number FROM attempts WHERE id = ?", (attempt,))
        return (found[0][0], TakeName(Kind(found[0][1]), found[0][2])) if found else None

    def columns(self) -> tuple[str, ...]:
        """The person's columns of the last-read manifest, in their order."""
        return self.facts().columns or ()

    def blob(self, sha256: str) -> tuple[str, bytes]:
        """Media type and bytes of a stored media file. Raises ``KeyError``."""
        found = self._read("SELECT mime, content FROM blobs WHERE sha256 = ?", (sha256,))
        if not found:
            raise KeyError(sha256)
        return found[0][0], found[0][1]

    def knows_idempotency_key(self, key: str) -> bool:
        """Whether an attempt has that key, whichever row it belongs to by now."""
        return bool(self._read("SELECT 1 FROM attempts WHERE idempotency_key = ?", (key,)))

    def task_ids(self) -> set[str]:
        """Every task that an attempt has."""
        return {a[0] for a in self._read("SELECT task_id FROM attempts WHERE task_id IS NOT NULL")}

    def contents_bought(self) -> Counter[str]:
        """How many attempts there are at each content that was sent and has not failed."""
        query = "SELECT content, COUNT(*) FROM attempts WHERE phase NOT IN (?, ?) GROUP BY content"
        return Counter(dict(self._read(query, (Phase.PLANNED, Phase.FAILED))))

    def lost(self, kind: Kind) -> Callable[[str], bool]:
        """Tells of a row whether an order of this kind may have been sent that is not recorded."""
        if self.lost_since is None:
            return lambda key: False
        facts = self.facts()
        if facts.lost_keys is None or facts.lost_after is None or facts.lost_after < 0:
            return lambda key: True
        query = "SELECT key FROM attempts WHERE kind = ? AND id > ?"
        known = {key for (key,) in self._read(query, (kind, facts.lost_after))}
        return (frozenset(facts.lost_keys) - known).__contains__

    def sheet_hashes(self) -> dict[str, str]:
        """sha256 of each sheet as we last wrote it, by file name."""
        return dict(self._read("SELECT name, sha256 FROM sheets"))

    def last_event(self) -> int:
        """The number of the newest event: a journal that shows another one has moved on."""
        found = self._read("SELECT coalesce(max(id), 0) FROM events")
        return int(found[0][0])

    def events(self, attempt: int) -> list[tuple[float, str, str]]:
        """(wall time, name, detail) of what happened to an attempt, oldest first."""
        return self._read(
            "SELECT at, name, detail FROM events WHERE attempt = ? ORDER BY id", (attempt,)
        )

    def _read(self, sql: str, arguments: Sequence[object] = ()) -> list[Any]:
        # A connection of its own: what it shows is committed, whatever the writer is at. One read
        # at a time: while another thread's is under way, SQLite would show this one the same old
        # snapshot, without what was committed a moment ago.
        try:
            with self._reading:
                return self._reader.execute(sql, arguments).fetchall()
        except sqlite3.DatabaseError as error:
            raise StorageFailed(
                f"The journal {self.path} cannot be read: {error}.",
                hint="repair the disk, then run the same command again",
            ) from error

    # ── life ────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Commit what waits, then let go of the file."""
        if self._writer is not None:
            self._writer.stop()
        self._reader.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_the_disk(error: BaseException) -> bool:
    """Whether the file could not be written, rather than an operation being wrong."""
    return isinstance(error, sqlite3.OperationalError | OSError) or (
        type(error) is sqlite3.DatabaseError  # a malformed page; its subclasses are our bugs
    )


# ── One thread that commits whatever is queued; knows nothing of what it commits ──────────────────


class Writer:
    """One thread that commits whatever is queued, as one transaction."""

    def __init__(self, commit: Callable[[list[tuple[Operation[Any], Future[Any]]]], None]) -> None:
        self._commit = commit
        self._queue: queue.SimpleQueue[tuple[Operation[Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T]) -> Future[T]:
        """Queue an operation; its result, or what it raises, once its transaction has ended."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # what is handed over can no longer be taken back
        self._queue.put((operation, future))
        return future

    def stop(self) -> None:
        """Commit what is queued, and end the thread; nothing may be submitted after that."""
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, stop = self._drain(first)
            self._commit(batch)
            if stop:
                return

    def _drain(
        self, first: tuple[Operation[Any], Future[Any]]
    ) -> tuple[list[tuple[Operation[Any], Future[Any]]], bool]:
        batch = [first]
        with contextlib.suppress(queue.Empty):
            while (item := self._queue.get_nowait()) is not None:
                batch.append(item)
            return batch, True
        return batch, False
