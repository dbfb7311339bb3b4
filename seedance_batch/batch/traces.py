"""Finds what lies beside a journal and tells of rows that it does not know. Looks only."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from seedance_batch import names
from seedance_batch.batch.clip_names import first_name
from seedance_batch.errors import SeedanceBatchError
from seedance_batch.folder import RunFolder
from seedance_batch.journal import Journal
from seedance_batch.manifest import Told
from seedance_batch.plan import Action, Plan, Step
from seedance_batch.reader import ReadOptions, read

if TYPE_CHECKING:
    from seedance_batch.batch.batch import Batch

_TELLING: Final = ("results.jsonl", "results.csv")
_SUMMARY: Final = "summary.json"


def told_by_sheets(folder: RunFolder, journal: Journal) -> Mapping[str, Told]:
    """What the folder's results sheet says, where this journal did not write it as it is."""
    written = journal.sheet_hashes()
    for name in _TELLING:
        path = folder.path / name
        with contextlib.suppress(OSError):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest in written.get(name, "").split():
                return {}
            with contextlib.suppress(SeedanceBatchError):
                return read(path, ReadOptions()).told
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
        return made is not None and made <= max(_ages(folder), default=0.0)


def _ages(folder: RunFolder) -> Iterator[float]:
    for name in _TELLING:
        with contextlib.suppress(OSError):
            yield (folder.path / name).stat().st_mtime


def clips_of(batch: Batch, plan: Plan, *, listed: bool) -> Mapping[str, float]:
    """When the clip was written that lies where a new row's would, if no attempt has made it.

    Where the journal knows of no attempt at all, any clip may be any row's, unless sheets have
    ``listed`` whose they are.
    """
    home = batch.folder.path / names.FOLDERS[plan.kind]
    if not home.is_dir():
        return {}
    known = {name for a in plan.attempts for name in _files(a.state.file, a.state.clip)}
    steps = [step for step in plan.new if step.action is Action.NEW]
    if not (plan.attempts or listed) and (written := max(_written(home), default=None)) is not None:
        return dict.fromkeys((step.key for step in steps), written)
    return dict(_clips(batch, steps, known))


def _written(home: Path) -> Iterator[float]:
    for path in home.rglob("*"):
        if path.suffix in names.CLIP_ENDINGS:
            with contextlib.suppress(OSError):
                yield path.stat().st_mtime


def _clips(batch: Batch, steps: Iterable[Step], known: set[str]) -> Iterator[tuple[str, float]]:
    for step in steps:
        if step.job is not None:
            named = first_name(step.job, batch.settings.name, step.kind)
            stem = named.removesuffix(names.CLIP_ENDING)
            for file in {f"{stem}{ending}" for ending in names.CLIP_ENDINGS} - known:
                with contextlib.suppress(OSError):
                    yield step.key, (batch.folder.path / file).stat().st_mtime


def _files(named: str | None, clip: object) -> Iterator[str]:
    if named:
        yield named
    file = getattr(clip, "file", None)
    if file:
        yield str(file)


def made_at(journal: Journal) -> float | None:
    """When the run folder got its identity; None in a journal of an earlier version."""
    try:
        return float(journal.meta("made_at") or "")
    except ValueError:
        return None
