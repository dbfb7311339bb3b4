"""What a journal holds: rows, attempts and facts as columns of SQLite, and what is done to them.

Columns and facts have the names of their fields, so that a journal can be read with any SQLite
shell.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, Final, TypeVar

from seedance_batch.core.attempt import (
    Attempt,
    Clip,
    ErrorClass,
    Intent,
    Kind,
    MadeFrom,
    Phase,
    State,
)
from seedance_batch.core.outcome import RowRecord

# ── Rows and attempts, each a line of its table ───────────────────────────────────────────────────


_REAL: Final = frozenset(
    {"planned_at", "first_sent_at", "submitted_at", "finished_at", "url_expires_at"}
    | {"no_video_since", "refreshed_at"}
)
_INTEGER: Final = frozenset(
    {"number", "duration", "generate_audio", "return_last_frame", "unanswered"}
    | {"replayed", "needs_look"}
)
_REQUIRED_STATE: Final = frozenset({"phase", "unanswered", "replayed", "needs_look"})

_INTENT: Final = tuple(field.name for field in fields(Intent))
_STATE: Final = tuple(field.name for field in fields(State))
_ROW: Final = tuple(field.name for field in fields(RowRecord))


def _column(name: str, *, required: bool) -> str:
    kind = "REAL" if name in _REAL else "INTEGER" if name in _INTEGER else "TEXT"
    return f"{name} {kind}{' NOT NULL' if required else ''}"


INTENT_SCHEMA: Final = ", ".join(_column(n, required=n != "est_cost") for n in _INTENT)
STATE_SCHEMA: Final = ", ".join(_column(n, required=n in _REQUIRED_STATE) for n in _STATE)
ROW_SCHEMA: Final = ", ".join(_column(n, required=True) for n in _ROW)

_ATTEMPT_VALUES: Final = ", ".join((*_INTENT, *_STATE))
_ATTEMPT_MARKS: Final = ", ".join("?" * (len(_INTENT) + len(_STATE)))
_STATE_ASSIGNMENTS: Final = ", ".join(f"{name} = ?" for name in _STATE)
_ROW_VALUES: Final = ", ".join(_ROW)
_ROW_MARKS: Final = ", ".join("?" * len(_ROW))

_NEW_IN_2: Final = {"made_from": "attempts", "follows": "rows"}
"""Columns that a journal of version 1 lacks, each a list, by table."""
TO_VERSION_2: Final = "; ".join(
    f"ALTER TABLE {table} ADD COLUMN {name} TEXT NOT NULL DEFAULT '[]'"
    for name, table in _NEW_IN_2.items()
)


def attempt_columns(version: int) -> str:
    """What `attempt_from` reads, as a query of a journal of that version names it."""
    return ", ".join(["id", *(_known_to(version, name) for name in (*_INTENT, *_STATE))])


def row_columns(version: int) -> str:
    """The same for `row_from`."""
    return ", ".join(_known_to(version, name) for name in _ROW)


def _known_to(version: int, name: str) -> str:
    return f"'[]' AS {name}" if version < 2 and name in _NEW_IN_2 else name


def _values(record: Intent | State | RowRecord, names: Iterable[str]) -> list[Any]:
    """The columns of these names, in order."""
    return [_to_sql(getattr(record, name)) for name in names]


def attempt_from(values: tuple[Any, ...]) -> Attempt:
    """The attempt in a line of `attempt_columns`."""
    intent = dict(zip(_INTENT, values[1:], strict=False))
    state = dict(zip(_STATE, values[1 + len(_INTENT) :], strict=True))
    return Attempt(int(values[0]), _intent(intent), _state(state))


def row_from(values: tuple[Any, ...]) -> RowRecord:
    """The row in a line of `row_columns`."""
    row = dict(zip(_ROW, values, strict=True))
    follows = tuple(json.loads(row["follows"]))
    return RowRecord(**{**row, "cells": json.loads(row["cells"]), "follows": follows})


def _to_sql(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Clip):
        return json.dumps(asdict(value), ensure_ascii=False)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        plain = [asdict(each) if isinstance(each, MadeFrom) else each for each in value]
        return json.dumps(plain, ensure_ascii=False)
    return value


def _intent(column: dict[str, Any]) -> Intent:
    cost = column["est_cost"]
    return Intent(
        **{
            **column,
            "kind": Kind(column["kind"]),
            "generate_audio": bool(column["generate_audio"]),
            "return_last_frame": bool(column["return_last_frame"]),
            "est_cost": None if cost is None else Decimal(cost),
            "made_from": tuple(MadeFrom(**each) for each in json.loads(column["made_from"])),
        }
    )


def _state(column: dict[str, Any]) -> State:
    error_class, clip = column["error_class"], column["clip"]
    return State(
        **{
            **column,
            "phase": Phase(column["phase"]),
            "replayed": bool(column["replayed"]),
            "needs_look": bool(column["needs_look"]),
            "error_class": None if error_class is None else ErrorClass(error_class),
            "clip": None if clip is None else Clip(**json.loads(clip)),
        }
    )


# ── Facts: what a journal knows beside rows and attempts, each a named text in the table `meta` ───


@dataclass(frozen=True, slots=True)
class Facts:
    """What a journal knows about its run folder; None stands for what it does not know.

    As an operation's argument (`records.set_facts`): what to keep, None for what stays as it is.
    """

    folder_id: str | None = None
    """Drawn once; tells the folder from every other."""
    salt: str | None = None
    """Drawn once; goes into fingerprints of API keys and into callback tokens."""
    made_at: float | None = None
    """When the two were drawn; journals of earlier versions do not know it."""
    origin: str | None = None
    """The API that the folder belongs to."""
    manifest: str | None = None
    """The manifest's path, or ``-``."""
    manifest_name: str | None = None
    manifest_from_here: str | None = None
    """The path as seen from the run folder; empty where there is none, None in journals of earlier
    versions."""
    reading: tuple[str, ...] | None = None
    """The flags by which it was read, as words of a command line."""
    columns: tuple[str, ...] | None = None
    """The person's columns of the last-read manifest, in their order."""
    given_inputs: tuple[str, ...] | None = None
    """Inputs that the manifest has under other headings; see `columns.result_columns`."""
    mended: Mapping[str, Mapping[str, Any]] | None = None
    """By row key: what a row was ordered as since its failed sheet was fed back (``ordered``, a
    content, and ``cells``), while the manifest reads as before (``read``, a content). Of drafts
    also the ``draft``'s content, and what would be ``asked`` for as a final."""
    rows_digest: str | None = None
    """Tells whether the manifest's rows are those that are kept."""
    delimiter: str | None = None
    """The manifest's, where it is CSV: the sheets keep it."""
    prices_note: str | None = None
    max_cost: Decimal | None = None
    """The cap that was given last; infinite where it was lifted."""
    store: str | None = None
    """The address of the store that keeps the clips; None where the folder keeps them itself."""
    store_has: Mapping[str, str] | None = None
    """sha256 of the sheets and the page that were brought to the store last, by name."""
    sheets_written_from: str | None = None
    """What the sheets on disk were made from; see `batch.sheets`."""
    run_open: float | None = None
    """When the run began that is at work; 0 once it has ended, and its records are whole."""
    run_rows: int | None = None
    """How many attempts the run sees to their end that began last; for those who watch it."""
    log_lost_since: float | None = None
    """When the run began whose last records this journal has lost, or when the copy was made that
    it began as; 0 where none are missing."""
    lost_keys: tuple[str, ...] | None = None
    """Rows that may have been sent since then."""
    lost_after: int | None = None
    """The last attempt that was known then: a row with a later one of its kind is known again.
    None, or below 0, where any row may have been sent."""
    copied_by: str | None = None
    """Who made the copy that this journal began as; empty where the store had none."""
    lease_epoch: int | None = None
    """Of the store's lease, when this journal was last written under it."""


