"""Opens journals, and refuses those that it cannot be sure of: damaged, cut, or half copied."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from seedance_batch.errors import FolderUnusable, JournalUnreadable, StorageFailed
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.records import Facts, set_facts
from seedance_batch.publish import size_of

SCHEMA_VERSION: Final = 2
"""2 has what rows and attempts take from other rows."""

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
    logged = _has_its_log(path)
    if logged:
        _check_first(path)
    is_new = not path.exists()
    with contextlib.ExitStack() as opened:
        with _opening(path):
            _create_private(path)
            connection = _connect(path)
            opened.callback(connection.close)
        lost_since = _prepare(connection, path, wal=wal, logged=logged, is_new=is_new)
        with _opening(path):
            reader = _connect(path)
        opened.pop_all()
        return Journal(connection, reader, path, threaded=threaded, lost_since=lost_since)


def look_into(path: Path) -> Journal:
    """A journal to read only, also while another process writes it; empty where there is none.

    Works where nothing can be written, too. Raises as `open_journal` does.
    """
    logged = _has_its_log(path)
    with contextlib.ExitStack() as opened:
        try:
            connection = _connect_to_look(path)
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
    _, lost_since = _losses(connection, logged=logged)
    return Journal(connection, connection, path, threaded=False, lost_since=lost_since)


def _has_its_log(path: Path) -> bool:
    """Whether there is a log, and it is this journal's; raises where the files do not fit."""
    _check_files(path)
    if not has_log(path):
        return False
    _check_log(path)
    return True


def _check_first(path: Path) -> None:
    """Judge a journal before anything opens it for writing: that merges its log into it."""
    with _opening(path), contextlib.closing(_connect_to_look(path)) as connection:
        _check(connection, path)


def _connect(database: str | Path, *, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        database, isolation_level=None, check_same_thread=False, timeout=5.0, uri=uri
    )
    connection.execute("PRAGMA temp_store = MEMORY")  # a system may have no place for other files
    return connection


@contextlib.contextmanager
def glance_at(path: Path) -> Iterator[Journal]:
    """A journal to read only, of which nothing is checked: what is odd is told when it is read."""
    with _opening(path, "reading"):
        connection = _connect_to_look(path)
    with Journal(connection, connection, path, threaded=False) as journal:
        yield journal


def _connect_to_look(path: Path) -> sqlite3.Connection:
    """A connection that reads a journal, wherever it lies. Raises ``sqlite3.Error``."""
    uri = f"{Path(os.path.realpath(path)).as_uri()}?mode=ro"
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


def _prepare(
    connection: sqlite3.Connection, path: Path, *, wal: bool, logged: bool, is_new: bool
) -> float | None:
    """Make it ready to be written; since when records are missing, if they are."""
    empty = _check(connection, path, is_new=is_new)
    with _opening(path):
        connection.execute("PRAGMA synchronous = FULL")
        # macOS writes to the drive's own cache otherwise; other systems have no such difference.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        if empty:
            # Without a log, so that a copy of the file alone always knows whose it is.
            connection.execute("PRAGMA journal_mode = DELETE")
            _create_schema(connection)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE meta SET value = value")  # fails where it may only be read
        connection.execute("ROLLBACK")
        lost_since = _taken_stock(connection, logged=logged)
        _renew(connection)
        connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
    return lost_since


def _renew(connection: sqlite3.Connection) -> None:
    """Bring a journal of an earlier version to this one, in one step that is done or is not."""
    if connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:
        version = f"PRAGMA user_version = {SCHEMA_VERSION}"
        connection.executescript(f"BEGIN IMMEDIATE; {records.TO_VERSION_2}; {version}; COMMIT;")


