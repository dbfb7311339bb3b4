"""Run folders beside this one or elsewhere, and what was bought in them. Looks only, and minds no
damage."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from seedance_batch.folder import JOURNAL, RunFolder
from seedance_batch.journal import connect_to_look
from seedance_batch.state import Phase


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A run folder in which some of the same orders were sent."""

    path: Path
    orders: int
    manifest: str
    """Whose it is: a path, or ``-``."""
    contents: frozenset[str] = frozenset()
    """What these orders ask for."""


def ids_in_neighbours(folder: RunFolder) -> set[str]:
    """Task ids that journals beside this one hold: they are other rows' clips."""
    query = "SELECT task_id FROM attempts WHERE task_id IS NOT NULL"
    return {str(row[0]) for _, look in _looks(folder) for row in look(query)}


def bought_beside(
    folder: RunFolder, origin: str, wanted: Counter[str], elsewhere: Iterable[Path] = ()
) -> Neighbour | None:
    """The run folder of the same API that has sent most of these orders; None where none has any.

    It lies beside ``folder``, or is one of those ``elsewhere``. A manifest that was renamed has
    another run folder, where each of its rows is new. An order that failed, or never was sent, is
    not worth going there.
    """
    sent = "SELECT content, COUNT(*) FROM attempts WHERE phase NOT IN (?, ?) GROUP BY content"
    found = list[Neighbour]()
    for path, look in _looks(folder, elsewhere):
        meta: dict[str, str] = dict(
            look("SELECT name, value FROM meta WHERE name IN ('origin', 'manifest')")
        )
        if meta.get("origin") == origin:
            bought: Counter[str] = Counter(dict(look(sent, Phase.PLANNED, Phase.FAILED)))
            orders = bought & wanted
            owner = meta.get("manifest", "-")
            found.append(Neighbour(path, orders.total(), owner, frozenset(orders)))
    best = max(found, key=lambda each: each.orders, default=None)
    return best if best is not None and best.orders else None


Look = Callable[..., list[tuple[Any, ...]]]


def _looks(folder: RunFolder, elsewhere: Iterable[Path] = ()) -> Iterator[tuple[Path, Look]]:
    """Each neighbour's path, with what answers a query; nothing where it cannot be read."""
    seen = {folder.path.resolve()}
    beside = sorted(folder.path.parent.glob(f"*/{JOURNAL}"))
    for path in (*beside, *(other / JOURNAL for other in elsewhere)):
        if path.parent.is_symlink() or path.parent.resolve() in seen:
            continue
        seen.add(path.parent.resolve())
        with contextlib.suppress(sqlite3.Error, OSError):
            with contextlib.closing(connect_to_look(path)) as journal:
                yield path.parent, partial(_answer, journal)


def _answer(journal: sqlite3.Connection, query: str, *values: str) -> list[tuple[Any, ...]]:
    try:
        return journal.execute(query, values).fetchall()
    except sqlite3.Error:  # damaged, or no journal of ours
        return []