@dataclass(frozen=True, slots=True)
class KindFacts:
    """What a journal knows about the drafts alone, or about the finals; None as in `Facts`."""

    flags: Mapping[str, str] | None = None
    """Flags that changed all bodies, as an earlier version knew them."""
    made_with: Mapping[str, Mapping[str, str]] | None = None
    """Such flags for each order, by `order_name`, where they are others than those."""
    redone: Mapping[str, int] | None = None
    """The take of each row that was asked for anew last."""

    def flags_of(self, intent: Intent) -> Mapping[str, str]:
        """The flags that an order was made with."""
        order = order_name(intent.key, intent.number)
        return (self.made_with or {}).get(order, self.flags or {})


def order_name(key: str, number: int) -> str:
    """What `KindFacts.made_with` calls the order of a row's attempt."""
    return f"{key}\n{number}"


_TEXTS: Final = ("columns", "reading", "lost_keys")
_TIMES: Final = ("made_at", "run_open", "log_lost_since")
_TO_TEXT: Final[Mapping[str, Callable[[Any], str]]] = {
    **dict.fromkeys(_TIMES, lambda at: repr(at) if at else ""),
    **dict.fromkeys(("flags", "made_with", "redone", "mended", "store_has"), json.dumps),
    **dict.fromkeys(_TEXTS, lambda texts: json.dumps(texts, ensure_ascii=False)),
    "given_inputs": " ".join,
    "max_cost": lambda cap: str(cap) if cap.is_finite() else "none",
}
_FROM_TEXT: Final[Mapping[str, Callable[[str], Any]]] = {
    **dict.fromkeys(_TIMES, lambda text: float(text or 0)),
    **dict.fromkeys(("flags", "made_with", "redone", "mended", "store_has"), json.loads),
    **dict.fromkeys(_TEXTS, lambda text: tuple(json.loads(text))),
    "given_inputs": lambda text: tuple(text.split()),
    **dict.fromkeys(("run_rows", "lease_epoch", "lost_after"), int),
    "max_cost": lambda text: Decimal("Infinity" if text == "none" else text),
}
_KNOWN: Final = ", ".join(f"'{field.name}'" for field in fields(Facts))
FACTS: Final = f"SELECT name, value FROM meta WHERE name IN ({_KNOWN})"
"""The query whose answer `facts_from` takes."""