def _taken_stock(connection: sqlite3.Connection, *, logged: bool) -> float | None:
    """`_losses`, kept: from here on the journal is as whole as it ever will be."""
    was_open, lost_since = _losses(connection, logged=logged)
    if was_open:
        connection.execute("BEGIN IMMEDIATE")
        anything = -1 if lost_since and not logged else None
        taken = Facts(run_open=0.0, log_lost_since=lost_since or 0.0, lost_after=anything)
        set_facts(taken)(connection)
        connection.execute("COMMIT")
    return lost_since


def _losses(connection: sqlite3.Connection, *, logged: bool) -> tuple[bool, float | None]:
    """Whether a run was at work last, and since when its records are missing, if they are.

    A run that ended has its records in the journal's file, and one that was killed leaves its log;
    who has neither was copied, without the log, while a run went on.
    """
    facts = records.facts_from(connection.execute(records.FACTS))
    since, begun = facts.log_lost_since or None, facts.run_open
    keeps_a_log = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    if begun and keeps_a_log and not logged:
        since = since or begun
    return bool(begun), since


def _check(connection: sqlite3.Connection, path: Path, *, is_new: bool = False) -> bool:
    """Whether the journal is a new, empty one; raises for one that cannot be used."""
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        tables = {str(row[0]) for row in connection.execute(query)}
        empty = not tables and version == 0
        if empty and path.exists() and not is_new:
            _check_emptiness(path)
        if not empty and version not in range(1, SCHEMA_VERSION + 1) and "attempts" in tables:
            raise JournalUnreadable(
                f"The journal {path} has version {version}; this program knows {SCHEMA_VERSION}. "
                "It was left unchanged, and nothing was sent.",
                hint="pip install --upgrade seedance-batch",
            )
        if not empty and not tables >= _TABLES:
            raise JournalUnreadable(
                f"{path} is a database, but not a journal of this program. It was left unchanged, "
                "and nothing was sent.",
                hint="move it to another folder, or choose a run folder with --out",
            )
        if not empty and connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise damaged(path, "its pages do not agree with each other")
    except sqlite3.OperationalError as error:
        raise _cannot_open(path, error) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error
    return empty


def _create_schema(connection: sqlite3.Connection) -> None:
    identity = Facts(secrets.token_hex(16), secrets.token_hex(16), made_at=time.time())
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
    set_facts(identity)(connection)
    connection.execute("COMMIT")


@contextlib.contextmanager
def _opening(path: Path, deed: str = "writing") -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise _cannot_open(path, error, deed) from error


def _cannot_open(path: Path, error: Exception, deed: str = "writing") -> FolderUnusable:
    return FolderUnusable(
        f"The journal {path} cannot be opened for {deed}: {error}. Nothing was sent.",
        hint="check that the folder is writable and the disk has room, then run again",
    )


# ── A copy for another machine, which knows by itself since when its records may be missing ──────


def copy_journal(path: Path, to: Path, *, at: float, by: str) -> int:
    """Copy a journal as it is now into one file that stands alone; the last event in it.

    Works beside a run: it reads one state, and no commit waits for it, but where the journal keeps
    no log. ``at`` is the earlier of the clocks before this call, ``by`` who makes the copy. Where a
    run is at work, what is sent from then on is missing in the copy, and it says so. Raises
    `StorageFailed`.
    """
    try:
        with (
            contextlib.closing(_connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(_connect(to)) as copy,
        ):
            copy.execute("PRAGMA synchronous = OFF")  # it is read at once, or made again
            logs = source.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            source.backup(copy, pages=-1 if logs else _PAGES)
            copy.execute("PRAGMA journal_mode = DELETE")
            return _marked(copy, at, by)
    except sqlite3.Error as error:
        raise StorageFailed(
            f"The journal {path} cannot be copied: {error}.",
            hint="free some space, then run the same command again",
        ) from error


def _marked(copy: Connection, at: float, by: str) -> int:
    facts = records.facts_from(copy.execute(records.FACTS))
    told = Facts(run_open=0.0, copied_by=by)
    copy.execute("BEGIN IMMEDIATE")
    set_facts(_loss(copy, facts, told, at) if facts.run_open else told)(copy)
    copy.execute("COMMIT")
    return int(copy.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])


