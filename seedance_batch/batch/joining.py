"""Films of a run folder's clips: which clips, in which order, and where each film goes.

Reads the journal and the clips, and writes films only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from shlex import quote
from typing import Final, TextIO

from seedance_batch.batch.access import kept_clips
from seedance_batch.batch.sheets import standing
from seedance_batch.batch.takes import Lacking, absence, chosen_of, take_of
from seedance_batch.clips.film import FilmOrder, make_film, mark_of, shot_of
from seedance_batch.clips.kept import KeptClips, damage
from seedance_batch.clips.media import MediaUnreadable
from seedance_batch.clips.soundtrack import Unheard, heard
from seedance_batch.core.attempt import Attempt, Kind
from seedance_batch.core.clip_sets import FilmPlan, Shot, plan_film
from seedance_batch.core.manifest import folder_mark
from seedance_batch.core.model import Link, LinkKind
from seedance_batch.core.names import CLIP_ENDING, Taken, film_name, safe_folder
from seedance_batch.core.outcome import Outcome
from seedance_batch.core.select import Selection
from seedance_batch.core.text import first_few, some
from seedance_batch.errors import EmptySelection, UsageError
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import look_into
from seedance_batch.progress import bar_of
from seedance_batch.publish import replacing
from seedance_batch.run_folder import FILMS, RunFolder

_NAMED: Final = 5
"""Rows without a clip that a message names."""


@dataclass(frozen=True, slots=True)
class JoinWish:
    """What was asked for."""

    by: str | None = None
    """The column of which each value has a film of its own."""
    output: Path | None = None
    """The film's file; with ``by`` the folder of the films."""
    audio: Path | None = None
    """A file whose sound lies under the clips' own."""
    skip_missing: bool = False
    kind: Kind = Kind.FINAL
    selection: Selection = field(default_factory=Selection)


class ClipsLacking(UsageError):
    """Rows that were chosen have no clip; ``rows`` names all of them."""

    def __init__(self, rows: Sequence[Lacking], chosen: int, kind: Kind) -> None:
        of = some(chosen, "row")
        named = first_few([f"{each.key} ({each.reason})" for each in rows], _NAMED)
        clip = "draft" if kind is Kind.DRAFT else "final clip"
        have = "has" if len(rows) == 1 else "have"
        super().__init__(
            f"{len(rows):,} of {of} {have} no {clip} to join: {named}. No film was made.",
            hint=None if len(rows) == chosen else "--skip-missing leaves them out",
        )
        self.rows = tuple(rows)
        self.are_all = len(rows) == chosen
        """Whether no chosen row has a clip."""
        self.drafts_will_do = {each.reason for each in rows} == {f"only a {Kind.DRAFT}"}
        """Whether a film of the drafts lacks none of these."""
        self.can_be_fetched = any(each.is_paid for each in rows)
        """Whether clips are among these that were paid for, and are missing or were changed."""


@dataclass(frozen=True, slots=True)
class JoinedFilm:
    """A film of some rows' clips, all of which were looked into; `make_planned` makes it."""

    file: Path
    value: str | None
    """What its rows have in the column, where each value has a film."""
    order: FilmOrder

    @property
    def film(self) -> FilmPlan:
        """What is copied and what is encoded."""
        return self.order.film

    @property
    def ids(self) -> tuple[str, ...]:
        """The rows whose clips it shows, in their order."""
        return tuple(shot.name for shot in self.film.shots)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return float(self.film.seconds)


@dataclass(frozen=True, slots=True)
class PlannedFilms:
    """What `planned_films` found."""

    films: tuple[JoinedFilm, ...]
    left_out: tuple[Lacking, ...]
    outdated: tuple[str, ...]
    """Ids of rows that were edited since their clip was made."""
    stale: tuple[str, ...]
    """Ids of rows whose clip was made from a take that its source has replaced."""


def join_films(folder: RunFolder, wish: JoinWish, stream: TextIO | None) -> list[JoinedFilm]:
    """Plan the films and make them, with a bar on ``stream`` where it is a terminal."""
    with planned_films(folder, lambda journal: wish) as found:
        for planned in found.films:
            with bar_of(planned.film.frames, planned.file.name, stream) as told:
                make_planned(planned, told)
        return list(found.films)


@contextlib.contextmanager
def planned_films(
    folder: RunFolder, wish_of: Callable[[Journal], JoinWish]
) -> Iterator[PlannedFilms]:
    """The films that were asked for, in the order in which their first rows stand.

    For the length of the block their clips are at hand, those of a store as copies. Raises
    `ClipsLacking`, `EmptySelection`, and `UsageError` for what cannot be had otherwise.
    """
    with look_into(folder.journal) as journal:
        kept = kept_clips(folder, journal)
        with kept.at_hand() as home:
            yield _planned(folder, journal, wish_of(journal), kept, home)


def _planned(
    folder: RunFolder, journal: Journal, wish: JoinWish, kept: KeptClips, home: Path
) -> PlannedFilms:
    rows, columns = [o for o in standing(journal) if o.row is not None], journal.columns()
    if wish.by is not None and wish.by not in columns:
        close = get_close_matches(wish.by, columns, n=1)
        meant = f"; did you mean {close[0]}?" if close else "."
        columns_are = f"columns: {', '.join(columns)}"
        raise UsageError(f"There is no column {wish.by!r}{meant}", hint=columns_are)
    if wish.audio is not None:
        _check_audio(wish.audio)
    rows = chosen_of(rows, columns, wish.selection)
    clips, lacking = _clips(kept, home, rows, wish.kind)
    if lacking and not wish.skip_missing:
        raise ClipsLacking(lacking, len(rows), wish.kind)
    if not clips:
        raise EmptySelection(f"None of {some(len(rows), 'row')} has a clip to join.")
    outdated = [clip.outcome.key for clip in clips if clip.is_outdated]
    stale = [clip.outcome.key for clip in clips if clip.is_stale]
    films = tuple(_films(folder, journal, wish, clips))
    return PlannedFilms(films, tuple(lacking), tuple(outdated), tuple(stale))


