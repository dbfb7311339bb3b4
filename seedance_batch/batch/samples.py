"""What a data set is made of: the finished clips of run folders, as samples.

Reads journals and looks at clips. There may be a million samples, so they are kept in a file.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from seedance_batch.batch.access import kept_clips
from seedance_batch.batch.sheets import standing
from seedance_batch.batch.takes import Lacking, absence, chosen_of, take_of
from seedance_batch.clips.kept import KeptClips
from seedance_batch.clips.stills import poster_name
from seedance_batch.core.attempt import Attempt, Clip, Intent, Kind
from seedance_batch.core.clip_sets import DatasetFormat, Sample, Splits, sample_key
from seedance_batch.core.outcome import Status, blocked_by, is_dead_end, outcomes
from seedance_batch.core.select import Selection, meant_ids
from seedance_batch.core.text import first_few, in_usd, some
from seedance_batch.errors import EmptySelection, UsageError
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import look_into
from seedance_batch.publish import size_of
from seedance_batch.run_folder import RunFolder
from seedance_batch.writer.lines import utc

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class ExportPart:
    """A run folder, and which of its rows are meant."""

    folder: RunFolder
    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True, slots=True)
class ClipJudge:
    """A function of a person's own that is asked about each clip."""

    name: str
    """``module:function``."""
    ask: Callable[[Path, dict[str, Any]], Mapping[str, Any]]
    """A clip's path and what is known of it, to columns of one's own."""
    version: str
    """Changes with the file in which it is."""


@dataclass(frozen=True, slots=True)
class ExportWish:
    """What was asked for."""

    parts: tuple[ExportPart, ...]
    dest: Path
    form: DatasetFormat = DatasetFormat.WEBDATASET
    splits: Splits = field(default_factory=lambda: Splits.parse("train=100"))
    kind: Kind = Kind.FINAL
    skip_missing: bool = False
    shard_bytes: int = 10**9
    look: bool = False
    """Whether columns are added that tell how each clip looks."""
    judge: ClipJudge | None = None


class ClipsGone(UsageError):
    """Clips that are done are missing on disk or are other files; ``rows`` names them all."""

    def __init__(self, rows: Sequence[Lacking], folder: RunFolder) -> None:
        named = first_few([f"{each.key} ({each.reason})" for each in rows], _NAMED)
        super().__init__(
            f"{some(len(rows), 'clip')} in {folder.path} cannot be taken: {named}. The data set is "
            "not finished; --skip-missing leaves them out.",
            hint=f"seedance-batch fetch {shlex.quote(str(folder.path))}",
        )
        self.rows = tuple(rows)


# ── Samples in a file, which vanishes with them ─────────────────────────────────────────────────


