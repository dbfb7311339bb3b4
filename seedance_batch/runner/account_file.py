"""The file that runs under one key share: SQL on it, which processes are there, where it lies.

One small SQLite file for each API key and address, in the user's state folder, with mode 0600. It
holds no key: its name is the key's fingerprint under a salt that is this user's alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from seedance_batch.core.account import (
    AccountRun,
    AccountView,
    DayMoney,
    FolderDays,
    Priority,
    SharedAccount,
)
from seedance_batch.core.pace import WINDOW

_VERSION: Final = 1
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY CHECK (id = 1), origin TEXT NOT NULL, boot TEXT NOT NULL, day_cap TEXT,
    held_until REAL, service_limit REAL, others REAL, others_at REAL,
    slot_limit INTEGER, growing INTEGER, probe_at REAL, slots_held REAL, refused_at INTEGER,
    falls INTEGER, usual REAL
) STRICT;
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER, started TEXT, space TEXT, folder TEXT,
    rows INTEGER, begun REAL, priority TEXT, rpm REAL, places INTEGER, seen REAL, gone INTEGER,
    taken INTEGER, accepted INTEGER, lent INTEGER, oldest REAL, newest REAL, asks_since REAL,
    asks_due REAL, waiting INTEGER, wants_since REAL, wants_seen REAL
) STRICT;
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, due REAL, run INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS money (
    folder_id TEXT, folder TEXT, day TEXT, settled TEXT, reserved TEXT, unknown TEXT,
    PRIMARY KEY (folder_id, folder, day)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
_RUN: Final = tuple(each.name for each in fields(AccountRun))
_SAVE_RUN: Final = f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * len(_RUN))})"  # noqa: S608
_PACE: Final = (
    "held_until", "service_limit", "others", "others_at", "slot_limit", "growing",
    "probe_at", "slots_held", "refused_at", "falls", "usual",
)  # fmt: skip
_SAVE_PACE: Final = f"UPDATE account SET {', '.join(f'{n} = ?' for n in _PACE)}"  # noqa: S608
_SILENT: Final = 30.0
"""Seconds without a sign after which a run counts as gone whose process cannot be looked at."""
_SOON: Final = 0.05
"""Seconds between two records of how a run stands that has nobody beside it."""
_REAP_EVERY: Final = 1.0
"""Seconds between looks whether the other processes are there."""
_PATIENCE: Final = 0.2
"""Seconds that another process's write is waited for: the event loop stands still meanwhile."""
_OPENING: Final = 10.0
"""The same, where the file is opened."""


# ── Which processes are there ─────────────────────────────────────────────────────────────────────


def boot() -> str:
    """Tells this boot of the machine from others; monotonic times are of one boot."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return str(round((time.time() - time.monotonic()) / 600))


def process_space() -> str:
    """The space that process numbers are counted in: each container has its own."""
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def started_at(pid: int) -> str:
    """When a process started, as the system counts; empty for none, or where it does not tell."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    state, *others = told.rpartition(")")[2].split()
    return "" if state in {"Z", "X"} else others[18]


def is_gone(run: AccountRun, space: str, now: float) -> bool:
    """Whether a run's process is there no more."""
    if space and run.space == space and run.started:
        return started_at(run.pid) != run.started
    return now - run.seen > _SILENT


# ── Where the file is ─────────────────────────────────────────────────────────────────────────────


def accounts_folder() -> Path:
    """Where this user's accounts are kept."""
    from platformdirs import user_state_path

    return user_state_path("seedance-batch", appauthor=False) / "accounts"


def account_path(origin: str, api_key: str) -> Path:
    """The file of a key at an address. Raises ``OSError`` where its salt can be neither read nor
    made."""
    folder = accounts_folder()
    text = f"{origin}\n{api_key}".encode()
    return folder / f"{hmac.new(_salt(folder), text, hashlib.sha256).hexdigest()[:24]}.db"


def _salt(folder: Path) -> bytes:
    path = folder / "salt"
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = folder / f".salt.{secrets.token_hex(8)}"
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(descriptor)
    with contextlib.suppress(FileExistsError):  # another process was quicker
        os.link(own, path)
    own.unlink()
    return path.read_bytes()


