"""``join``: films of a run folder's clips."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seedance_batch.cli import flags
from seedance_batch.cli.hints import command_again
from seedance_batch.core.text import first_few, shown, size, some
from seedance_batch.errors import Exit
from seedance_batch.streams import tell

if TYPE_CHECKING:
    from seedance_batch.batch.joining import JoinedFilm, JoinWish, PlannedFilms
    from seedance_batch.journal.journal import Journal
    from seedance_batch.run_folder import RunFolder

_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Joining(flags.Choosing, flags.Rehearsed, flags.Watched):
    """What ``join`` takes."""

    by: str | None = flags.option(
        "--by", metavar="COLUMN", help="Make one film for each value of this column."
    )
    output: Path | None = flags.option(
        "-o", "--output", metavar="FILE", help="The film; with --by the folder of the films."
    )
    audio: Path | None = flags.option(
        "--audio",
        metavar="FILE",
        help="Lay this sound under the clips' own, faded out at the end.",
    )
    skip_missing: bool = flags.option("--skip-missing", help="Leave out rows that have no clip.")
    draft: bool = flags.option("--draft", help="Join the drafts in place of the finals.")


@flags.command(Joining, epilog="Example: seedance-batch join shots.csv --by scene")
def join(given: Joining) -> int:
    """Make one film of the clips of run FOLDER, in the manifest's order. Sends nothing.

    Clips of one size are copied without loss; others are encoded once at the first clip's size,
    with bars. An earlier film of the same run folder is replaced, any other file is kept.
    """
    from seedance_batch.batch.joining import ClipsLacking, make_planned, planned_films
    from seedance_batch.progress import bar_of
    from seedance_batch.run_folder import folder_of

    folder = folder_of(given.folder, out=given.out, sandbox=given.sandbox)
    try:
        with planned_films(folder, lambda journal: _wish(given, folder, journal)) as found:
            if not given.as_json:
                _tell_notes(found)
            for planned in found.films:
                name, stream = shown(planned.file.name), sys.stderr if given.progress else None
                with bar_of(planned.film.frames, name, stream) as told:
                    make_planned(planned, told)
                _tell_film(planned, found, given)
    except ClipsLacking as error:
        if error.can_be_fetched:
            error.hint = command_again("fetch", source=folder.path, only=())
        elif error.drafts_will_do:
            error.hint = command_again(draft=True)
        else:
            error.hint = command_again(skip_missing=True)
        raise
    return Exit.OK


def _tell_film(planned: JoinedFilm, found: PlannedFilms, given: Joining) -> None:
    if given.as_json:
        tell("film", film_object(planned, found))
    else:
        click.echo(planned.file)
        if not given.quiet:
            click.echo(f"  {_in_words(planned)}", err=True)


def _wish(given: Joining, folder: RunFolder, journal: Journal) -> JoinWish:
    from seedance_batch.batch.joining import JoinWish
    from seedance_batch.batch.sheets import standing
    from seedance_batch.core.attempt import Kind
    from seedance_batch.page.marks import Mark, picks_of

    picks = None
    if given.picks is not None:
        picks = picks_of(given.picks, folder.path, lambda: standing(journal))
    return JoinWish(
        by=given.by,
        output=given.output,
        audio=given.audio,
        skip_missing=given.skip_missing,
        kind=Kind.DRAFT if given.draft else Kind.FINAL,
        selection=flags.chosen_rows(given, picks, marks={Mark.KEEP}, page=None),
    )


def _tell_notes(found: PlannedFilms) -> None:
    if found.left_out:
        names = first_few([f"{each.key} ({each.reason})" for each in found.left_out], _NAMED)
        click.echo(f"left out: {shown(names)}", err=True)
    if found.outdated:
        names = first_few(found.outdated, _NAMED)
        click.echo(f"made before the row was edited: {shown(names)}", err=True)
    if found.stale:
        names = first_few(found.stale, _NAMED)
        click.echo(f"stale, made from a take that was replaced since: {shown(names)}", err=True)


def _in_words(planned: JoinedFilm) -> str:
    film = planned.film
    how = "encoded" if film.made_frames else "copied"
    if 0 < film.made_frames < film.frames:
        how = f"{some(film.made_frames, 'frame')} of {film.frames:,} encoded, the rest copied"
    minutes, seconds = divmod(round(planned.seconds), 60)
    length = f"{minutes:,} min {seconds} s" if minutes else f"{seconds} s"
    return f"{some(len(film.shots), 'clip')}, {length}, {size(_bytes(planned))}, {how}"


def _bytes(planned: JoinedFilm) -> int:
    return planned.file.stat().st_size


def film_object(planned: JoinedFilm, found: PlannedFilms) -> dict[str, Any]:
    """A film as JSON values."""
    film = planned.film
    return {
        "file": str(planned.file),
        "value": planned.value,
        "ids": planned.ids,
        "seconds": round(planned.seconds, 3),
        "frames": film.frames,
        "encoded_frames": film.made_frames,
        "width": film.width,
        "height": film.height,
        "bytes": _bytes(planned),
        "left_out": [{"id": each.key, "reason": each.reason} for each in found.left_out],
        "outdated": found.outdated,
        "stale": found.stale,
    }
