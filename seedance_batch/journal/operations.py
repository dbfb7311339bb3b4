"""What can be done to a journal, as values: functions to be run inside one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from seedance_batch.core.attempt import Attempt, Intent, Kind, State
from seedance_batch.core.outcome import RowRecord
from seedance_batch.journal import records
from seedance_batch.journal.records import Facts, KindFacts

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]


def set_facts(facts: Facts) -> Operation[None]:
    """Keep what these facts say."""
    return _set_meta(records.texts_of(facts))


def set_kind_facts(kind: Kind, facts: KindFacts) -> Operation[None]:
    """Keep what these facts say about one kind."""
    return _set_meta(records.texts_of(facts, kind))


def _set_meta(texts: Mapping[str, str]) -> Operation[None]:
    def run(connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", texts.items())

    return run


def set_rows(rows: Collection[RowRecord], columns: Sequence[str]) -> Operation[None]:
    """Keep the manifest as it was just read, in place of the one before."""

    def run(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM rows")
        connection.executemany(
            f"INSERT INTO rows (position, {records.ROW_VALUES}) VALUES (?, {records.ROW_MARKS})",
            ((position, *records.row_values(row)) for position, row in enumerate(rows, 1)),
        )
        set_facts(Facts(columns=tuple(columns)))(connection)

    return run


def add_attempts(intents: Sequence[Intent], state: State) -> Operation[list[Attempt]]:
    """Record intents, all in ``state``; returns the attempts in the same order."""

    def run(connection: sqlite3.Connection) -> list[Attempt]:
        return [_insert(connection, intent, state) for intent in intents]

    return run


def _insert(connection: sqlite3.Connection, intent: Intent, state: State) -> Attempt:
    cursor = connection.execute(
        f"INSERT INTO attempts ({records.ATTEMPT_VALUES}) VALUES ({records.ATTEMPT_MARKS})",
        (*records.intent_values(intent), *records.state_values(state)),
    )
    return Attempt(int(cursor.lastrowid or 0), intent, state)


def rekey(attempts: Collection[Attempt]) -> Operation[None]:
    """Give attempts to other rows: their intents name the new keys and numbers."""

    def run(connection: sqlite3.Connection) -> None:
        connection.executemany(
            "UPDATE attempts SET key = ?, number = ? WHERE id = ?",
            ((a.intent.key, a.intent.number, a.id) for a in attempts),
        )

    return run


def renew(attempts: Collection[Attempt]) -> Operation[None]:
    """Take up intents that nobody accepted under today's API key and at today's price."""

    def run(connection: sqlite3.Connection) -> None:
        connection.executemany(
            "UPDATE attempts SET key_fingerprint = ?, est_cost = ? "
            "WHERE id = ? AND phase = 'planned'",
            ((a.intent.key_fingerprint, records.amount(a.intent.est_cost), a.id) for a in attempts),
        )

    return run


def forget_planned(attempt_ids: Collection[int]) -> Operation[None]:
    """Drop intents that nobody accepted and that no row wants any more."""

    def run(connection: sqlite3.Connection) -> None:
        connection.executemany(
            "DELETE FROM attempts WHERE id = ? AND phase = 'planned'",
            ((attempt_id,) for attempt_id in attempt_ids),
        )

    return run


def save(attempt: Attempt, *, at: float, event: str, detail: str = "") -> Operation[None]:
    """Record an attempt's new state, and the event that led to it."""

    def run(connection: sqlite3.Connection) -> None:
        connection.execute(
            f"UPDATE attempts SET {records.STATE_ASSIGNMENTS} WHERE id = ?",
            (*records.state_values(attempt.state), attempt.id),
        )
        connection.execute(
            "INSERT INTO events (attempt, at, name, detail) VALUES (?, ?, ?, ?)",
            (attempt.id, at, event, detail),
        )

    return run


def put_blob(sha256: str, mime: str, content: bytes) -> Operation[None]:
    """Keep the bytes of a media file, in place of what is stored for it."""

    def run(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", (sha256, mime, content))

    return run


def set_sheet_hashes(hashes: Mapping[str, str]) -> Operation[None]:
    """Remember what each sheet looked like when we wrote it."""

    def run(connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT OR REPLACE INTO sheets VALUES (?, ?)", hashes.items())

    return run
