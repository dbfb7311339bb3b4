"""The review page for others than its folder's: served from snapshots of the journal, and copied.

Takes no lock and writes nothing into the folder but marks and posters, so that a run never feels
who watches it.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
import threading
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from seedance_batch.batch.access import kept_clips
from seedance_batch.batch.sheets import folder_flags, offers_of, standing
from seedance_batch.batch.summary import relative
from seedance_batch.batch.takes import chosen_of
from seedance_batch.clips.stills import poster_name
from seedance_batch.core.attempt import UNDER_WAY_PHASES, Attempt, Clip
from seedance_batch.core.outcome import Outcome, tally
from seedance_batch.core.select import Selection
from seedance_batch.core.text import some
from seedance_batch.errors import EmptySelection, SeedanceBatchError, StoreAway, UsageError
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import glance_at, log_of, look_into
from seedance_batch.journal.records import Facts
from seedance_batch.page import page
from seedance_batch.page.marks import TakeMark, mark_values, read_marks, save_mark
from seedance_batch.progress import Course
from seedance_batch.publish import replacing, size_of
from seedance_batch.run_folder import RunFolder, holder_is_alive

_LEAST_PAUSE: Final = 0.5
"""Seconds between two looks at the journal."""
_TICK: Final = 0.1
"""Seconds; longer than the ticks of file systems' clocks that matter here."""
_SHARE: Final = 10
"""A look is followed by a pause so many times as long, so that a run keeps its CPU."""


@dataclass(slots=True)
class _Sheet:
    """The page's cards, each with the count of changes at which it was changed last."""

    rows: dict[str, page.PageRow] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    change: int = 0
    ordered: int = 0
    """The change at which rows came, went or moved last."""

    def take(self, rows: Sequence[page.PageRow]) -> None:
        """The cards as they are now."""
        fresh = {row.id: row for row in rows}
        other = [row.id for row in rows if self.rows.get(row.id) != row]
        moved = list(fresh) != list(self.rows)
        if not other and not moved:
            return
        self.change += 1
        self.ordered = self.change if moved else self.ordered
        self.changed = {key: self.changed.get(key, 0) for key in fresh}
        self.changed |= dict.fromkeys(other, self.change)
        self.rows = fresh

    def since(self, change: int) -> dict[str, Any]:
        """What changed after that."""
        rows = [self.rows[key] for key, at in self.changed.items() if at > change]
        order = list(self.rows) if self.ordered > change else None
        return {"at": self.change, "rows": rows, "order": order}


_MOST_COPIES: Final = 64
"""Clips of a store that are kept at hand while the page is served."""


