"""Finished clips of run folders as a data set: which of its files are missing, and making them.

Writes below the data set's own folder only. Whatever moment it dies at, the next call makes the
same files: all names follow from the samples and from the list of shards, which is written last.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final, TextIO

from filelock import FileLock, Timeout

from seedance_batch.batch.looking import add_columns
from seedance_batch.batch.samples import ClipsGone, ExportWish, Samples, gathered, room_for_samples
from seedance_batch.batch.takes import Lacking
from seedance_batch.clips.kept import Hands
from seedance_batch.core.clip_sets import DatasetFormat, Sample, Shard, sharded
from seedance_batch.errors import FolderInUse, UsageError
from seedance_batch.progress import bar_of
from seedance_batch.publish import replacing, size_of
from seedance_batch.run_folder import RunFolder, real, sweep_place
from seedance_batch.writer import shards as shard_files

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
    kept: int
    """Files that were there."""
    removed: tuple[str, ...]
    """Files of ours that are no part of it any more."""
    duplicates: int
    """Clips that another row had already."""
    left_out: tuple[Lacking, ...]
    """Chosen rows that have no clip."""
    troubles: tuple[Lacking, ...] = ()
    """Rows whose clips are in the set without columns that were asked for, and why."""

    @property
    def samples(self) -> int:
        """Clips in all splits."""
        return sum(self.splits.values())


def export_dataset(wish: ExportWish, stream: TextIO | None, hands: Hands | None = None) -> Exported:
    """Make what the data set lacks, with a bar on ``stream`` where it is a terminal.

    ``hands`` look at clips and write shards, where these lie on a disk.

    Raises `ClipsGone` unless ``skip_missing``, `EmptySelection` where no row has a clip,
    `FolderInUse` where another export goes on there, and `UsageError` for a place that will not do.
    """
    if wish.form is DatasetFormat.PARQUET:
        _check_parquet()
    _check_place(wish)
    with room_for_samples(), contextlib.closing(gathered(wish)) as samples:
        try:
            with _holding(wish):
                adds = wish.look or wish.judge is not None
                troubles = add_columns(wish, samples, stream, hands) if adds else []
                done = _completed(wish, samples, stream, hands)
                out = {each.key for each in done.left_out}
                return replace(done, troubles=tuple(t for t in troubles if t.key not in out))
        except OSError as error:
            raise UsageError(
                f"{wish.dest} cannot be written: {error.strerror or error}. What was made there is "
                "whole, and the same command makes the rest.",
                hint="make room there, or choose another place",
            ) from error


# ── files ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Files:
    """What became of each file of a data set."""

    made: list[str] = field(default_factory=list)
    kept: int = 0
    removed: list[str] = field(default_factory=list)


def _completed(
    wish: ExportWish, samples: Samples, stream: TextIO | None, hands: Hands | None
) -> Exported:
    if wish.form is DatasetFormat.HF:
        files = _folder_completed(wish, samples, stream)
    else:
        files = _shards_completed(wish, samples, stream, hands)
    return Exported(
        folder=wish.dest,
        form=wish.form,
        splits=samples.by_split(),
        bytes=samples.bytes(),
        made=tuple(files.made),
        kept=files.kept,
        removed=tuple(files.removed),
        duplicates=samples.duplicates,
        left_out=tuple(samples.left_out),
    )


def _leave_out(wish: ExportWish, samples: Samples, changed: Mapping[Sample, str]) -> None:
    """Leave out clips that cannot be taken. Raises `ClipsGone` unless that is wished."""
    if not wish.skip_missing:
        part = samples.part_of(next(iter(changed)))
        rows = [
            Lacking(samples.row_of(sample), reason)
            for sample, reason in changed.items()
            if samples.part_of(sample) == part
        ]
        raise ClipsGone(rows, wish.parts[part].folder)
    for sample, reason in changed.items():
        samples.drop(sample, reason)
    if not samples:
        raise samples.none_left()


def _shards_completed(
    wish: ExportWish, samples: Samples, stream: TextIO | None, hands: Hands | None
) -> _Files:
    write, ending = _WRITERS[wish.form]
    sizes: dict[str, int] = {}
    samples.made(_listed(wish.dest / SHARDS, sizes))
    files = _Files()
    with bar_of(len(samples), wish.dest.name, stream) as told:

        def is_lacking(name: str) -> bool:
            there = size_of(wish.dest / name)
            return there is None or sizes.get(name, there) != there

        if hands is not None and not samples.stores:
            files.made += _written_by(hands, wish, samples, is_lacking, told)

        def complete(shard: Shard) -> str:
            name = f"{shard.name}{ending}"
            if name in files.made:
                return name
            if is_lacking(name):
                with replacing(wish.dest / name) as temporary:
                    with samples.at_hand(shard.samples) as here:
                        write(temporary, here, told)
                files.made.append(name)
            else:
                told(len(shard.samples))
                files.kept += 1
            return name

        while (names := _in_turn(wish, samples, complete)) is None:
            files.kept = 0
    _write_list(wish, samples)
    for path in sorted(wish.dest.iterdir()):
        if _OUR_SHARD.fullmatch(path.name) and path.name not in names:
            path.unlink()
            files.removed.append(path.name)
    files.made = [name for name in files.made if name in names]
    return files


@dataclass(frozen=True, slots=True)
class ShardJob:
    """A shard to be written by whoever sees the data set's folder."""

    form: DatasetFormat
    path: str
    listed: str
    """The file that lists its samples: what is known of clips goes through no scheduler."""


