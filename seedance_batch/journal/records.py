"""How rows and attempts are laid out in SQLite: dataclasses to columns and back.

Column names are field names, so that a journal can be read with any SQLite shell.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from decimal import Decimal
from typing import Any, Final

from seedance_batch.core.attempt import Attempt, Clip, ErrorClass, Intent, Kind, Phase, State
from seedance_batch.core.outcome import RowRecord

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

ATTEMPT_VALUES: Final = ", ".join((*_INTENT, *_STATE))
ATTEMPT_COLUMNS: Final = f"id, {ATTEMPT_VALUES}"
ATTEMPT_MARKS: Final = ", ".join("?" * (len(_INTENT) + len(_STATE)))
STATE_ASSIGNMENTS: Final = ", ".join(f"{name} = ?" for name in _STATE)
ROW_COLUMNS: Final = ", ".join(_ROW)
ROW_MARKS: Final = ", ".join("?" * (len(_ROW) + 1))


def intent_values(intent: Intent) -> list[Any]:
    """An intent's columns, in order."""
    return [_to_sql(getattr(intent, name)) for name in _INTENT]


def state_values(state: State) -> list[Any]:
    """A state's columns, in order."""
    return [_to_sql(getattr(state, name)) for name in _STATE]


def row_values(row: RowRecord) -> list[Any]:
    """A row's columns, in order."""
    return [_to_sql(getattr(row, name)) for name in _ROW]


def attempt_from(values: tuple[Any, ...]) -> Attempt:
    """The attempt in a line of `ATTEMPT_COLUMNS`."""
    intent = dict(zip(_INTENT, values[1:], strict=False))
    state = dict(zip(_STATE, values[1 + len(_INTENT) :], strict=True))
    return Attempt(int(values[0]), _intent(intent), _state(state))


def row_from(values: tuple[Any, ...]) -> RowRecord:
    """The row in a line of `ROW_COLUMNS`."""
    row = dict(zip(_ROW, values, strict=True))
    return RowRecord(**{**row, "cells": json.loads(row["cells"])})


def amount(money: Decimal | None) -> str | None:
    """An amount's column."""
    return None if money is None else str(money)


def _to_sql(value: Any) -> Any:
    if isinstance(value, Decimal):
        return amount(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Clip):
        return json.dumps(asdict(value), ensure_ascii=False)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
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
