"""Columns of a data set that follow from its clips: how they look, and what one's own judge says.

What was found is kept beside the data set by the clips' sha256, so that each clip is looked at
once. A fault of a clip or of the judge is told with its row, and costs that row's columns alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TextIO

from seedance_batch.batch.samples import ClipJudge, ExportWish, Samples
from seedance_batch.batch.takes import Lacking
from seedance_batch.clips.kept import Hands, Here
from seedance_batch.clips.media import Appearance, MediaUnreadable, appearance_of
from seedance_batch.core.clip_sets import MOST_APART, Sample, apart, hash_parts
from seedance_batch.errors import UsageError
from seedance_batch.progress import bar_of
from seedance_batch.publish import replacing, sha256_of

_CACHE: Final = ".looks.jsonl"
_AT_ONCE: Final = 64
"""Clips whose looks are in memory."""


def judge_named(text: str) -> ClipJudge:
    """Import ``module:function``, also from the current folder. Raises `UsageError`."""
    try:
        with _from_here():
            ask = pkgutil.resolve_name(text)
    except Exception as error:  # whatever a module does when it is imported
        raise UsageError(
            f"--judge {text!r} cannot be used: {type(error).__name__}: {error}. "
            "Nothing was written.",
            hint="--judge module:function, a function of a clip's path and its record",
        ) from error
    return judge_of(ask, text)


def judge_of(ask: Any, name: str = "") -> ClipJudge:
    """A function as a judge. Raises `UsageError` where it is none."""
    if not callable(ask):
        raise UsageError(f"--judge {name or ask!r} is not a function. Nothing was written.")
    module, version = getattr(ask, "__module__", ""), ""
    with contextlib.suppress(OSError, KeyError, TypeError, AttributeError):
        version = sha256_of(Path(sys.modules[module].__file__ or ""))[:16]
    known = name or f"{module}:{getattr(ask, '__qualname__', '')}"
    return ClipJudge(known, ask, version)


@contextlib.contextmanager
def _from_here() -> Iterator[None]:
    """The current folder among the places of modules, as ``python -m`` has it."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.pop(0)


def add_columns(
    wish: ExportWish, samples: Samples, stream: TextIO | None, hands: Hands | None
) -> list[Lacking]:
    """Add to each sample's facts what is found; what is known from before is not sought.

    Returns the rows of which something could not be found out, and why.
    """
    with contextlib.closing(_Seen(wish.dest / _CACHE)) as seen:
        # What is brought from a store for a moment lies on this machine alone.
        own = Here(os.cpu_count() or 1) if hands is None or samples.stores else hands
        looking = _Looking(wish, samples, seen, stream, own)
        if wish.look:
            looking.look()
            _group(samples, seen)
        if wish.judge is not None:
            looking.judge(wish.judge)
        seen.tidy()
        for sample in samples.in_splits():
            samples.know(sample, looking.columns(sample))
    return looking.troubles


@dataclass(slots=True)
class _Looking:
    """What is sought, and where."""

    wish: ExportWish
    samples: Samples
    seen: _Seen
    stream: TextIO | None
    hands: Hands
    troubles: list[Lacking] = field(default_factory=list)

    def look(self) -> None:
        """Appearance at each clip at which nobody has looked."""
        every = self.samples.in_splits()
        with bar_of(len(self.samples), "looking", self.stream) as told:
            while some := [each for _, each in zip(range(_AT_ONCE), every, strict=False)]:
                new = [sample for sample in some if self.seen.look(sample.sha256) is None]
                told(len(some) - len(new))
                with self.samples.at_hand(new) as here:
                    looks = self.hands.each(_looked, [_nameless(each) for each in here])
                    for sample, found in zip(new, looks, strict=True):
                        if isinstance(found, Appearance):
                            self.seen.keep(sample.sha256, look=asdict(found))
                        else:
                            self._trouble(sample, f"look: {found}")
                        told(1)

    def judge(self, judge: ClipJudge) -> None:
        """Ask the judge about each clip about which it has not said anything."""
        with bar_of(len(self.samples), "judging", self.stream) as told:
            for sample in self.samples.in_splits():
                if self.seen.judged(sample.sha256, judge) is None:
                    record = json.loads(sample.facts) | self.columns(sample)
                    try:
                        with self.samples.at_hand([sample]) as (here,):
                            answer = judge.ask(_unchanged(here), dict(record))
                        judged = _checked(answer, record)
                    except Exception as error:  # it costs this row's columns alone
                        self._trouble(sample, f"judge: {type(error).__name__}: {error}")
                    else:
                        known = [judge.name, judge.version]
                        self.seen.keep(sample.sha256, judge=known, judged=judged)
                told(1)

    def columns(self, sample: Sample) -> dict[str, Any]:
        """What is known of a clip."""
        found: dict[str, Any] = {}
        if self.wish.look:
            unknown = dict.fromkeys(f.name for f in fields(Appearance))
            look = self.seen.look(sample.sha256) or unknown
            found |= look | {"alike": self.seen.alike(sample.sha256)}
        if self.wish.judge is not None:
            found |= self.seen.judged(sample.sha256, self.wish.judge) or {}
        return found

    def _trouble(self, sample: Sample, reason: str) -> None:
        self.troubles.append(Lacking(self.samples.row_of(sample), reason))


def _nameless(sample: Sample) -> Sample:
    """All that a look wants to know: where the clip is, and its hash."""
    return replace(sample, clip=str(Path(sample.clip).absolute()), poster="", facts="{}")