def write_shard(job: ShardJob) -> bool:
    """Write a shard; False where a clip cannot be taken, which is told where it is written here."""
    samples = [Sample(**each) for each in json.loads(Path(job.listed).read_bytes())]
    try:
        # A name of its own until it is whole: another try, that is late, may write it too.
        with replacing(Path(job.path)) as temporary:
            _WRITERS[job.form][0](temporary, samples, lambda count: None)
    except shard_files.ClipChanged:
        return False
    return True


def _written_by(
    hands: Hands,
    wish: ExportWish,
    samples: Samples,
    is_lacking: Callable[[str], bool],
    told: Callable[[int], object],
) -> list[str]:
    """The shards that others have written of those that are lacking. The rest is written here."""
    made, ending = [], _WRITERS[wish.form][1]
    shards = (
        (f"{shard.name}{ending}", shard)
        for shard in sharded(samples.in_shards(), wish.shard_bytes)
        if is_lacking(f"{shard.name}{ending}")
    )
    place = (wish.dest / _UNDER_WAY).absolute()
    place.mkdir()
    while some := list(islice(shards, _SHARDS_AHEAD)):
        jobs = [ShardJob(wish.form, str(place / name), f"{place / name}.json") for name, _ in some]
        for job, (_, shard) in zip(jobs, some, strict=True):
            listed = [asdict(_absolute(sample)) for sample in shard.samples]
            Path(job.listed).write_text(json.dumps(listed), encoding="utf-8")
        written = hands.each(write_shard, jobs, within=_SHARD_WITHIN)
        for (name, shard), job, is_written in zip(some, jobs, written, strict=True):
            if is_written:
                with replacing(wish.dest / name) as temporary:
                    Path(job.path).replace(temporary)
                made.append(name)
                told(len(shard.samples))
    shutil.rmtree(place, ignore_errors=True)
    return made


def _absolute(sample: Sample) -> Sample:
    clip, poster = Path(sample.clip).absolute(), Path(sample.poster).absolute()
    return replace(sample, clip=str(clip), poster=str(poster))


_WRITERS: Final = {
    DatasetFormat.WEBDATASET: (shard_files.write_tar, ".tar"),
    DatasetFormat.PARQUET: (shard_files.write_parquet, ".parquet"),
}
_UNDER_WAY: Final = ".workers"
_SHARDS_AHEAD: Final = 64
"""Shards whose samples are listed for others."""
_SHARD_WITHIN: Final = 1_800.0
"""Seconds for a shard of 1 GB, on whatever disk."""


def _in_turn(
    wish: ExportWish, samples: Samples, complete: Callable[[Shard], str]
) -> set[str] | None:
    """Complete one shard after the other, and list it; None where clips were left out meanwhile."""
    names = set()
    samples.forget_entries()
    for shard in sharded(samples.in_shards(), wish.shard_bytes):
        try:
            name = complete(shard)
        except shard_files.ClipChanged as error:
            with samples.at_hand(shard.samples) as here:
                changed = shard_files.changed(here) | {error.sample: error.reason}
            reasons = {sample.sha256: reason for sample, reason in changed.items()}
            ours = {s: reasons[s.sha256] for s in shard.samples if s.sha256 in reasons}
            _leave_out(wish, samples, ours)
            return None
        names.add(name)
        entry = {
            "url": name,
            "split": shard.split,
            "nsamples": len(shard.samples),
            "filesize": size_of(wish.dest / name),
            "keys": [sample.key for sample in shard.samples],
        }
        samples.keep_entry(name, json.dumps(entry, ensure_ascii=False, indent=1))
    return names


def _write_list(wish: ExportWish, samples: Samples) -> None:
    """The list of shards, in the form that WebDataset's index files have, and their samples."""
    with (
        replacing(wish.dest / SHARDS) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as out,
    ):
        out.write(f'{{\n "wids_version": 1,\n "format": "{wish.form}",\n "shardlist": [')
        between = "\n"
        for entry in samples.entries():
            out.write(f"{between}{entry}".replace("\n", "\n  "))
            between = ",\n"
        out.write("\n ]\n}\n")


def _listed(path: Path, sizes: dict[str, int]) -> Iterator[list[str]]:
    """The keys of each shard in an earlier list, and into ``sizes`` how large it is; nothing where
    there is no list that can be read. Not all at once, since there may be a million keys.
    """
    decode = json.JSONDecoder().raw_decode
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        text = path.read_text(encoding="utf-8")
        at = text.index("[", text.index('"shardlist"')) + 1
        while text[at := _BETWEEN.match(text, at).end()] == "{":  # type: ignore[union-attr]
            each, at = decode(text, at)
            keys = [str(key) for key in each["keys"]]
            sizes[str(each["url"])] = int(each["filesize"])
            yield keys