class Samples:
    """The samples of a data set, of equal clips the first one, and which shards had them before.

    SQLite keeps them: in its own temporary file, with a few MB of it in memory.
    """

    def __init__(self) -> None:
        self.left_out: list[Lacking] = []
        """Chosen rows that have no clip."""
        self.duplicates = 0
        """Clips that another row had already."""
        self.stores: list[KeptClips] = []
        """Those of the run folders' clips that are in a store."""
        self._kept = sqlite3.connect("", isolation_level=None)
        self._kept.executescript(_SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        self._kept.close()

    def none_left(self) -> EmptySelection:
        """What to raise where there is no sample."""
        chosen = some(len(self.left_out), "row")
        return EmptySelection(f"None of {chosen} has a clip to export.")

    def __contains__(self, sha256: str) -> bool:
        return bool(self._all("SELECT 1 FROM samples WHERE sha256 = ?", sha256))

    def __len__(self) -> int:
        ((count,),) = self._all("SELECT count(*) FROM samples")
        return int(count)

    def add(self, sample: Sample, row: str, part: int) -> None:
        """Keep a sample, and where it comes from."""
        texts = (sample.key, sample.clip, sample.poster, row)
        values = (sample.sha256, sample.split, sample.bytes, sample.facts, part, *map(_kept, texts))
        self._kept.execute("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def know(self, sample: Sample, more: Mapping[str, Any]) -> None:
        """Add to what is known of a sample."""
        facts = json.dumps({**json.loads(sample.facts), **more})
        query = "UPDATE samples SET facts = ? WHERE sha256 = ?"
        self._kept.execute(query, (facts, sample.sha256))

    def drop(self, sample: Sample, reason: str) -> None:
        """Leave a sample out after all."""
        self.left_out.append(Lacking(self.row_of(sample), reason))
        self._kept.execute("DELETE FROM samples WHERE sha256 = ?", (sample.sha256,))

    @contextlib.contextmanager
    def at_hand(self, some: Sequence[Sample]) -> Iterator[list[Sample]]:
        """These samples with their clips on this disk, for the length of a block: those of a store
        as copies. Raises `StoreAway`."""
        if not self.stores:
            yield list(some)
            return
        with tempfile.TemporaryDirectory(prefix="seedance-batch-") as home:
            yield [self._brought(sample, Path(home)) for sample in some]

    def _brought(self, sample: Sample, home: Path) -> Sample:
        path = Path(sample.clip)
        for kept in self.stores:
            if path.is_relative_to(kept.folder):
                copy = home / f"{sample.sha256}{path.suffix}"
                kept.bring(path.relative_to(kept.folder).as_posix(), copy)
                return replace(sample, clip=str(copy))
        return sample

    def row_of(self, sample: Sample) -> str:
        """The id of the row that a sample comes from."""
        ((row,),) = self._all("SELECT id FROM samples WHERE sha256 = ?", sample.sha256)
        return _text(row)

    def part_of(self, sample: Sample) -> int:
        """The position of the wish's part that a sample comes from."""
        ((part,),) = self._all("SELECT part FROM samples WHERE sha256 = ?", sample.sha256)
        return int(part)

    def named(self, key: str) -> Sample | None:
        """The sample that has this name."""
        found = self._all(f"{_SELECT} FROM samples WHERE key = ?", _kept(key))
        return _sample_from(found[0]) if found else None

    def by_split(self) -> dict[str, int]:
        """How many samples each split has."""
        return dict(self._all("SELECT split, count(*) FROM samples GROUP BY split ORDER BY split"))

    def bytes(self) -> int:
        """Of all clips."""
        ((found,),) = self._all("SELECT coalesce(sum(bytes), 0) FROM samples")
        return int(found)

    def in_splits(self) -> Iterator[Sample]:
        """All samples, by split and name."""
        return map(_sample_from, self._each(f"{_SELECT} FROM samples ORDER BY split, key"))

    def in_shards(self) -> Iterator[tuple[int | None, Sample]]:
        """All samples, in the order that `clip_sets.sharded` wants, each with its former shard."""
        query = (
            f"{_SELECT}, shard FROM samples LEFT JOIN made USING (key) "
            "ORDER BY shard IS NULL, shard, split, key"
        )
        return ((shard, _sample_from(values)) for *values, shard in self._each(query))

    def made(self, shards: Iterable[Iterable[str]]) -> None:
        """Tell which samples former shards have, by name; a name counts where it comes first."""
        names = ((_kept(key), shard) for shard, keys in enumerate(shards) for key in keys)
        self._kept.executemany("INSERT OR IGNORE INTO made VALUES (?, ?)", names)

    def keep_entry(self, shard: str, entry: str) -> None:
        """Keep a shard's entry for the list of shards."""
        self._kept.execute("INSERT INTO listed VALUES (?, ?)", (shard, _kept(entry)))

    def forget_entries(self) -> None:
        """Forget all entries."""
        self._kept.execute("DELETE FROM listed")

    def entries(self) -> Iterator[str]:
        """The entries, by the names of the shards."""
        query = "SELECT entry FROM listed ORDER BY shard"
        return (_text(entry) for (entry,) in self._each(query))

    def _all(self, query: str, *values: object) -> list[Any]:
        return self._kept.execute(query, values).fetchall()

    def _each(self, query: str) -> Iterator[Any]:
        return iter(self._kept.execute(query))


_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -8000;
PRAGMA temp_store = FILE;
CREATE TABLE samples (
    sha256 TEXT PRIMARY KEY, split TEXT, bytes INTEGER, facts TEXT, part INTEGER,
    key BLOB, clip BLOB, poster BLOB, id BLOB
) STRICT;
CREATE INDEX samples_by_key ON samples (key);
CREATE TABLE made (key BLOB PRIMARY KEY, shard INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE listed (shard TEXT PRIMARY KEY, entry BLOB) STRICT;
"""
_SELECT: Final = "SELECT key, split, clip, poster, sha256, bytes, facts"


def _kept(text: str) -> bytes:
    """As SQLite takes every text, and orders it as Python does: half a surrogate pair too."""
    return text.encode("utf-8", "surrogatepass")


def _text(kept: bytes) -> str:
    return kept.decode("utf-8", "surrogatepass")


def _sample_from(values: Sequence[Any]) -> Sample:
    key, split, clip, poster, *rest = values
    return Sample(_text(key), split, _text(clip), _text(poster), *rest)


@contextlib.contextmanager
def room_for_samples() -> Iterator[None]:
    """Where the samples' file cannot be written, say so. Raises `UsageError`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UsageError(
            f"The samples' list, about 1 KB for each, cannot be kept in the system's folder for "
            f"temporary files: {error}. The data set is not finished.",
            hint="make room there, or name another folder: export SQLITE_TMPDIR=/large/disk",
        ) from error


# ── From journals to samples ────────────────────────────────────────────────────────────────────


def kept_of(wish: ExportWish) -> KeptClips:
    """The clips of the first run folder. Raises as `kept_clips`."""
    folder = wish.parts[0].folder
    with look_into(folder.journal) as journal:
        return kept_clips(folder, journal)


def gathered(wish: ExportWish) -> Samples:
    """The samples of all run folders.

    Raises `ClipsGone` unless ``skip_missing``, and `EmptySelection` where no row has a clip.
    """
    found, empty = Samples(), None
    try:
        for number, part in enumerate(_each_its_own(wish.parts)):
            try:
                _add_folder(found, number, part, wish)
            except EmptySelection as error:  # another folder may have such rows
                empty = error
        if not found:
            raise empty if empty is not None and not found.left_out else found.none_left()
    except BaseException:
        found.close()
        raise
    return found


def _add_folder(found: Samples, number: int, part: ExportPart, wish: ExportWish) -> None:
    folder = part.folder
    lacking: list[Lacking] = []
    missing: list[Lacking] = []
    dead_ends: list[str] = []
    waiting: dict[str, tuple[str, ...]] = {}
    with look_into(folder.journal) as journal:
        kept = kept_clips(folder, journal)
        listed = None if kept.store is None else kept.listed()
        if listed is not None:
            found.stores.append(kept)
        chosen = _chosen(journal, part.selection)
        for row, attempts in journal.histories():
            (outcome,) = outcomes([row], attempts)
            if is_dead_end(outcome):
                dead_ends.append(row.key)
            if row.follows and outcome.status is Status.NEW:
                waiting[row.key] = row.follows
            if chosen is not None:
                if row.key not in chosen:
                    continue
                meant = chosen[row.key]
                outcome = replace(outcome, attempts=tuple(a for a in attempts if a.id in meant))
            attempt = take_of(outcome, wish.kind)
            clip = None if attempt is None else attempt.state.clip
            if attempt is None or clip is None:
                lacking.append(Lacking(outcome.key, absence(outcome, wish.kind)))
            elif clip.sha256 in found:
                found.duplicates += 1
            elif (reason := _fault(folder.path / clip.file, clip, listed)) is not None:
                missing.append(Lacking(outcome.key, reason))
            else:
                found.add(_sample(attempt, clip, kept, wish, journal), row.key, number)
    if missing and not wish.skip_missing:
        raise ClipsGone(missing, folder)
    blocked = blocked_by(dead_ends, waiting)
    found.left_out += (
        replace(each, reason=Status.BLOCKED.value) if each.key in blocked else each
        for each in lacking
    )
    found.left_out += missing


def _chosen(journal: Journal, selection: Selection) -> Mapping[str, Collection[int]] | None:
    """The rows that are meant, and which of their attempts; None for all of them."""
    if selection == Selection():
        return None
    rows = [outcome for outcome in standing(journal) if outcome.row is not None]
    chosen = chosen_of(rows, journal.columns(), selection)
    return {outcome.key: {attempt.id for attempt in outcome.attempts} for outcome in chosen}


def _each_its_own(parts: Sequence[ExportPart]) -> Sequence[ExportPart]:
    """Of ids that are named for several folders, each folder's own. Raises `UsageError` for an id
    that none of them has."""
    if len(parts) == 1 or not any(p.selection.ids or p.selection.from_ids for p in parts):
        return parts
    known = [_keys(part.folder) for part in parts]
    every = frozenset().union(*known)
    for part in parts:
        for flag, ids in (("--ids", part.selection.ids), ("--from", part.selection.from_ids)):
            if unknown := set(meant_ids(ids or (), every).values()) - every:
                raise UsageError(f"{flag}: no row of these folders has the id {min(unknown)}.")
    return [_own(part, keys) for part, keys in zip(parts, known, strict=True)]


def _keys(folder: RunFolder) -> frozenset[str]:
    with look_into(folder.journal) as journal:
        return frozenset(row.key for row in journal.rows())


def _own(part: ExportPart, keys: Collection[str]) -> ExportPart:
    def own(ids: Collection[str] | None) -> Collection[str] | None:
        return (
            None if ids is None else [key for key in meant_ids(ids, keys).values() if key in keys]
        )

    selection = part.selection
    narrowed = replace(selection, ids=own(selection.ids), from_ids=own(selection.from_ids))
    return replace(part, selection=narrowed)


def _fault(path: Path, clip: Clip, listed: Mapping[str, int] | None) -> str | None:
    """What one look at the clip's entry tells; its bytes are checked while they are copied.

    ``listed``: name → bytes of what is in the folder's store, if it has one.
    """
    there = size_of(path) if listed is None else listed.get(clip.file)
    if there is None:
        return f"{clip.file} is missing"
    return None if there == clip.bytes else f"{clip.file} is not the file that was downloaded"


def _sample(
    attempt: Attempt, clip: Clip, kept: KeptClips, wish: ExportWish, journal: Journal
) -> Sample:
    intent, path = attempt.intent, kept.folder / clip.file
    split, key = wish.splits.of(intent.key), sample_key(intent.key, clip.sha256)
    facts = _facts(attempt, clip, _sources(intent, journal))
    if wish.form is DatasetFormat.PARQUET:  # the clip stays where it is
        lies = path.as_posix() if kept.store is None else kept.store.address(clip.file)
        facts["video_file"] = lies
    return Sample(
        key=key,
        split=split,
        clip=str(path),
        poster=str(kept.folder / poster_name(clip)),
        sha256=clip.sha256,
        bytes=clip.bytes,
        facts=json.dumps({"key": key, "split": split, **facts}),
    )


def _sources(intent: Intent, journal: Journal) -> Iterator[str]:
    """The takes that a take was made from, as ``<row> final 2``."""
    for each in intent.made_from:
        take = journal.take(each.attempt)
        yield each.link if take is None else f"{take[0]} {take[1]}"


def _facts(attempt: Attempt, clip: Clip, made_from: Iterable[str]) -> dict[str, Any]:
    """What the journal knows of a clip; its frame rate is measured when it is written."""
    intent, state = attempt.intent, attempt.state
    inputs = dict(intent.asked["input"])
    prompt = inputs.pop("prompt", "")
    return {
        "id": intent.key,
        "kind": intent.kind,
        "attempt": intent.number,
        "prompt": prompt,
        "inputs": inputs,
        "model": intent.model,
        "task_id": state.task_id,
        "made_from": list(made_from),
        "sha256": clip.sha256,
        "bytes": clip.bytes,
        "seconds": round(clip.seconds, 3),
        "width": clip.width,
        "height": clip.height,
        "fps": None,
        "audio": clip.has_audio,
        "est_cost_usd": in_usd(intent.est_cost),
        "submitted_at": utc(state.submitted_at),
        "finished_at": utc(state.finished_at),
    }
