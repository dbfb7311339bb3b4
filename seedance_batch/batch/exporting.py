"""Finished clips of run folders as a data set: which samples, and which of its files are missing.

Reads journals and clips, and writes below the data set's own folder only. Whatever moment it dies
at, the next call makes the same files: all names follow from the samples and from the list of
shards, which is written last.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from filelock import FileLock, Timeout

from seedance_batch.batch.chosen import Lacking, absence, chosen_of, take_of
from seedance_batch.batch.sheets import standing
from seedance_batch.clips.posters import poster_name
from seedance_batch.core.attempt import Attempt, Clip, Kind, TakeName
from seedance_batch.core.dataset import DatasetFormat, Sample, Shard, Splits, sample_key, sharded
from seedance_batch.core.select import Selection
from seedance_batch.core.text import first_few, in_usd, some
from seedance_batch.errors import EmptySelection, FolderInUse, UsageError
from seedance_batch.journal.opening import look_into
from seedance_batch.progress import bar_of
from seedance_batch.publish import replacing, size_of
from seedance_batch.run_folder import RunFolder, sweep_place
from seedance_batch.writer import shards as shard_files
from seedance_batch.writer.lines import utc

SHARDS: Final = "shards.json"
"""The list of a data set's shards."""
_METADATA: Final = "metadata.jsonl"
"""Where a VideoFolder tells of the clips beside it."""
_CLIPS: Final = "data"
_MARK: Final = ".seedance-batch.json"
"""Written first: whose a folder is, and in which format."""
_LOCK: Final = ".lock"
_OUR_SHARD: Final = re.compile(r"[a-z]\w*-[0-9a-f]{16}\.(tar|parquet)", re.ASCII)
_OUR_CLIP: Final = re.compile(r".+-[0-9a-f]{12}\.\w+")
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class ExportPart:
    """A run folder, and which of its rows are meant."""

    folder: RunFolder
    selection: Selection = field(default_factory=Selection)


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


@dataclass(frozen=True, slots=True)
class Exported:
    """A data set as it is now."""

    folder: Path
    form: DatasetFormat
    splits: Mapping[str, int]
    """Samples of each split, by its name."""
    bytes: int
    """Of all its clips."""
    made: tuple[str, ...]
    """Files that were written now, relative to ``folder``."""
    kept: tuple[str, ...]
    """Files that were there."""
    removed: tuple[str, ...]
    """Files of ours that are no part of it any more."""
    duplicates: int
    """Clips that another row had already."""
    left_out: tuple[Lacking, ...]
    """Chosen rows that have no clip."""

    @property
    def samples(self) -> int:
        """Clips in all splits."""
        return sum(self.splits.values())


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


def export_dataset(wish: ExportWish, stream: TextIO | None) -> Exported:
    """Make what the data set lacks, with a bar on ``stream`` where it is a terminal.

    Raises `ClipsGone` unless ``skip_missing``, `EmptySelection` where no row has a clip,
    `FolderInUse` where another export goes on there, and `UsageError` for a place that will not do.
    """
    if wish.form is DatasetFormat.PARQUET:
        _check_parquet()
    _check_place(wish)
    gone: dict[str, str] = {}
    while True:
        gathered = _gathered(wish, gone)
        try:
            with _holding(wish):
                return _completed(wish, gathered, stream)
        except shard_files.ClipChanged as error:
            row, folder = gathered.origin[error.sample.sha256]
            if not wish.skip_missing:
                raise ClipsGone([Lacking(row, error.reason)], folder) from error
            gone[error.sample.sha256] = error.reason
        except OSError as error:
            raise UsageError(
                f"{wish.dest} cannot be written: {error.strerror or error}. What was made there is "
                "whole, and the same command makes the rest.",
                hint="make room there, or choose another place",
            ) from error


# ── samples ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Gathered:
    """The samples of all run folders; of equal clips the first one."""

    samples: dict[str, Sample] = field(default_factory=dict)
    """By the clip's sha256."""
    origin: dict[str, tuple[str, RunFolder]] = field(default_factory=dict)
    """The row and the folder of each of them."""
    left_out: list[Lacking] = field(default_factory=list)
    duplicates: int = 0


def _gathered(wish: ExportWish, gone: Mapping[str, str]) -> _Gathered:
    found, empty = _Gathered(), None
    for part in wish.parts:
        try:
            _add_folder(found, part, wish, gone)
        except EmptySelection as error:  # another folder may have such rows
            empty = error
    if not found.samples:
        if empty is not None and not found.left_out:
            raise empty
        chosen = some(len(found.left_out), "row")
        raise EmptySelection(f"None of {chosen} has a clip to export.")
    return found