def _connect(path: Path) -> sqlite3.Connection:
    """The account's file, made with mode 0600 where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, timeout=_OPENING)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA temp_store = MEMORY")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, _VERSION}:
            raise sqlite3.DatabaseError("it was written by another version of this program")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection


# ── The account's rows, read and written in transactions ──────────────────────────────────────────


class AccountBusy(OSError):
    """Another process is writing in the account's file."""


_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """What SQLite could not do, as an error of the system's: `AccountBusy` where that passes."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise (AccountBusy if code in _BUSY else OSError)(str(error)) from error


class AccountFile:
    """An account's file, held open by one run of it, ``me``. Whatever fails is an ``OSError``."""

    def __init__(self, path: Path, me: AccountRun, timer: Callable[[], float]) -> None:
        self.path = path
        self.me = me
        self.state = SharedAccount()
        self.seconds = 0.0
        """What transactions have taken by ``timer``, all together."""
        self._timer = timer
        self._version: int | None = None
        self._last_request = 0
        self._saved_pace: tuple[Any, ...] = ()
        self._reaped_at = self._saved_at = float("-inf")
        with _as_os_error():
            self._connection = _connect(path)

    def join(self, now: float, origin: str, day_cap: Decimal | None) -> Decimal | None:
        """Enter this run; the cap for a day that holds then, in US dollars.

        ``day_cap``: the one that was given this time; infinite for none.
        """
        try:
            with _as_os_error():
                return self._joined(now, origin, day_cap)
        except BaseException:
            self._connection.close()
            raise

    def _joined(self, now: float, origin: str, day_cap: Decimal | None) -> Decimal | None:
        execute, me = self._connection.execute, self.me
        execute("BEGIN IMMEDIATE")
        self._begin(origin)
        cap = self._day_cap(day_cap)
        self._load()
        self._reap(now)
        for run in list(self.state.runs.values()):
            if run.gone and run.folder == me.folder:  # its tasks are this run's now
                self.drop(run.id)
        if not self.state.live():
            self.state.begin_anew()
        values = [getattr(me, name) for name in _RUN[1:]]
        marks = ", ".join("?" * len(values))
        sql = f"INSERT INTO runs ({', '.join(_RUN[1:])}) VALUES ({marks})"  # noqa: S608
        me.id = execute(sql, values).lastrowid or 0
        self.state.runs[me.id] = me
        self.state.agree()
        self._save(now)
        execute("COMMIT")
        execute(f"PRAGMA busy_timeout = {round(1000 * _PATIENCE)}")
        return cap

    def _begin(self, origin: str) -> None:
        execute, here = self._connection.execute, boot()
        kept = execute("SELECT boot FROM account").fetchone()
        if kept is None:
            execute("INSERT INTO account (origin, boot) VALUES (?, ?)", (origin, here))
        elif kept[0] != here:  # its times are of another clock
            execute("DELETE FROM runs")
            execute("DELETE FROM requests")
            blank = ", ".join(f"{name} = NULL" for name in _PACE)
            execute(f"UPDATE account SET boot = ?, {blank}", (here,))  # noqa: S608

    def _day_cap(self, given: Decimal | None) -> Decimal | None:
        execute = self._connection.execute
        if given is not None:
            execute("UPDATE account SET day_cap = ?", (str(given) if given.is_finite() else None,))
        (kept,) = execute("SELECT day_cap FROM account").fetchone()
        return None if kept is None else Decimal(kept)

    @contextlib.contextmanager
    def writing(self, now: float, *, lasting: bool = False) -> Iterator[SharedAccount]:
        """A transaction of ours on the account as it is now; a ``lasting`` one outlives a power
        cut."""
        execute, started = self._connection.execute, self._timer()
        try:
            with _as_os_error():
                if lasting:
                    execute("PRAGMA synchronous = FULL")
                execute("BEGIN IMMEDIATE")
                if self._is_stale():
                    self._load()
                self._reap(now)
                yield self.state
                self._save(now)
                execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()
            if lasting:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA synchronous = NORMAL")
            self.seconds += self._timer() - started

    def read(self) -> bool:
        """Learn what others have written; whether they have."""
        with _as_os_error():
            if not self._is_stale():
                return False
            self._connection.execute("BEGIN")
            try:
                self._load()
            finally:
                self._connection.rollback()
        return True

    def _is_stale(self) -> bool:
        """Whether another process has written since this one has read."""
        return bool(self._connection.execute("PRAGMA data_version").fetchone()[0] != self._version)

    def add_request(self, now: float) -> None:
        """A request of this run starts now."""
        budget = self.state.budget
        budget.spend(now)
        sql = "INSERT INTO requests (at, due, run) VALUES (?, ?, ?)"
        added = self._connection.execute(sql, (now, budget.due, self.me.id))
        self._last_request = added.lastrowid or 0

    def drop(self, number: int) -> None:
        """A run has nothing any more that others should know of."""
        self.state.runs.pop(number, None)
        self._connection.execute("DELETE FROM runs WHERE id = ?", (number,))

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _load(self) -> None:
        execute, state, me = self._connection.execute, self.state, self.me
        self._version = execute("PRAGMA data_version").fetchone()[0]
        rows = execute(f"SELECT {', '.join(_RUN)} FROM runs").fetchall()  # noqa: S608
        state.runs = {run.id: run for run in map(_run_of, rows) if run.id != me.id}
        if me.id:
            state.runs[me.id] = me
        state.agree()
        sql = "SELECT id, at, due FROM requests WHERE id > ? ORDER BY id"
        for number, at, due in execute(sql, (self._last_request,)):
            self._last_request = number
            state.budget.spend(at)
            state.budget.due = due
        row = execute(f"SELECT {', '.join(_PACE)} FROM account").fetchone()  # noqa: S608
        _set_pace(state, {n: v for n, v in zip(_PACE, row, strict=True) if v is not None})
        self._saved_pace = _pace_of(state)

    def _save(self, now: float) -> None:
        execute, me = self._connection.execute, self.me
        me.seen = now
        if me.id in self.state.runs and self._is_news(now):  # not once it has left
            execute(_SAVE_RUN, astuple(me))
            self._saved_at = now
        if (pace := _pace_of(self.state)) != self._saved_pace:
            execute(_SAVE_PACE, pace)
            self._saved_pace = pace

    def _is_news(self, now: float) -> bool:
        """Whether others want to know how this run stands: where there are none, soon is enough."""
        is_seen = len(self.state.runs) > 1 or self.me.gone
        return is_seen or now - self._saved_at >= _SOON

    def _reap(self, now: float) -> None:
        """Mark runs whose process is there no more, and forget what is over."""
        if now - self._reaped_at < _REAP_EVERY:
            return
        self._reaped_at = now
        for run in self.state.live():
            if run is not self.me and is_gone(run, self.me.space, now):
                run.gone = True
                self._connection.execute("UPDATE runs SET gone = 1 WHERE id = ?", (run.id,))
        for number in self.state.forget(now):
            self.drop(number)
        self._connection.execute("DELETE FROM requests WHERE at < ?", (now - 2 * WINDOW,))
        self.state.agree()

    # ── money ───────────────────────────────────────────────────────────────────────────────────

    def save_money(self, folder_id: str, day: str, sums: DayMoney) -> None:
        """What this run's folder has come to on a day, in place of what was written of it."""
        amounts = (str(amount) for amount in astuple(sums))
        sql = "INSERT OR REPLACE INTO money VALUES (?, ?, ?, ?, ?, ?)"
        self._connection.execute(sql, (folder_id, self.me.folder, day, *amounts))

    def forget_money(self, folder_id: str) -> None:
        """Drop this folder's sums, also those from where it lay before it was moved."""
        execute = self._connection.execute
        sql = "SELECT DISTINCT folder FROM money WHERE folder_id = ?"
        for (folder,) in execute(sql, (folder_id,)).fetchall():
            if folder == self.me.folder or not Path(folder).exists():
                sql = "DELETE FROM money WHERE folder_id = ? AND folder = ?"
                execute(sql, (folder_id, folder))

    def money_of_others(self, folder_id: str, day: str) -> list[DayMoney]:
        """What the other folders have come to on a day."""
        sql = (
            "SELECT settled, reserved, unknown FROM money "
            "WHERE day = ? AND NOT (folder_id = ? AND folder = ?)"
        )
        rows = self._connection.execute(sql, (day, folder_id, self.me.folder)).fetchall()
        return [DayMoney(*map(Decimal, row)) for row in rows]