class Showing:
    """One run folder on a served page; see `page.serving.Show`."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._posters = threading.Lock()
        self._fetching = threading.Lock()
        self._sheet = _Sheet()
        self._seen: object = None
        self._look_at = 0.0
        self._outcomes: list[Outcome] = []
        self._clips: dict[str, Clip] = {}
        self._files: frozenset[str] = frozenset()
        with look_into(folder.journal) as journal:  # checks it once, and raises for a damaged one
            self._facts = journal.facts()
            self._kept = kept_clips(folder, journal)
        self._copies: Path | None = None
        self._watched: list[str] = []
        self._look()

    # ── what `Show` promises ────────────────────────────────────────────────────────────────────

    def page(self) -> tuple[str, str]:
        """The whole page as it is now, and its policy."""
        marks = read_marks(self.folder.path)
        with self._lock:
            self._look()
            facts = self._facts
            title, note = facts.manifest_name or self.folder.path.name, facts.prices_note or ""
            data = {
                "store": page.store_name(self.folder.path, facts.folder_id or ""),
                "columns": facts.columns or (),
                "rows": list(self._sheet.rows.values()),
                "labels": page.labels(facts.columns or (), self._outcomes),
                "folder": shlex.quote(relative(self.folder.path)),
                "flags": folder_flags(facts),
                "refresh": None,
                "served": self._said() | {"at": self._sheet.change} | _marked(marks, 0),
            }
            words = page.page_words(title, self._outcomes, note)
        return page.page_html(data, words, served=True), page.policy(served=True)

    def news(self, rows: int, marks: int) -> Mapping[str, Any]:
        """What changed since."""
        with self._lock:
            self._look()
            # A page of another server that had this port: all that it shows is shown anew.
            changed = self._sheet.since(rows if rows <= self._sheet.change else 0) | self._said()
        return changed | _marked(read_marks(self.folder.path, marks), marks)

    def mark(self, key: str, take: str, said: dict[str, Any]) -> int:
        """Save what is said of a take."""
        with self._lock:
            row = self._sheet.rows.get(key)
        if row is None or take not in {row.take, *(each.take for each in row.takes)}:
            raise ValueError("there is no such take")
        return save_mark(self.folder.path, key, take, said).change

    def file(self, name: str) -> Path | None:
        """A clip, a returned frame, or a poster, which is made where it lacks."""
        with self._lock:
            clip = self._clips.get(name)
            if clip is None and name not in self._files:
                return None
        path = self.folder.path / name
        if clip is not None and not size_of(path):
            with self._posters:  # one at a time, so that a run keeps its CPU
                try:
                    self._kept.still(clip)
                except (OSError, StoreAway):  # a folder that is only to be read
                    return None
        if not size_of(path):
            return self._copy(name) if self._kept.store is not None else None
        # A link that somebody put in a clip's place leads nowhere else.
        inside = path.resolve().parent == path.parent.resolve()
        return path if inside else None

    def _copy(self, name: str) -> Path | None:
        """A copy of what the store has; the last few are kept, since a browser asks in pieces."""
        with self._fetching:
            if self._copies is None:
                self._copies = Path(tempfile.mkdtemp(prefix="seedance-batch-"))
                weakref.finalize(self, shutil.rmtree, self._copies, ignore_errors=True)
            if name not in self._watched:
                try:
                    if not self._kept.bring(name, self._copies / name):
                        return None
                except SeedanceBatchError:  # the store or the disk; the page shows that it lacks
                    return None
                self._watched.append(name)
                while len(self._watched) > _MOST_COPIES:
                    (self._copies / self._watched.pop(0)).unlink(missing_ok=True)
            return self._copies / name

    # ── snapshots ───────────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        """Read the journal where it changed; the caller holds the lock."""
        now = time.monotonic()
        if now < self._look_at:
            return
        seen = [_stamp(path) for path in (self.folder.journal, log_of(self.folder.journal))]
        is_fresh = any(time.time() - stamp[0] / 1e9 < _TICK for stamp in seen if stamp)
        if seen == self._seen:
            return
        with glance_at(self.folder.journal) as journal:
            self._facts, self._outcomes = journal.facts(), standing(journal)
            offers = offers_of(journal, self._outcomes)
        clips = {clip.file: clip for clip in page.films(self._outcomes)}
        here = self._kept.present(clips.values())
        there = {file: clip for file, clip in clips.items() if file in here}
        stills: dict[str, str | None] = {f: poster_name(clip) for f, clip in there.items()}
        frames = {clip.last_frame_file for clip in there.values()} - {None}
        self._clips = {poster_name(clip): clip for clip in there.values()}
        columns = self._facts.columns or ()
        self._files = frozenset([*there, *(frame for frame in frames if frame)])
        self._sheet.take(page.page_rows(columns, self._outcomes, stills, offers))
        # What is written in the same tick of the file system's clock changes no time of the file.
        self._seen = None if is_fresh else seen
        took = time.monotonic() - now
        self._look_at = now + took + max(_LEAST_PAUSE, _SHARE * took)

    def _said(self) -> dict[str, Any]:
        """What stands in the page's head."""
        columns = list(self._facts.columns or ())
        return {
            "sums": page.page_sums(tally(self._outcomes)),
            "course": self._course(),
            "columns": columns,
        }

    def _course(self) -> dict[str, Any] | None:
        """How the run goes that is at work, if one is."""
        began, now = self._facts.run_open, time.time()
        if not began or not holder_is_alive(self.folder):
            return None
        attempts = [a for outcome in self._outcomes for a in outcome.attempts]
        ours = [a for a in attempts if _is_of(a, began)]
        course = Course(self._facts.run_rows or len(ours), (), started=began, foretold=None)
        for attempt in ours:
            course.take(attempt)
        return {"rows": course.rows, "ended": course.ended, "words": course.words(now)}