def texts_of(facts: Facts | KindFacts, kind: Kind | None = None) -> dict[str, str]:
    """The named texts that say what is known here; those of a kind are named after it."""
    known = {field.name: getattr(facts, field.name) for field in fields(facts)}
    return {
        name if kind is None else f"{name}.{kind}": _TO_TEXT.get(name, str)(value)
        for name, value in known.items()
        if value is not None
    }


def facts_from(texts: Iterable[tuple[str, str]]) -> Facts:
    """The facts that these named texts say."""
    return Facts(**{name: _FROM_TEXT.get(name, str)(text) for name, text in texts})


def kind_facts_from(texts: Iterable[tuple[str, str]], kind: Kind) -> KindFacts:
    """What these named texts say about one kind."""
    found = dict(texts)
    kept = {f.name: found.get(f"{f.name}.{kind}") for f in fields(KindFacts)}
    facts = {n: _FROM_TEXT[n](text) for n, text in kept.items() if text is not None}
    redone = _noted_earlier(found, kind) | facts.get("redone", {})
    return KindFacts(**facts | {"redone": redone})


def _noted_earlier(texts: Mapping[str, str], kind: Kind) -> dict[str, int]:
    """The takes that were asked for anew, as earlier versions noted them: list by list, the number
    of the take that was owed."""
    found: dict[str, int] = {}
    for name, text in texts.items():
        if name.startswith("redo.") and name.startswith("redo.draft.") is (kind is Kind.DRAFT):
            for key, owed in json.loads(text).items():
                found[key] = max(found.get(key, 0), owed - 1)
    return found


# ── What can be done to a journal, as values: functions to be run inside one transaction ──────────


T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]


def set_facts(facts: Facts) -> Operation[None]:
    """Keep what these facts say."""
    return _set_meta(texts_of(facts))


def set_kind_facts(kind: Kind, facts: KindFacts) -> Operation[None]:
    """Keep what these facts say about one kind."""
    return _set_meta(texts_of(facts, kind))


def _set_meta(texts: Mapping[str, str]) -> Operation[None]:
    def run(connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", texts.items())

    return run


def set_rows(rows: Collection[RowRecord], columns: Sequence[str]) -> Operation[None]:
    """Keep the manifest as it was just read, in place of the one before."""

    def run(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM rows")
        connection.executemany(
            f"INSERT INTO rows (position, {_ROW_VALUES}) VALUES (?, {_ROW_MARKS})",
            ((position, *_values(row, _ROW)) for position, row in enumerate(rows, 1)),
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
        f"INSERT INTO attempts ({_ATTEMPT_VALUES}) VALUES ({_ATTEMPT_MARKS})",
        (*_values(intent, _INTENT), *_values(state, _STATE)),
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
            ((a.intent.key_fingerprint, _to_sql(a.intent.est_cost), a.id) for a in attempts),
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
            f"UPDATE attempts SET {_STATE_ASSIGNMENTS} WHERE id = ?",
            (*_values(attempt.state, _STATE), attempt.id),
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