def _films(
    folder: RunFolder, journal: Journal, wish: JoinWish, clips: Sequence[_Clip]
) -> Iterator[JoinedFilm]:
    facts, taken = journal.facts(), Taken()
    name = Path(facts.manifest_name or folder.path.name).stem
    mark = f"seedance-batch join {folder_mark(facts.folder_id or '')}"
    for value, group in _groups(clips, wish.by):
        called = name if value is None else value or f"no {wish.by}"
        target = _target(folder, wish, called, taken)
        _check_target(target, mark)
        shares = [_shares(one.attempt, other.attempt) for one, other in pairwise(group)]
        shots = [
            replace(clip.shot, shares_last=shared)
            for clip, shared in zip(group, [*shares, False], strict=True)
        ]
        film = plan_film(shots, laid_sound=wish.audio is not None)
        order = FilmOrder(film, [clip.path for clip in group], called, mark, wish.audio)
        yield JoinedFilm(target, value, order)


def make_planned(planned: JoinedFilm, told: Callable[[int], object]) -> None:
    """Make a film; it appears whole or not at all, and in place of an earlier one of this folder.

    Raises `UsageError` where a clip or the disk does not allow it.
    """
    target = planned.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            make_film(planned.order, temporary, told)
    except MediaUnreadable as error:
        raise UsageError(f"{error.reason}. {target} was not made.") from error
    except Unheard as error:
        raise _unheard(planned.order.laid, error) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"{target} cannot be written: {reason}. The film was not made.",
            hint="make room there, or choose another place with --output",
        ) from error


# ── rows and their clips ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Clip:
    outcome: Outcome
    attempt: Attempt
    path: Path
    shot: Shot

    @property
    def is_outdated(self) -> bool:
        """Whether the row was edited since; a draft's content is never the row's own."""
        row, intent = self.outcome.row, self.attempt.intent
        return intent.kind is Kind.FINAL and row is not None and intent.content != row.content

    @property
    def is_stale(self) -> bool:
        """Whether its source has another take by now than it was made from."""
        return self.attempt == self.outcome.shown and self.outcome.is_stale


def _clips(
    kept: KeptClips, home: Path, rows: Sequence[Outcome], kind: Kind
) -> tuple[list[_Clip], list[Lacking]]:
    found, lacking = [], []
    for outcome in rows:
        attempt = take_of(outcome, kind)
        clip = None if attempt is None else attempt.state.clip
        if clip is not None and kept.store is not None:
            kept.bring(clip.file, home / clip.file)
        broken = None if clip is None else damage(home, clip)
        reason = absence(outcome, kind) if attempt is None else broken
        if attempt is None or reason is not None:
            lacking.append(Lacking(outcome.key, reason or "", attempt is not None))
            continue
        path = home / (clip.file if clip else "")
        try:
            found.append(_Clip(outcome, attempt, path, shot_of(path, outcome.key)))
        except (MediaUnreadable, OSError) as error:
            lacking.append(Lacking(outcome.key, f"{path.name} {error}"))
    return found, lacking


def _shares(one: Attempt, other: Attempt) -> bool:
    """Whether the other clip begins with the one's last frame."""
    first = other.intent.asked["input"].get("first_frame_url")
    link = Link.parse(first) if isinstance(first, str) else None
    if link is None or link.kind is not LinkKind.LAST_FRAME:
        return False
    return any(each.link == first and each.attempt == one.id for each in other.intent.made_from)


def _groups(clips: Sequence[_Clip], by: str | None) -> Iterator[tuple[str | None, list[_Clip]]]:
    groups: dict[str | None, list[_Clip]] = {}
    for clip in clips:
        row = clip.outcome.row
        value = None if by is None or row is None else row.cells.get(by, "").strip()
        groups.setdefault(value, []).append(clip)
    yield from groups.items()


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def _target(folder: RunFolder, wish: JoinWish, called: str, taken: Taken) -> Path:
    if wish.output is not None and wish.by is None:
        if wish.output.suffix.lower() != CLIP_ENDING:
            raise UsageError(
                f"A film is an MP4; {wish.output.name} does not end with {CLIP_ENDING}.",
                hint=f"--output {quote(str(wish.output.with_suffix(CLIP_ENDING)))}",
            )
        if not wish.output.parent.is_dir():
            raise UsageError(f"The folder {wish.output.parent} does not exist.")
        return wish.output
    home = folder.path / FILMS
    if wish.by is not None:
        home = wish.output or home / safe_folder(wish.by)
    name = film_name(called, wish.kind, taken)
    taken.add(name)
    return home / name


def _check_target(target: Path, mark: str) -> None:
    """Refuse to write over what is not an earlier film of the same run folder."""
    if target.exists() and mark_of(target) != mark:
        raise UsageError(
            f"{target} is there already, and is no film that was made of this run folder.",
            hint="move it, or choose another name with --output",
        )


def _check_audio(path: Path) -> None:
    try:
        with heard(path):
            pass
    except Unheard as error:
        raise _unheard(path, error) from error


def _unheard(path: Path | None, error: Unheard) -> UsageError:
    return UsageError(f"--audio {path} cannot be used: {error.reason}. No film was made.")