def _run_of(row: tuple[Any, ...]) -> AccountRun:
    """A row of the table as a run."""
    kept = dict(zip(_RUN, row, strict=True))
    return AccountRun(
        **{**kept, "priority": Priority(kept["priority"]), "gone": bool(kept["gone"])}
    )


def _pace_of(state: SharedAccount) -> tuple[Any, ...]:
    """What is learned of the account, as columns."""
    budget, slots = state.budget, state.slots
    return (
        budget.held_until, budget.service_limit, budget.others, budget.others_at,
        slots.limit, int(slots.growing), slots.probe_at, slots.held_until, slots.refused_at,
        slots.falls, float(f"{state.usual:.2g}"),  # not each change of it is worth a write
    )  # fmt: skip


def _set_pace(state: SharedAccount, known: Mapping[str, Any]) -> None:
    budget, slots = state.budget, state.slots
    budget.held_until = known.get("held_until", float("-inf"))
    budget.service_limit = known.get("service_limit")
    budget.others = known.get("others", 0.0)
    budget.others_at = known.get("others_at", float("-inf"))
    slots.limit = known.get("slot_limit", slots.limit)
    slots.growing = bool(known.get("growing", True))
    slots.probe_at = known.get("probe_at", 0.0)
    slots.held_until = known.get("slots_held", float("-inf"))
    slots.refused_at = known.get("refused_at")
    slots.falls = known.get("falls", 0)
    state.usual = known.get("usual", state.usual)