def _looked(sample: Sample) -> Appearance | str:
    try:
        return appearance_of(_unchanged(sample))
    except (MediaUnreadable, OSError) as error:
        return str(error)


def _unchanged(sample: Sample) -> Path:
    """The sample's clip, since what is found of it is kept by its hash for good."""
    path = Path(sample.clip)
    if sha256_of(path) != sample.sha256:
        raise MediaUnreadable("is not the file that was downloaded")
    return path


def _checked(answer: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    """What a judge has answered, as values of a table. Raises ``TypeError``."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"it gave {type(answer).__name__}, not a dict")
    found = {}
    for name, value in answer.items():
        plain = value.item() if hasattr(value, "item") else value  # of numpy, of torch
        if not isinstance(name, str) or not name.isidentifier() or name in record:
            raise TypeError(f"it gave a column {name!r}, which has to be a new name of one word")
        if plain is not None and not isinstance(plain, str | int | float):
            raise TypeError(f"{name} is of {type(plain).__name__}, not a text, number or truth")
        json.dumps(plain, allow_nan=False)
        found[name] = plain
    return found


# ── near duplicates ─────────────────────────────────────────────────────────────────────────────


def _group(samples: Samples, seen: _Seen) -> None:
    """Say of each clip which earlier one it looks like, if any: the first of its group.

    What was said once stays, whatever clips come later.
    """
    for sample in samples.in_splits():
        look = seen.look(sample.sha256)
        if look is not None and seen.alike(sample.sha256) is None:
            first = seen.nearest(look["phash"])
            seen.keep(sample.sha256, alike=first or sample.key)


# ── what was found, in the data set's folder ────────────────────────────────────────────────────


class _Seen:
    """What is known of clips by their sha256: lines of JSON, and the same in SQLite's own file.

    Each finding is a line at the end of the file at once, so that none is lost by a death.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = sqlite3.connect("", isolation_level=None)
        self._kept.executescript(_SCHEMA)
        with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
            for line in file:
                with contextlib.suppress(ValueError, TypeError):  # one that a death has cut
                    found = json.loads(line)
                    self._add(str(found.pop("sha256")), found)
        for sha256, alike in self._all("SELECT sha256, json FROM known WHERE what = 'alike'"):
            self._add_first(sha256, json.loads(alike))
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def close(self) -> None:
        """Let go of both."""
        self._file.close()
        self._kept.close()

    def keep(self, sha256: str, **found: Any) -> None:
        """Keep what was found of a clip."""
        self._add(sha256, found)
        self._add_first(sha256, found.get("alike"))
        self._file.write(f"\n{json.dumps({'sha256': sha256, **found})}\n")

    def look(self, sha256: str) -> dict[str, Any] | None:
        """How it looks, as `Appearance` has it."""
        found: dict[str, Any] | None = self._of(sha256, "look")
        return found

    def alike(self, sha256: str) -> str | None:
        """The first clip of its group, by the name of its sample."""
        found: str | None = self._of(sha256, "alike")
        return found

    def judged(self, sha256: str, judge: ClipJudge) -> dict[str, Any] | None:
        """What a judge has said of it, as the judge is now."""
        known = self._of(sha256, "judge") == [judge.name, judge.version]
        found: dict[str, Any] | None = self._of(sha256, "judged") if known else None
        return found

    def nearest(self, phash: str) -> str | None:
        """The first clip of the nearest group, of those that look the same."""
        near: dict[str, str] = {}
        for band in enumerate(hash_parts(phash)):
            near |= self._all("SELECT phash, sample FROM firsts WHERE band = ? AND part = ?", *band)
        ranked = sorted((apart(phash, other), sample) for other, sample in near.items())
        return ranked[0][1] if ranked and ranked[0][0] <= MOST_APART else None

    def tidy(self) -> None:
        """Write the file anew: one line of each kind for each clip, by sha256."""
        self._file.close()
        with replacing(self._path) as temporary:
            with temporary.open("w", encoding="utf-8") as out:
                query = "SELECT sha256, what, json FROM known ORDER BY sha256, what"
                for sha256, what, text in self._kept.execute(query):
                    out.write(f'{{"sha256": "{sha256}", "{what}": {text}}}\n')
        self._file = self._path.open("a", encoding="utf-8", buffering=1)

    def _add(self, sha256: str, found: Mapping[str, Any]) -> None:
        lines = [(sha256, what, json.dumps(value)) for what, value in found.items()]
        self._kept.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", lines)

    def _add_first(self, sha256: str, alike: str | None) -> None:
        """Where a clip is the first of its group, have it found by its look."""
        look = self.look(sha256)
        if look is not None and alike is not None and alike.endswith(f"-{sha256[:12]}"):
            phash = look["phash"]
            firsts = ((*band, phash, alike) for band in enumerate(hash_parts(phash)))
            self._kept.executemany("INSERT INTO firsts VALUES (?, ?, ?, ?)", firsts)

    def _of(self, sha256: str, what: str) -> Any:
        query = "SELECT json FROM known WHERE sha256 = ? AND what = ?"
        found = self._all(query, sha256, what)
        return json.loads(found[0][0]) if found else None

    def _all(self, query: str, *values: object) -> list[Any]:
        return self._kept.execute(query, values).fetchall()


_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -8000;
CREATE TABLE known (
    sha256 TEXT, what TEXT, json TEXT, PRIMARY KEY (sha256, what)
) STRICT, WITHOUT ROWID;
CREATE TABLE firsts (band INTEGER, part INTEGER, phash TEXT, sample TEXT) STRICT;
CREATE INDEX firsts_by_band ON firsts (band, part);
"""