def _add_folder(
    found: _Gathered, part: ExportPart, wish: ExportWish, gone: Mapping[str, str]
) -> None:
    folder = part.folder
    with look_into(folder.journal) as journal:
        every = standing(journal)
        columns = journal.columns()
    takes = {
        a.id: f"{a.intent.key} {TakeName(a.intent.kind, a.intent.number)}"
        for outcome in every
        for a in outcome.attempts
    }
    rows = [outcome for outcome in every if outcome.row is not None]
    missing = []
    for outcome in chosen_of(rows, columns, part.selection):
        attempt = take_of(outcome, wish.kind)
        clip = None if attempt is None else attempt.state.clip
        if attempt is None or clip is None:
            found.left_out.append(Lacking(outcome.key, absence(outcome, wish.kind)))
        elif clip.sha256 in found.samples:
            found.duplicates += 1
        elif (reason := gone.get(clip.sha256) or _fault(folder, clip)) is not None:
            missing.append(Lacking(outcome.key, reason))
        else:
            found.samples[clip.sha256] = _sample(folder, attempt, clip, wish, takes)
            found.origin[clip.sha256] = outcome.key, folder
    if missing and not wish.skip_missing:
        raise ClipsGone(missing, folder)
    found.left_out += missing


def _fault(folder: RunFolder, clip: Clip) -> str | None:
    """What one look at the clip's entry tells; its bytes are checked while they are copied."""
    there = size_of(folder.path / clip.file)
    if there is None:
        return f"{clip.file} is missing"
    return None if there == clip.bytes else f"{clip.file} is not the file that was downloaded"


def _sample(
    folder: RunFolder, attempt: Attempt, clip: Clip, wish: ExportWish, takes: Mapping[int, str]
) -> Sample:
    split, path = wish.splits.of(attempt.intent.key), folder.path / clip.file
    facts = _facts(attempt, clip, takes)
    if wish.form is DatasetFormat.PARQUET:  # the clip stays where it is
        facts["video_file"] = path.as_posix()
    key = sample_key(attempt.intent.key, clip.sha256)
    return Sample(
        key=key,
        split=split,
        clip=str(path),
        poster=str(folder.path / poster_name(clip)),
        sha256=clip.sha256,
        bytes=clip.bytes,
        facts=json.dumps({"key": key, "split": split, **facts}),
    )


def _facts(attempt: Attempt, clip: Clip, takes: Mapping[int, str]) -> dict[str, Any]:
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
        "made_from": [takes.get(each.attempt, each.link) for each in intent.made_from],
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


# ── files ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Files:
    """What became of each file of a data set."""

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def _completed(wish: ExportWish, gathered: _Gathered, stream: TextIO | None) -> Exported:
    samples = sorted(gathered.samples.values(), key=lambda sample: sample.key)
    complete = _folder_completed if wish.form is DatasetFormat.HF else _shards_completed
    files = complete(wish, samples, stream)
    return Exported(
        folder=wish.dest,
        form=wish.form,
        splits=dict(sorted(Counter(sample.split for sample in samples).items())),
        bytes=sum(sample.bytes for sample in samples),
        made=tuple(files.made),
        kept=tuple(files.kept),
        removed=tuple(files.removed),
        duplicates=gathered.duplicates,
        left_out=tuple(gathered.left_out),
    )


def _shards_completed(wish: ExportWish, samples: Sequence[Sample], stream: TextIO | None) -> _Files:
    files = _Files()
    is_tar = wish.form is DatasetFormat.WEBDATASET
    write, ending = (
        (shard_files.write_tar, ".tar") if is_tar else (shard_files.write_parquet, ".parquet")
    )
    before = _listed(wish.dest / SHARDS)
    shards = {
        f"{shard.name}{ending}": shard
        for shard in sharded(samples, [each["keys"] for each in before], wish.shard_bytes)
    }
    sizes = {each["url"]: each["filesize"] for each in before}
    lacking = {}
    for name, shard in sorted(shards.items()):
        there = size_of(wish.dest / name)
        if there is None or sizes.get(name, there) != there:
            lacking[name] = shard
        else:
            files.kept.append(name)
    count = sum(len(shard.samples) for shard in lacking.values())
    with bar_of(count, wish.dest.name, stream) as told:
        for name, shard in lacking.items():
            with replacing(wish.dest / name) as temporary:
                write(temporary, shard.samples, told)
            files.made.append(name)
    _write_list(wish, shards)
    for path in sorted(wish.dest.iterdir()):
        if _OUR_SHARD.fullmatch(path.name) and path.name not in shards:
            path.unlink()
            files.removed.append(path.name)
    return files


