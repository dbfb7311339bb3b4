"""Whose a run folder is, and what tells of its rows elsewhere: sheets, clips, other run folders."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path, PureWindowsPath
from typing import Final

from seedance_batch.batch.access import Site
from seedance_batch.batch.orders import first_name
from seedance_batch.core import names
from seedance_batch.core.manifest import Manifest, Told
from seedance_batch.core.plan import draft_job, draft_models
from seedance_batch.core.steps import Action, Plan, Step
from seedance_batch.errors import FolderMismatch, SeedanceBatchError
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import glance_at, look_into
from seedance_batch.journal.records import Facts
from seedance_batch.publish import replacing, sha256_of
from seedance_batch.reader.read import read_manifest
from seedance_batch.reader.source import STDIN, ReadOptions, is_address
from seedance_batch.run_folder import JOURNAL, RunFolder

# ── Whose a run folder is: one API's and one manifest's; anybody else is refused ──────────────────


def claim(journal: Journal, folder: RunFolder, manifest: Manifest, origin: str) -> None:
    """Make the folder this API's and this manifest's, unless it is another's."""
    check_claim(journal, folder, manifest, origin)
    if _is_free(journal) or journal.facts().origin != origin:
        facts = whereabouts(manifest, folder, Facts(origin=origin))
        journal.write(records.set_facts(facts))


def check_claim(journal: Journal, folder: RunFolder, manifest: Manifest, origin: str) -> None:
    """A run folder belongs to one API and one manifest; to none before its first run.

    Its manifest may lie elsewhere today, or be saved in another format: to send such a batch into
    a new folder would buy every row again.
    """
    if _is_free(journal):
        return
    facts = journal.facts()
    owner, former = facts.origin, facts.manifest or ""
    continued = former == manifest.path or continues(manifest, folder)
    if owner != origin and journal.attempts():
        whose = f"{owner}, not to {origin}; rows paid for there are not known here"
    elif not continued and not _is_the_same(journal, former, manifest):
        whose = f"the manifest {former}, which asks for other clips"
    else:
        return
    raise FolderMismatch(
        f"The run folder {folder.path} belongs to {whose}. Nothing was sent.",
        free=_beside(folder),
        manifest=manifest.path,
    )


def drop_unless_used(folder: RunFolder) -> None:
    """Remove a new journal that nobody agreed to a run in: where a former one is lost, none is
    plainer than an empty one, which sheets would be written from."""
    with contextlib.suppress(SeedanceBatchError, OSError):
        with look_into(folder.journal) as journal:
            unused = _is_free(journal)
        if unused:
            for path in folder.path.glob(f"{JOURNAL}*"):
                path.unlink()


def _is_free(journal: Journal) -> bool:
    """Whether nobody has agreed to a run here."""
    facts = journal.facts()
    return facts.origin is None or (facts.rows_digest is None and not journal.attempts())


def _is_the_same(journal: Journal, former: str, manifest: Manifest) -> bool:
    """Whether some row is the same order, or the same row; once the former file is gone, an edited
    one will do, known by its id.

    Ids alone tell nothing while the former lives: 1, 2, 3 are everybody's. Flags of the command
    make other orders of the same rows, and a draft is another order than its final.
    """
    rows = {row.key: row for row in journal.rows()}
    orders = {row.content for row in rows.values()}
    attempts = journal.attempts()
    orders |= {attempt.intent.content for attempt in attempts}
    models = draft_models(attempts)
    for job in manifest.jobs:
        if orders & {job.content, *(draft_job(job, model).content for model in models)}:
            return True
    named = [job for job in manifest.jobs if job.key in rows]
    if any(rows[job.key].cells == job.row.cells for job in named):
        return True
    return bool(named) and not is_there(former)


def is_there(manifest: str) -> bool:
    """Whether a manifest's file can still be seen; standard input cannot."""
    if is_address(manifest):
        return True  # as far as can be told without asking
    return manifest != STDIN and os.path.exists(manifest)  # noqa: PTH110 - never raises


def whereabouts(manifest: Manifest, folder: RunFolder, facts: Facts) -> Facts:
    """The facts, with where the manifest lies, also as seen from the run folder."""
    from_here = ""
    with contextlib.suppress(ValueError):  # on another drive
        if manifest.path != STDIN and not is_address(manifest.path):
            from_here = os.path.relpath(manifest.path, folder.path)
    return replace(
        facts,
        manifest=manifest.path,
        manifest_name=manifest.name,
        manifest_from_here=from_here,
    )


def manifest_of(journal: Journal, folder: RunFolder) -> str:
    """Where a run folder's manifest is today: where it was as seen from there, so that a project
    may be moved or copied; else where it was."""
    facts = journal.facts()
    recorded, from_here = facts.manifest or "", facts.manifest_from_here
    if from_here is None and not is_there(recorded):  # a journal of an earlier version
        name = PureWindowsPath(recorded).name if "\\" in recorded else Path(recorded).name
        from_here = str(Path("..", "..", name))
    moved = os.path.normpath(folder.path / from_here) if from_here else recorded
    return moved if os.path.isfile(moved) else recorded  # noqa: PTH113 - never raises


