"""Opens journals, and refuses those that it cannot be sure of."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path
from typing import Final

from seedance_batch import records
from seedance_batch.errors import FolderUnusable, JournalUnreadable
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.operations import set_meta

SCHEMA_VERSION: Final = 1

_SCHEMA: Final = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE rows (position INTEGER PRIMARY KEY, {records.ROW_SCHEMA}) STRICT;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    {records.INTENT_SCHEMA},
    {records.STATE_SCHEMA},
    UNIQUE (key, kind, number),
    UNIQUE (idempotency_key)
) STRICT;
CREATE UNIQUE INDEX one_attempt_per_task ON attempts (task_id) WHERE task_id IS NOT NULL;
CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, mime TEXT NOT NULL, content BLOB NOT NULL) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, at REAL NOT NULL,
    name TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE TABLE sheets (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""


def open_journal(path: Path, *, threaded: bool = True, wal: bool = True) -> Journal:
    """Open the journal at ``path``, making a new one (mode 0600) where there is none.

    ``threaded`` False commits in the calling thread, for virtual time. ``wal`` False is for file
    systems where write-ahead logging is unsafe. Raises `JournalUnreadable` for a damaged file or
    an unknown version, which is left untouched, and `FolderUnusable` where nothing can be written.
    """
    with contextlib.ExitStack() as opened:
        try:
            _create_private(path)
            connection = _connect(path)
            opened.callback(connection.close)
        except (OSError, sqlite3.Error) as error:
            raise _cannot_open(path, error) from error
        _prepare(connection, path, wal)
        try:
            reader = _connect(path)
        except sqlite3.Error as error:
            raise _cannot_open(path, error) from error
        opened.pop_all()
        return Journal(connection, reader, path, threaded=threaded)


def look_into(path: Path) -> Journal:
    """A journal to read only, also while another process writes it; empty where there is none.

    Works where nothing can be written, too. Raises as `open_journal` does.
    """
    with contextlib.ExitStack() as opened:
        try:
            connection = connect_to_look(path)
        except sqlite3.Error as error:
            if path.exists():
                raise _cannot_open(path, error, "reading") from error
            connection = _connect(":memory:")
        opened.callback(connection.close)
        if _check(connection, path):  # none yet, or one that is just being made
            connection.close()
            connection = _connect(":memory:")
            _create_schema(connection)
        opened.pop_all()
    return Journal(connection, connection, path, threaded=False)


def _connect(database: str | Path, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        database, isolation_level=None, check_same_thread=False, timeout=5.0, uri=uri
    )


def connect_to_look(path: Path) -> sqlite3.Connection:
    """A connection that reads a journal, wherever it lies. Raises ``sqlite3.Error``."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = _connect(uri, uri=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if not _is_at_rest(path, error):
            raise
        # A write-ahead log wants a file beside the journal, to be read too; none can be made here.
        return _connect(f"{uri}&immutable=1", uri=True)
    except sqlite3.DatabaseError:
        pass  # `_check` says what is wrong with the file
    return connection


def _is_at_rest(path: Path, error: sqlite3.OperationalError) -> bool:
    """Whether the journal's file alone holds all of it: whoever writes keeps one beside it."""
    refused = error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
    beside = [path.with_name(path.name + ending) for ending in ("-wal", "-journal")]
    return refused and not any(file.exists() and file.stat().st_size for file in beside)


def _create_private(path: Path) -> None:
    # The journal holds signed URLs and prompts; -wal and -shm files take its mode.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _prepare(connection: sqlite3.Connection, path: Path, wal: bool) -> None:
    empty = _check(connection, path)
    try:
        connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
        connection.execute("PRAGMA synchronous = FULL")
        if empty:
            _create_schema(connection)
    except sqlite3.DatabaseError as error:
        raise _cannot_open(path, error) from error


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the journal is a new, empty one; raises for one that cannot be used."""
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        empty = not connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        if version != SCHEMA_VERSION and not (version == 0 and empty):
            raise _unknown_version(path, version)
        if not empty and connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise _damaged(path, "its pages do not agree with each other")
    except sqlite3.OperationalError as error:
        raise _cannot_open(path, error) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error
    return empty


def _create_schema(connection: sqlite3.Connection) -> None:
    identity = {"folder_id": secrets.token_hex(16), "salt": secrets.token_hex(16)}
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
    set_meta(identity)(connection)
    connection.execute("COMMIT")


def _cannot_open(path: Path, error: Exception, deed: str = "writing") -> FolderUnusable:
    return FolderUnusable(
        f"The journal {path} cannot be opened for {deed}: {error}. Nothing was sent.",
        hint="check that the folder is writable and the disk has room, then run again",
    )


def _unknown_version(path: Path, version: int) -> JournalUnreadable:
    return JournalUnreadable(
        f"The journal {path} has version {version}; this program knows {SCHEMA_VERSION}. It was "
        "left as it is, and nothing was sent.",
        hint="pip install --upgrade seedance-batch",
    )


def _damaged(path: Path, reason: str) -> JournalUnreadable:
    return JournalUnreadable(
        f"The journal {path} is damaged ({reason}). It was left as it is, and nothing was sent: "
        "without it, paid rows cannot be told from unpaid ones.",
        hint="put back a copy of the journal, or keep this folder and start with --out elsewhere",
    )
