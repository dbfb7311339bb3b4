"""What happens inside a child before it runs: another clock, a failing disk, a shorter patience."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import Any

WRONG_DISK = {
    "disk full": sqlite3.OperationalError("database or disk is full"),
    "I/O error": sqlite3.OperationalError("disk I/O error"),
    "read-only": sqlite3.OperationalError("attempt to write a readonly database"),
    "damaged": sqlite3.DatabaseError("database disk image is malformed"),
}


def run(
    argv: list[str],
    *,
    shift: float = 0.0,
    jump_after: float = 0.0,
    deadline: float | None = None,
) -> int:
    """Run a command line under a wall clock that is off by ``shift`` seconds.

    ``jump_after`` seconds pass before it is. ``deadline`` replaces the seconds for one answer.
    """
    from seedance_batch.api.client import Client
    from seedance_batch.cli.main import main

    if shift:
        started, real = time.monotonic(), time.time
        time.time = lambda: real() + shift * (time.monotonic() - started >= jump_after)
        _defaults(Client)["wall"] = time.time
    if deadline is not None:
        _defaults(Client)["deadline"] = deadline
    return main(argv)


def _defaults(kind: type[Any]) -> dict[str, Any]:
    return kind.__init__.__kwdefaults__  # type: ignore[misc, no-any-return]


def limited(argv: list[str], kind: str, soft: int) -> int:
    """Run a command line under one of the system's own limits."""
    from seedance_batch.cli.main import main

    number = getattr(resource, kind)
    resource.setrlimit(number, (soft, resource.getrlimit(number)[1]))
    return main(argv)


def nearly_full(argv: list[str], free: int) -> int:
    """Run a command line on a disk that has so many bytes left."""
    from seedance_batch.cli.main import main

    usage = shutil.disk_usage("/")
    shutil.disk_usage = lambda _: usage._replace(free=free)
    return main(argv)


def as_nobody(argv: list[str]) -> int:
    """Run a command line as a user who may not write where it would."""
    from seedance_batch.cli.main import main

    os.setgid(65534)
    os.setuid(65534)
    return main(argv)


def failing_commit(argv: list[str], turn: int, reason: str, deeds: str) -> int:
    """Run a command line on a disk that refuses the n-th commit and all that follow.

    Each commit of the journal and each POST is a line in ``deeds``, so that their order can be
    told. The account's file is refused too, and is no reason to send nothing.
    """
    from seedance_batch.cli.main import main

    note = partial(os.write, os.open(deeds, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    commits = 0

    class Connection(sqlite3.Connection):
        def __init__(self, database: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(database, *arguments, **options)
            self.is_journal = "journal.db" in str(database)

        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            nonlocal commits
            if sql == "COMMIT":
                commits += 1
                if self.is_journal:
                    note(b"refused\n" if commits >= turn else b"commit\n")
                if commits >= turn:
                    raise WRONG_DISK[reason]
            return super().execute(sql, *arguments)

    sqlite3.connect = partial(sqlite3.connect, factory=Connection)
    _note_posts(note)
    return main(argv)


def _note_posts(note: Callable[[bytes], object]) -> None:
    from httpcore._backends.anyio import AnyIOStream

    write = AnyIOStream.write

    async def noted(stream: Any, buffer: bytes, *arguments: Any, **options: Any) -> None:
        if buffer.startswith(b"POST"):
            note(b"POST\n")
        await write(stream, buffer, *arguments, **options)

    AnyIOStream.write = noted  # type: ignore[method-assign]


def failing_call(argv: list[str], name: str, turn: int, error: int) -> int:
    """Run a command line that the system refuses the n-th ``os.<name>`` of, and all later ones."""
    from seedance_batch.cli.main import main

    real, calls = getattr(os, name), 0

    def refused(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= turn:
            raise OSError(error, os.strerror(error))
        return real(*args, **options)

    setattr(os, name, refused)
    return main(argv)