_PAGES: Final = 1024
"""Copied at once where a commit has to wait for that."""


def _loss(copy: Connection, facts: Facts, told: Facts, at: float) -> Facts:
    """What a copy has to say that was made amid a run: any of its rows may be sent from then on.

    Rows of later runs may not: none sends before it has a copy of its own in the store.
    """
    keys = {key for (key,) in copy.execute("SELECT key FROM rows")} | {*(facts.lost_keys or ())}
    newest = copy.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()[0]
    known = facts.lost_after is not None and facts.lost_after >= 0
    anything = bool(facts.log_lost_since) and not known
    return replace(
        told,
        log_lost_since=facts.log_lost_since or at,
        lost_keys=tuple(sorted(keys)),
        lost_after=-1 if anything else newest,
    )


# ── What a damaged, cut, mixed up or half copied journal looks like, and what to say of it ────────
# Opens nothing for writing, so that what is refused stays as it is.


_TABLES: Final = frozenset({"meta", "rows", "attempts", "blobs", "events", "sheets"})
_SHEETS: Final = ("results.csv", "results.jsonl", "results.xlsx", "summary.json")
_CLIPS: Final = ("videos/**/*.*", "drafts/**/*.*")


def log_of(path: Path) -> Path:
    """SQLite's write-ahead log: what was committed and is not yet in the journal's own file."""
    return path.with_name(f"{path.name}-wal")


def has_log(path: Path) -> bool:
    """Whether there is a log that holds anything; whoever only reads a journal may leave an empty
    one."""
    return bool(size_of(log_of(path)))


def has_traces(folder: Path) -> bool:
    """Whether sheets or clips of earlier runs lie in a run folder."""
    if any((folder / name).exists() for name in _SHEETS):
        return True
    return any(any(folder.glob(pattern)) for pattern in _CLIPS)


def _check_files(path: Path) -> None:
    """Raise `JournalUnreadable` where the files alone show that the journal's own is lost.

    SQLite would delete a log without its journal, and begin an empty journal.
    """
    if size_of(path):
        return
    if has_log(path):
        what = "is empty" if path.exists() else "is gone"
        raise damaged(path, f"it {what}, and only its log {log_of(path).name} is left")
    if path.exists():
        _check_emptiness(path)


def _check_emptiness(path: Path) -> None:
    """Raise `JournalUnreadable` for a journal that holds nothing beside what runs have left."""
    if has_traces(path.parent):
        raise damaged(path, "it is empty, although sheets or clips of earlier runs are beside it")


def _check_log(path: Path) -> None:
    """Raise `JournalUnreadable` where the log beside a journal is another journal's.

    SQLite would take it, and put the other's pages in place of this one's.
    """
    alone = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    own = _folder_id(lambda: _connect(alone, uri=True))
    if own is not None and _folder_id(lambda: _connect_to_look(path)) != own:
        raise JournalUnreadable(
            f"The log {log_of(path).name} beside the journal {path} does not belong to it. Both "
            "were left unchanged, and nothing was sent.",
            hint="put back the log that belongs to it, or move this one to another folder",
        )


def _folder_id(connect: Callable[[], Connection]) -> str | None:
    try:
        with contextlib.closing(connect()) as connection:
            query = "SELECT value FROM meta WHERE name = 'folder_id'"
            found = connection.execute(query).fetchone()
            return None if found is None else str(found[0])
    except sqlite3.Error:
        return None


def damaged(path: Path, reason: str) -> JournalUnreadable:
    """A journal that is damaged."""
    return JournalUnreadable(
        f"The journal {path} is damaged ({reason}). It was left unchanged, and nothing was sent: "
        "without it, paid rows cannot be told from unpaid ones.",
        hint="put back a copy of the journal, or keep this folder and use another one with --out",
    )