# ── Looking at accounts without a part in them ────────────────────────────────────────────────────


def views(today: str, now: float) -> list[AccountView]:
    """This user's accounts, as they are; ``today`` is the local day, as ``2026-11-27``.

    A file that cannot be read raises ``OSError``.
    """
    found = sorted(accounts_folder().glob("*.db"))
    return [_named_view(path, today, now) for path in found]


def _named_view(path: Path, today: str, now: float) -> AccountView:
    try:
        return view_of(path, today, now)
    except OSError as error:
        raise OSError(f"{path}: {error}") from error


def view_of(path: Path, today: str, now: float) -> AccountView:
    """An account as it is; see `views`."""
    with _as_os_error(), contextlib.closing(_connect_to_look(path)) as connection:
        return _view(connection, path.stem, today, now)


def _connect_to_look(path: Path) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=_OPENING)
    try:
        connection.execute("SELECT 1 FROM account").fetchone()
    except sqlite3.OperationalError:  # where nothing may be written, nobody writes beside us
        connection.close()
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True)
    return connection


def _view(connection: sqlite3.Connection, key: str, today: str, now: float) -> AccountView:
    execute, space, here = connection.execute, process_space(), boot()
    columns = "origin, boot, day_cap, others, others_at, usual"
    told = execute(f"SELECT {columns} FROM account").fetchone()  # noqa: S608
    origin, booted, day_cap, others, others_at, usual = told or ("", "", None, 0.0, 0.0, None)
    rows = execute(f"SELECT {', '.join(_RUN)} FROM runs") if booted == here else ()  # noqa: S608
    runs = list(map(_run_of, rows))
    for run in runs:
        run.gone = run.gone or is_gone(run, space, now)
    left = [run.holds(now, usual or SharedAccount().usual) for run in runs if run.gone]
    sql = "SELECT count(*) FROM requests WHERE at > ? AND at <= ?"
    (requests,) = execute(sql, (now - WINDOW, now)).fetchone() if booted == here else (0,)
    is_news = others and booted == here and now - (others_at or 0.0) <= WINDOW
    return AccountView(
        origin,
        key,
        tuple(run for run in runs if not run.gone),
        sum(left),
        requests,
        round(others or 0.0) if is_news else 0,
        None if day_cap is None else Decimal(day_cap),
        _folders(connection, today),
    )


def _folders(connection: sqlite3.Connection, today: str) -> tuple[FolderDays, ...]:
    sql = "SELECT folder, day, settled, reserved, unknown FROM money WHERE day LIKE ? ORDER BY day"
    found: dict[str, FolderDays] = {}
    for folder, day, *amounts in connection.execute(sql, (f"{today[:7]}%",)):
        sums = DayMoney(*map(Decimal, amounts))
        before = found.get(folder, FolderDays(folder, DayMoney(), DayMoney()))
        now = before.today + sums if day == today else before.today
        found[folder] = FolderDays(folder, now, before.month + sums)
    return tuple(each for _, each in sorted(found.items()) if each.month.total)
