"""Hooks in the seams of a run, and a hard exit at any one of them.

The seams are the system's: SQLite's commits, socket reads and writes, the files that a run writes,
syncs and names. Nothing of ours is replaced; a hook only decides whether the process goes on.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

SEAMS = (
    "commit",
    "send",
    "sent",
    "received",
    "write",
    "half written",
    "written",
    "fsync",
    "link",
    "replace",
    "unlink",
)
"""Deaths come before a commit, a send, a sync …, or (in the past tense) right after one."""
CRASHED = 77
"""The exit code of a process that a hook ended."""


@dataclass
class Hooks:
    """Counts hooks, writes each one's name down, and ends the process at the chosen one."""

    seam: str
    turn: int
    """The process ends at the seam's hook of this number, counted from 1."""
    log: int
    """A file descriptor; every hook's seam is a line there."""
    seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, name: str) -> None:
        """A hook: from here the process goes on, or not."""
        with self._lock:
            self.seen[name] += 1
            os.write(self.log, f"{name}\n".encode())
            if name == self.seam and self.seen[name] == self.turn:
                os._exit(CRASHED)

    def before(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """``call`` with a hook before it: what it did is what the next hook finds."""

        @functools.wraps(call)
        def called(*args: Any, **options: Any) -> Any:
            self.at(name)
            return call(*args, **options)

        return called

    def after(self, call: Callable[..., Awaitable[Any]], name: str) -> Callable[..., Any]:
        """A coroutine function with a hook after it."""

        @functools.wraps(call)
        async def called(*args: Any, **options: Any) -> Any:
            result = await call(*args, **options)
            self.at(name)
            return result

        return called


def install(hooks: Hooks) -> None:
    """Put hooks into all seams of this process, for good."""
    from httpcore._backends.anyio import AnyIOStream

    from seedance_batch.clips.partial import Partial

    sqlite3.connect = functools.partial(sqlite3.connect, factory=_connection(hooks))
    for name in ("fsync", "link", "replace", "unlink"):
        setattr(os, name, hooks.before(getattr(os, name), name))
    AnyIOStream.write = hooks.before(hooks.after(AnyIOStream.write, "sent"), "send")
    AnyIOStream.read = hooks.after(AnyIOStream.read, "received")  # type: ignore[method-assign]
    Partial.write = _in_halves(hooks, Partial.write)  # type: ignore[method-assign]


def _connection(hooks: Hooks) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "COMMIT":
                hooks.at("commit")
            return super().execute(sql, *arguments)

    return Connection


def _in_halves(hooks: Hooks, write: Callable[..., Any]) -> Callable[..., Any]:
    def written(partial: Any) -> Any:
        whole = b"".join(partial._chunks)
        if not whole:
            return write(partial)
        hooks.at("write")
        partial._chunks = [whole[: len(whole) // 2]]
        write(partial)
        hooks.at("half written")
        partial._chunks = [whole[len(whole) // 2 :]]
        path = write(partial)
        hooks.at("written")
        return path

    return written


# ── what a child does ───────────────────────────────────────────────────────────────────────────


def run(argv: list[str], seam: str, turn: int, hooks_log: str) -> int:
    """Run a command line with hooks; turn 0 counts them only."""
    from seedance_batch.cli.main import main

    log = os.open(hooks_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    install(Hooks(seam, turn, log))
    return main(argv)


def hurried(argv: list[str], pace: float, copies: float = 5.0) -> int:
    """Run a command line for which a lease's times are so many times shorter; seconds between
    copies of its journal."""
    from seedance_batch.batch import takeover
    from seedance_batch.core.account import LEASE_TIMES, LeaseTimes

    times = (getattr(LEASE_TIMES, name) / pace for name in LEASE_TIMES.__slots__)
    takeover.LEASE_TIMES = LeaseTimes(*times)  # type: ignore[misc]
    takeover._EVERY = copies  # type: ignore[misc]
    return plain(argv)


def plain(argv: list[str]) -> int:
    """Run a command line as it is."""
    from seedance_batch.cli.main import main

    return main(argv)