_BETWEEN: Final = re.compile(r"[\s,]*")


def _folder_completed(wish: ExportWish, samples: Samples, stream: TextIO | None) -> _Files:
    files, home = _Files(), wish.dest / _CLIPS
    changed: dict[Sample, str] = {}
    with bar_of(len(samples), wish.dest.name, stream) as told:
        for split, group in groupby(samples.in_splits(), key=lambda sample: sample.split):
            place = home / split
            place.mkdir(parents=True, exist_ok=True)
            with (
                replacing(place / _METADATA) as temporary,
                temporary.open("w", encoding="utf-8") as out,
            ):
                for sample in group:
                    try:
                        fps = _copied(wish, samples, sample, files)
                        out.write(f"{shard_files.metadata_line(sample, fps)}\n")
                    except shard_files.ClipChanged as error:
                        changed[sample] = error.reason
                    told(1)
                if changed:
                    _leave_out(wish, samples, changed)
                    changed.clear()
    for place in sorted(home.iterdir()):
        if place.is_dir():
            _remove_others(wish.dest, place, samples, files)
    return files


def _file_name(sample: Sample) -> str:
    return f"{_CLIPS}/{sample.split}/{sample.key}{Path(sample.clip).suffix}"


def _copied(wish: ExportWish, samples: Samples, sample: Sample, files: _Files) -> float:
    """Copy a clip unless it is there, and tell its frame rate. Raises `ClipChanged`."""
    name = _file_name(sample)
    target = wish.dest / name
    if size_of(target) == sample.bytes:
        with contextlib.suppress(shard_files.ClipChanged):  # a copy that is damaged is made again
            fps = shard_files.clip_rate(sample, target)
            files.kept += 1
            return fps
    # The disk may forget it when power fails: its size then tells, and it is made again.
    with replacing(target, durable=False) as temporary, samples.at_hand([sample]) as (here,):
        fps = shard_files.copy_clip(here, temporary)
    files.made.append(name)
    return fps


def _remove_others(dest: Path, place: Path, samples: Samples, files: _Files) -> None:
    """Remove clips of ours that are no sample any more, and a split that has none."""
    is_split = place.name in samples.by_split()
    for path in sorted(place.iterdir()):
        name = path.relative_to(dest).as_posix()
        sample = samples.named(path.name.partition(".")[0])
        if sample is not None and _file_name(sample) == name:
            continue
        is_ours = _OUR_CLIP.fullmatch(path.name) or (path.name == _METADATA and not is_split)
        if is_ours and path.is_file():
            path.unlink()
            files.removed.append(name)
    with contextlib.suppress(OSError):  # somebody else's files are in it
        if not is_split:
            place.rmdir()


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
    dest = real(wish.dest)
    for folder in map(RunFolder, (dest, *dest.parents)):
        if folder.journal.exists():
            raise UsageError(
                f"{wish.dest} is in the run folder {folder.path}, which holds what was paid for.",
                hint="choose a folder beside it",
            )
    if not wish.dest.exists():
        return
    if not wish.dest.is_dir():
        raise UsageError(f"{wish.dest} is a file; a data set is a folder.")
    mark = _marked(wish.dest)
    form = mark.get("format")
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
    for flag, value in (("look", wish.look), ("judge", wish.judge)):
        if mark.get(flag) and not value:
            raise UsageError(
                f"{wish.dest} was made with --{flag}; without it every file would be made anew.",
                hint="give the same flags again, or choose an empty folder",
            )


def _marked(dest: Path) -> dict[str, Any]:
    """What a data set says of itself; empty where there is none."""
    try:
        mark = json.loads((dest / _MARK).read_bytes())
        return {**mark, "format": str(mark["format"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _mark_of(wish: ExportWish) -> dict[str, Any]:
    found: dict[str, Any] = {"version": 1, "format": wish.form}
    if wish.look:
        found["look"] = True
    if wish.judge is not None:
        found["judge"] = wish.judge.name
    return found


def _write_mark(wish: ExportWish) -> None:
    with replacing(wish.dest / _MARK) as temporary:
        temporary.write_text(f"{json.dumps(_mark_of(wish))}\n", encoding="utf-8")


@contextlib.contextmanager
def _holding(wish: ExportWish) -> Iterator[None]:
    """The place for this process alone, cleared of what a dead one left half written."""
    wish.dest.mkdir(parents=True, exist_ok=True)
    if not _marked(wish.dest):
        _write_mark(wish)
    try:
        with FileLock(wish.dest / _LOCK, timeout=0):
            if _marked(wish.dest) != _mark_of(wish):
                _write_mark(wish)
            for place in (wish.dest, *(wish.dest / _CLIPS).glob("*/")):
                sweep_place(place)
            shutil.rmtree(wish.dest / _UNDER_WAY, ignore_errors=True)
            yield
    except Timeout:
        raise FolderInUse(
            f"Another process is exporting to {wish.dest}; nothing was written."
        ) from None
