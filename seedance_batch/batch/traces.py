"""Finds what tells of rows that a journal does not know: sheets, clips, other folders."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seedance_batch.batch.access import Site
from seedance_batch.batch.orders import first_name
from seedance_batch.core import names
from seedance_batch.core.manifest import Told
from seedance_batch.core.plan.steps import Action, Plan, Step
from seedance_batch.errors import SeedanceBatchError
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import glance_at
from seedance_batch.publish import sha256_of
from seedance_batch.reader.read import read_manifest
from seedance_batch.reader.source import ReadOptions
from seedance_batch.run_folder import JOURNAL, RunFolder

# ── Finds what lies beside a journal and tells of rows that it does not know. Looks only ──────────


_TELLING: Final = ("results.jsonl", "results.csv")
_SUMMARY: Final = "summary.json"


def told_by_sheets(folder: RunFolder, journal: Journal) -> Mapping[str, Told]:
    """What the folder's results sheet says, where this journal did not write it as it is."""
    written = journal.sheet_hashes()
    for name in _TELLING:
        path = folder.path / name
        with contextlib.suppress(OSError):
            if sha256_of(path) in written.get(name, "").split():
                return {}
            with contextlib.suppress(SeedanceBatchError):
                return read_manifest(path, ReadOptions()).told
    return {}


def are_own(folder: RunFolder, mark: str | None, made: float | None) -> bool:
    """Whether the sheets were written from a journal of this mark, whose identity is that old.

    The summary says so. It is written last: before there is one, sheets that are younger than the
    identity are its own.
    """
    if mark is None:
        return False
    try:
        summary = json.loads((folder.path / _SUMMARY).read_text(encoding="utf-8"))
        return bool(summary["journal"] == mark)
    except (OSError, ValueError, KeyError, TypeError):
        ages = _ages(folder.path / name for name in _TELLING)
        return made is not None and made <= max(ages, default=0.0)


def _ages(paths: Iterable[Path]) -> Iterator[float]:
    """When the files among them that can be seen were written last."""
    for path in paths:
        with contextlib.suppress(OSError):
            yield path.stat().st_mtime


def clips_of(site: Site, plan: Plan, *, listed: bool) -> Mapping[str, float]:
    """When the clip was written that lies where a new row's would, if no attempt has made it.

    Where the journal knows of no attempt at all, any clip may be any row's, unless sheets have
    ``listed`` whose they are.
    """
    home = site.folder.path / names.FOLDERS[plan.kind]
    if not home.is_dir():
        return {}
    known = {a.state.file for a in plan.attempts}
    known |= {a.state.clip.file for a in plan.attempts if a.state.clip}
    steps = [step for step in plan.new if step.action is Action.NEW]
    clips = (path for path in home.rglob("*") if path.suffix in names.CLIP_ENDINGS)
    if not (plan.attempts or listed) and (written := max(_ages(clips), default=None)) is not None:
        return dict.fromkeys((step.key for step in steps), written)
    return dict(_clips(site, steps, known))


def _clips(
    site: Site, steps: Iterable[Step], known: set[str | None]
) -> Iterator[tuple[str, float]]:
    for step in steps:
        if step.job is not None:
            named = first_name(step.job, site.settings.name, step.kind)
            stem = named.removesuffix(names.CLIP_ENDING)
            for file in {f"{stem}{ending}" for ending in names.CLIP_ENDINGS} - known:
                for written in _ages([site.folder.path / file]):
                    yield step.key, written


# ── Run folders beside this one or elsewhere, and what was bought in them. Looks only, and passes ─
# over what cannot be read.


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
    found = set[str]()
    for path in _neighbours(folder):
        with _passing_over_damage(), glance_at(path) as journal:
            found |= journal.task_ids()
    return found


def bought_beside(
    folder: RunFolder,
    origin: str,
    wanted: Counter[str],
    spellings: Mapping[str, str],
    elsewhere: Iterable[Path],
) -> Neighbour | None:
    """The run folder of the same API that has sent most of these orders; None where none has any.

    It lies beside ``folder``, or is one of those ``elsewhere``. A manifest that was renamed has
    another run folder, where each of its rows is new. An order that failed, or never was sent, is
    not worth going there. ``spellings`` maps contents that are the same order to the wanted one.
    """
    found = list[Neighbour]()
    for path in _neighbours(folder, elsewhere):
        with _passing_over_damage(), glance_at(path) as journal:
            facts = journal.facts()
            if facts.origin == origin:
                bought = Counter[str]()
                for content, count in journal.contents_bought().items():
                    bought[spellings.get(content, content)] += count
                orders = bought & wanted
                owner = facts.manifest or "-"
                found.append(Neighbour(path.parent, orders.total(), owner, frozenset(orders)))
    best = max(found, key=lambda each: each.orders, default=None)
    return best if best is not None and best.orders else None


def _passing_over_damage() -> contextlib.AbstractContextManager[None]:
    return contextlib.suppress(SeedanceBatchError, OSError, ValueError)


def _neighbours(folder: RunFolder, elsewhere: Iterable[Path] = ()) -> Iterator[Path]:
    """The other journals, each once."""
    seen = {folder.path.resolve()}
    beside = sorted(folder.path.parent.glob(f"*/{JOURNAL}"))
    for path in (*beside, *(other / JOURNAL for other in elsewhere)):
        if not path.parent.is_symlink() and path.parent.resolve() not in seen:
            seen.add(path.parent.resolve())
            yield path