def _is_of(attempt: Attempt, began: float) -> bool:
    """Whether the run that began then has to do with an attempt, or had."""
    state = attempt.state
    last = max(state.finished_at or 0.0, state.submitted_at or attempt.intent.planned_at)
    return last >= began or state.phase in UNDER_WAY_PHASES


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _marked(marks: Sequence[TakeMark], since: int) -> dict[str, Any]:
    """Marks as the page has them, and the count of their changes."""
    return {"marks": mark_values(marks), "marked": marks[-1].change if marks else since}


# ── A copy of the page for a client: a folder or a ZIP with the chosen clips, and no more ─────────
# It has what was chosen of the run folder and nothing that leads into it: no journal, no address,
# no task, no message of the service.


FRONT: Final = "index.html"


@dataclass(frozen=True, slots=True)
class ShareWish:
    """What a client may see."""

    selection: Selection
    prompts: bool
    """Whether prompts are shown; all other columns of the person's are, but for inputs."""
    costs: bool


def shared_copy(folder: RunFolder, journal: Journal, target: Path, wish: ShareWish) -> int:
    """Make the copy at ``target``, a new folder or a ``.zip``, whole or not at all; its clips.

    Raises `UsageError` where something is there already, `EmptySelection` where no chosen row has
    a clip, and ``OSError`` where the disk refuses.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} is there already.", hint="move it, or choose another name")
    if not target.parent.is_dir():
        raise UsageError(f"The folder {target.parent} does not exist.")
    facts = journal.facts()
    kept = kept_clips(folder, journal)
    found = chosen_of(standing(journal), facts.columns or (), wish.selection)
    shown = {o.key: o.shown.state.clip for o in found if o.shown and o.shown.state.clip}
    there = kept.present(shown.values())
    clips = {key: clip for key, clip in shown.items() if clip.file in there}
    if not clips:
        raise EmptySelection("No chosen row has a clip to share.")
    stills = {clip.file: poster_name(clip) if kept.still(clip) else None for clip in clips.values()}
    html = _shared_page(folder, facts, [o for o in found if o.key in clips], stills, wish)
    with _filling(target) as fill:
        for name in (*stills, *filter(None, stills.values())):
            with kept.at_hand(name) as home:
                fill(name, home / name)
        fill(FRONT, html)
    return len(clips)


def _shared_page(
    folder: RunFolder,
    facts: Facts,
    found: Sequence[Outcome],
    stills: Mapping[str, str | None],
    wish: ShareWish,
) -> str:
    columns = facts.columns or ()
    rows = page.page_rows(columns, found, stills)
    own, rows = page.for_others(columns, rows, prompts=wish.prompts, costs=wish.costs)
    takes = {(row.id, row.take) for row in rows}
    marks = [mark for mark in read_marks(folder.path) if (mark.key, mark.take) in takes]
    data = {
        "store": page.store_name(folder.path, f"shared {facts.folder_id}"),
        "columns": own,
        "rows": rows,
        "labels": [],
        "folder": "",
        "flags": [],
        "refresh": None,
        "shared": True,
        "marks": mark_values(marks),
    }
    words = page.page_words(facts.manifest_name or folder.path.name, found, facts.prices_note or "")
    if not wish.costs:
        words |= {"sums": some(len(rows), "clip"), "prices": ""}
    return page.page_html(data, words)


Fill: TypeAlias = Callable[[str, Path | str], None]
"""Takes a file, or a text, by its name in the copy."""


def _into_archive(archive: zipfile.ZipFile, name: str, content: Path | str) -> None:
    if isinstance(content, Path):
        archive.write(content, name)
    else:
        archive.writestr(name, content)


def _into_folder(folder: Path, name: str, content: Path | str) -> None:
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, place)
    else:
        place.write_text(content, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def _filling(target: Path) -> Iterator[Fill]:
    """What is filled becomes ``target`` if the block ends well, else vanishes."""
    if target.suffix.lower() == ".zip":
        with replacing(target) as temporary:
            # Clips and posters are compressed already.
            with zipfile.ZipFile(temporary, "w", strict_timestamps=False) as archive:
                yield partial(_into_archive, archive)
        return
    temporary = Path(tempfile.mkdtemp(prefix=".share.", dir=target.parent))
    try:
        yield partial(_into_folder, temporary)
        temporary.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
