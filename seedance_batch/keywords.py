"""The keyword options of a library call: their types for checkers, and the choices they make."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import (
    Any,
    Final,
    NamedTuple,
    TypeAlias,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
)

from seedance_batch.errors import SettingsError
from seedance_batch.model import Allow
from seedance_batch.reader import ReadOptions
from seedance_batch.select import Selection
from seedance_batch.settings import NO_CAP, RunSettings

Usd: TypeAlias = Decimal | float | int | str


class ReadKeywords(TypedDict, total=False):
    """How a manifest is read; see `seedance_batch.reader.ReadOptions`."""

    sheet: str | None
    encoding: str | None
    delimiter: str | None
    column_map: Mapping[str, str]
    model: str | None
    overrides: Mapping[str, object]
    allow: Allow | None
    allow_outside: bool
    max_body: int
    folder: Path | str | None


class RunKeywords(ReadKeywords, total=False):
    """Also which rows, and how they are run.

    See `seedance_batch.select.Selection` and `seedance_batch.settings.RunSettings`.
    """

    rows: str | None
    ids: Collection[str] | str | None
    where: str | None
    from_ids: Collection[str] | str | None
    sample: int | None
    sample_seed: int
    limit: int | None

    out: Path | str | None
    sandbox: bool
    sandbox_config: Path | str | None
    api_url: str | None
    price_file: Path | str | None
    concurrency: int | None
    rpm: float | None
    poll_interval: float
    downloads: int
    wait: float | None
    max_cost: Usd | None
    max_cost_per_row: Usd | None
    max_failures: int | None
    storage: str | None
    callback_url: str | None
    callback_bind: str | None
    name: str
    draft: bool
    remake: bool
    again: bool


class Choices(NamedTuple):
    """What the options of a call come to."""

    reading: ReadOptions
    settings: RunSettings
    selection: Selection


def choices(options: Mapping[str, Any], *, running: bool = True) -> Choices:
    """Sort a call's options. ``running`` False takes those of `ReadKeywords` alone.

    Raises `SettingsError` for an option that there is not, and for a value of another type than
    the option takes.
    """
    rooms: list[set[str]] = [
        {field.name for field in fields(room)} for room in (ReadOptions, RunSettings, Selection)
    ]
    _refuse_unknown(options, set().union(*rooms) if running else rooms[0])
    reading, settings, selection = (
        {name: _as_field(name, value) for name, value in options.items() if name in room}
        for room in rooms
    )
    return Choices(ReadOptions(**reading), RunSettings(**settings), Selection(**selection))


def _refuse_unknown(options: Mapping[str, Any], known: set[str]) -> None:
    odd = sorted(options.keys() - known)
    if not odd:
        return
    close = (difflib.get_close_matches(name, sorted(known), n=1) for name in odd)
    meant = ", ".join(repr(found[0]) for found in close if found)
    advice = f"; did you mean {meant}?" if meant else "."
    raise SettingsError(f"There is no option {', '.join(map(repr, odd))}{advice}")


_AMOUNTS: Final = frozenset({"max_cost", "max_cost_per_row"})
_PATHS: Final = frozenset({"out", "sandbox_config", "price_file", "folder"})
_LISTS: Final = frozenset({"ids", "from_ids"})


def _as_field(name: str, value: Any) -> Any:
    if name in _AMOUNTS:
        return None if value is None else _amount(name, value)
    check_type(name, value, _hints()[name])
    if value is None:
        return None
    if name in _PATHS:
        return Path(value)
    if name in _LISTS and isinstance(value, str):  # as the flag has it
        return [part.strip() for part in value.split(",") if part.strip()]
    if name == "overrides":  # 5 and "5" are the same order
        return {key: "" if each is None else str(each) for key, each in value.items()}
    return int(value) if _is(value, int) else value  # NumPy's are whole numbers too


def _amount(name: str, value: Any) -> Decimal:
    if name == "max_cost" and value == "none":
        return NO_CAP
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise SettingsError(f"{name}={value!r} is no amount of US dollars.")
    return amount


# ── types ───────────────────────────────────────────────────────────────────────────────────────


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raise `SettingsError` where a keyword's value is not what its type hint says."""
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if not any(_is(value, kind) for kind in kinds):
        *others, last = (_TAKES[kind] for kind in kinds)
        takes = f"{', '.join(others)} or {last}" if others else last
        raise SettingsError(f"{name} takes {takes}, not {reprlib.repr(value)}.")


@lru_cache(maxsize=1)
def _hints() -> dict[str, Any]:
    return get_type_hints(RunKeywords)


_TAKES: Final[Mapping[Any, str]] = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    Path: "a path",
    Allow: "an Allow",
    Collection[str]: "a list of texts",
    Mapping[str, str]: "a dict of texts",
    Mapping[str, object]: "a dict",
    type(None): "None",
}


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool) and kind in (int, float):
        return False
    if get_origin(kind) is Collection:
        return isinstance(value, Collection) and all(isinstance(each, str) for each in value)
    if get_origin(kind) is Mapping:
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and isinstance(each, get_args(kind)[1])
            for key, each in value.items()
        )
    return isinstance(value, _ALSO.get(kind, kind))


_ALSO: Final[Mapping[type, Any]] = {int: Integral, float: Real, Path: os.PathLike}
