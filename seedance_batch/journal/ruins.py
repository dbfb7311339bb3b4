"""What a damaged, cut, mixed up or half copied journal looks like, and what to say of it.

Looks at files only; opens nothing for writing, so that what is refused stays as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection
from sqlite3 import Error as SqliteError
from typing import Final

from seedance_batch.errors import JournalUnreadable

TABLES: Final = frozenset({"meta", "rows", "attempts", "blobs", "events", "sheets"})
_SHEETS: Final = ("results.csv", "results.jsonl", "results.xlsx", "summary.json")
_CLIPS: Final = ("videos/**/*.*", "drafts/**/*.*")


def log_of(path: Path) -> Path:
    """SQLite's write-ahead log: what was committed and is not yet in the journal's own file."""
    return path.with_name(f"{path.name}-wal")


def has_log(path: Path) -> bool:
    """Whether there is a log that holds anything; whoever only reads a journal may leave an empty
    one."""
    return bool(_size(log_of(path)))


def has_traces(folder: Path) -> bool:
    """Whether sheets or clips of earlier runs lie in a run folder."""
    if any((folder / name).exists() for name in _SHEETS):
        return True
    return any(any(folder.glob(pattern)) for pattern in _CLIPS)


def check_files(path: Path) -> None:
    """Raise `JournalUnreadable` where the files alone show that the journal's own is lost.

    SQLite would delete a log without its journal, and begin an empty journal.
    """
    if _size(path):
        return
    if has_log(path):
        what = "is empty" if path.exists() else "is gone"
        raise damaged(path, f"it {what}, and only its log {log_of(path).name} is left")
    if path.exists():
        check_emptiness(path)


def check_emptiness(path: Path) -> None:
    """Raise `JournalUnreadable` for a journal that holds nothing beside what runs have left."""
    if has_traces(path.parent):
        raise damaged(path, "it is empty, though sheets or clips of earlier runs lie beside it")


def check_log(path: Path, alone: Callable[[], Connection], both: Callable[[], Connection]) -> None:
    """Raise `JournalUnreadable` where the log beside a journal is another journal's.

    SQLite would take it, and put the other's pages in place of this one's. ``alone`` opens the
    journal's own file, ``both`` the file with its log.
    """
    own = _folder_id(alone)
    if own is not None and _folder_id(both) != own:
        raise JournalUnreadable(
            f"The log {log_of(path).name} beside the journal {path} is not this journal's. Both "
            "were left as they are, and nothing was sent.",
            hint="put back the log that belongs to it, or move this one to another folder",
        )


def _folder_id(connect: Callable[[], Connection]) -> str | None:
    try:
        with contextlib.closing(connect()) as connection:
            query = "SELECT value FROM meta WHERE name = 'folder_id'"
            found = connection.execute(query).fetchone()
    except SqliteError:
        return None
    return None if found is None else str(found[0])


def damaged(path: Path, reason: str) -> JournalUnreadable:
    """A journal that is damaged."""
    return JournalUnreadable(
        f"The journal {path} is damaged ({reason}). It was left as it is, and nothing was sent: "
        "without it, paid rows cannot be told from unpaid ones.",
        hint="put back a copy of the journal, or keep this folder and start with --out elsewhere",
    )


def no_journal_of_ours(path: Path) -> JournalUnreadable:
    """Another program's database in a journal's place."""
    return JournalUnreadable(
        f"{path} is a database, and no journal of this program. It was left as it is, and nothing "
        "was sent.",
        hint="move it to another folder, or choose a run folder with --out",
    )


def unknown_version(path: Path, version: int, known: int) -> JournalUnreadable:
    """A journal of a program that is newer than this one."""
    return JournalUnreadable(
        f"The journal {path} has version {version}; this program knows {known}. It was "
        "left as it is, and nothing was sent.",
        hint="pip install --upgrade seedance-batch",
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