def check_table(journal: Journal, folder: RunFolder, manifest: Manifest) -> None:
    """Tables without a file share one folder where none is named: another table is refused.

    A table is another one when it lacks every row of the folder's.
    """
    if manifest.path != STDIN:
        return
    known = {row.key for row in journal.rows()}
    if known and known.isdisjoint(job.key for job in manifest.jobs):
        raise FolderMismatch(
            f"The run folder {folder.path} belongs to another table, with none of these rows. "
            "Name a folder for this table. Nothing was sent.",
            free=_beside(folder),
        )


def _beside(folder: RunFolder) -> str:
    """A folder that nothing was run in."""
    numbers = (folder.path.with_name(f"{folder.path.name}-{number}") for number in count(2))
    return str(next(path for path in numbers if not path.exists()))


def continues(manifest: Manifest, folder: RunFolder) -> bool:
    """A results sheet of ours, fed back from its own folder."""
    return Path(manifest.path).resolve().parent == folder.path


# ── Remembers, for this user, which run folders have sent rows, and which saved plans were used ───
# A table from a pipe has no place of its own: the same one, piped in another working directory,
# has another run folder. It holds paths and hashes, no prompts and no keys; without it nothing is
# lost but a warning, so that whatever the disk refuses is let go.


_LONGEST: Final = 256 * 1024
"""Bytes after which the oldest half is dropped."""
_MOST: Final = 100
"""Folders that are looked into, the latest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run folder that was about to send rows to an API, perhaps by a saved plan."""

    folder: str
    origin: str
    plan: str = ""


def note(folder: RunFolder, origin: str, plan: str = "") -> None:
    """Remember a run folder, before it sends anything."""
    entry = Entry(str(folder.path), origin, plan)
    with contextlib.suppress(OSError, ValueError):
        if entry in list(_entries()):
            return
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        _shorten(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{json.dumps(asdict(entry))}\n".encode())
        finally:
            os.close(descriptor)


def folders(origin: str) -> list[Path]:
    """Run folders that have sent rows to that API and are still there, the latest first."""
    found = dict.fromkeys(e.folder for e in reversed(list(_entries())) if e.origin == origin)
    return [Path(f) for f in found if RunFolder(Path(f)).exists()][:_MOST]


def used_in(plan: str) -> list[Path]:
    """The run folders that a saved plan was carried out in, as far as they are still there."""
    found = dict.fromkeys(e.folder for e in _entries() if plan and e.plan == plan)
    return [Path(f) for f in found if RunFolder(Path(f)).exists()]


def _entries() -> Iterator[Entry]:
    try:
        lines = _path().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            yield Entry(**json.loads(line))


def _shorten(path: Path) -> None:
    if path.exists() and path.stat().st_size > _LONGEST:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        with replacing(path) as temporary:
            temporary.write_text("".join(lines[len(lines) // 2 :]), encoding="utf-8")


def _path() -> Path:
    from platformdirs import user_state_path

    return user_state_path("seedance-batch", appauthor=False) / "run-folders.jsonl"


# ── What lies beside a journal and tells of rows that it does not know: sheets and clips ──────────


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


def sheets_are_own(folder: RunFolder, mark: str | None, made: float | None) -> bool:
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


# ── Run folders beside this one or elsewhere, and what was bought in them ─────────────────────────
# Looks only, and passes over what cannot be read.


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
    journals = tuple((path, _stamp(path)) for path in _neighbours(folder, elsewhere))
    if not journals:
        return None
    return _bought_in(journals, origin, frozenset(wanted.items()), frozenset(spellings.items()))


@functools.lru_cache(maxsize=1)
def _bought_in(
    journals: tuple[tuple[Path, object], ...],
    origin: str,
    wanted: frozenset[tuple[str, int]],
    spellings: frozenset[tuple[str, str]],
) -> Neighbour | None:
    """What `bought_beside` says. A command asks several times, and to open a hundred journals takes
    0.1 s: as long as all bear the same stamps, one look is enough."""
    orders, spelled = Counter(dict(wanted)), dict(spellings)
    found = list[Neighbour]()
    for path, _ in journals:
        with _passing_over_damage(), glance_at(path) as journal:
            facts = journal.facts()
            if facts.origin == origin:
                bought = Counter[str]()
                for content, count in journal.contents_bought().items():
                    bought[spelled.get(content, content)] += count
                same = bought & orders
                owner = facts.manifest or "-"
                found.append(Neighbour(path.parent, same.total(), owner, frozenset(same)))
    best = max(found, key=lambda each: each.orders, default=None)
    return best if best is not None and best.orders else None


def _stamp(path: Path) -> tuple[object, ...]:
    """Another one after each commit, which goes into the log before it goes into the journal."""
    found = list[object]()
    for file in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(OSError):
            state = file.stat()
            found.append((file.name, state.st_ino, state.st_size, state.st_mtime_ns))
    return tuple(found)


def _passing_over_damage() -> contextlib.AbstractContextManager[None]:
    return contextlib.suppress(SeedanceBatchError, OSError, ValueError)


def _neighbours(folder: RunFolder, elsewhere: Iterable[Path] = ()) -> Iterator[Path]:
    """The other journals, each once."""
    seen = {folder.path.resolve()}
    beside = sorted(folder.path.parent.glob(f"*/{JOURNAL}"))
    for path in (*beside, *(other / JOURNAL for other in elsewhere)):
        if not path.parent.is_symlink() and (place := path.parent.resolve()) not in seen:
            seen.add(place)
            yield path