def _write_list(wish: ExportWish, shards: Mapping[str, Shard]) -> None:
    """The list of shards, in the form that WebDataset's index files have, and their samples."""
    entries = [
        {
            "url": name,
            "split": shard.split,
            "nsamples": len(shard.samples),
            "filesize": size_of(wish.dest / name),
            "keys": [sample.key for sample in shard.samples],
        }
        for name, shard in sorted(shards.items())
    ]
    content = {"wids_version": 1, "format": wish.form, "shardlist": entries}
    _publish(wish.dest / SHARDS, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _listed(path: Path) -> list[dict[str, Any]]:
    """The shards in an earlier list; none where there is no list that can be read."""
    try:
        entries = json.loads(path.read_bytes())["shardlist"]
        return [
            {
                "url": str(each["url"]),
                "filesize": int(each["filesize"]),
                "keys": [str(key) for key in each["keys"]],
            }
            for each in entries
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _folder_completed(wish: ExportWish, samples: Sequence[Sample], stream: TextIO | None) -> _Files:
    files, home = _Files(), wish.dest / _CLIPS
    rates = shard_files.known_rates(home.glob(f"*/{_METADATA}"))
    names = {f"{_CLIPS}/{s.split}/{s.key}{Path(s.clip).suffix}": s for s in samples}
    lacking = {n: s for n, s in names.items() if size_of(wish.dest / n) != s.bytes}
    with bar_of(len(lacking), wish.dest.name, stream) as told:
        for name, sample in names.items():
            if name not in lacking:
                files.kept.append(name)
                continue
            (wish.dest / name).parent.mkdir(parents=True, exist_ok=True)
            # The disk may forget it when power fails: its size then tells, and it is made again.
            with replacing(wish.dest / name, durable=False) as temporary:
                rates[sample.sha256] = shard_files.copy_clip(sample, temporary)
            files.made.append(name)
            told(1)
    by_split: dict[str, list[Sample]] = {}
    for sample in samples:
        by_split.setdefault(sample.split, []).append(sample)
    for split, group in by_split.items():
        lines = [
            shard_files.metadata_line(each, rates.get(each.sha256) or shard_files.clip_rate(each))
            for each in group
        ]
        _publish(home / split / _METADATA, "".join(f"{line}\n" for line in lines))
    for place in sorted(home.iterdir()):
        if place.is_dir():
            _remove_others(wish.dest, place, names, files, is_split=place.name in by_split)
    return files


def _remove_others(
    dest: Path, place: Path, names: Mapping[str, Sample], files: _Files, *, is_split: bool
) -> None:
    """Remove clips of ours that are no sample any more, and a split that has none."""
    for path in sorted(place.iterdir()):
        name = path.relative_to(dest).as_posix()
        is_ours = _OUR_CLIP.fullmatch(path.name) or (path.name == _METADATA and not is_split)
        if is_ours and path.is_file() and name not in names:
            path.unlink()
            files.removed.append(name)
    with contextlib.suppress(OSError):  # somebody else's files are in it
        if not is_split:
            place.rmdir()


def _publish(path: Path, text: str) -> None:
    """Write a text, unless it is there already."""
    content = text.encode("utf-8", "backslashreplace")
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return
    with replacing(path) as temporary:
        temporary.write_bytes(content)


# ── the place ───────────────────────────────────────────────────────────────────────────────────


def _check_parquet() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UsageError(
            "A Parquet table needs another package, pyarrow. Nothing was written.",
            hint="pip install 'seedance-batch[export]'",
        ) from None


def _check_place(wish: ExportWish) -> None:
    """Refuse a place where a data set would mix with something else."""
    dest = wish.dest.resolve()
    for folder in (part.folder for part in wish.parts):
        if dest.is_relative_to(folder.path.resolve()) or folder.path.resolve() == dest:
            raise UsageError(
                f"{wish.dest} is in the run folder {folder.path}, which holds what was paid for.",
                hint="choose a folder beside it",
            )
    if not wish.dest.exists():
        return
    if not wish.dest.is_dir():
        raise UsageError(f"{wish.dest} is a file; a data set is a folder.")
    form = _form_of(wish.dest)
    if form is None and any(path.name[0] != "." for path in wish.dest.iterdir()):
        raise UsageError(
            f"{wish.dest} holds other files, and no data set that was made by export.",
            hint="choose an empty folder, or one that does not exist yet",
        )
    if form not in {None, wish.form}:
        raise UsageError(
            f"{wish.dest} holds a data set in the format {form}, not {wish.form}.",
            hint=f"--format {form}",
        )


def _form_of(dest: Path) -> str | None:
    try:
        return str(json.loads((dest / _MARK).read_bytes())["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _holding(wish: ExportWish) -> Iterator[None]:
    """The place for this process alone, cleared of what a dead one left half written."""
    wish.dest.mkdir(parents=True, exist_ok=True)
    _publish(wish.dest / _MARK, json.dumps({"version": 1, "format": wish.form}) + "\n")
    try:
        with FileLock(wish.dest / _LOCK, timeout=0):
            for place in (wish.dest, *(wish.dest / _CLIPS).glob("*/")):
                sweep_place(place)
            yield
    except Timeout:
        raise FolderInUse(
            f"Another process is exporting to {wish.dest}; nothing was written."
        ) from None
