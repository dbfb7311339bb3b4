"""``report``, ``join`` and ``export``: the page, films and data sets that are made of clips."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from seedance_batch.cli import flags
from seedance_batch.cli.hints import command_again
from seedance_batch.core.text import first_few, shown, size, some
from seedance_batch.errors import EmptySelection, Exit, UsageError
from seedance_batch.streams import tell

if TYPE_CHECKING:
    from seedance_batch.batch.exporting import Exported
    from seedance_batch.batch.joining import JoinedFilm, JoinWish, PlannedFilms
    from seedance_batch.batch.samples import ExportPart, ExportWish
    from seedance_batch.batch.takes import Lacking
    from seedance_batch.core.select import Selection
    from seedance_batch.journal.journal import Journal
    from seedance_batch.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Looking(flags.Choosing, flags.Rehearsed, flags.Spread):
    """What ``report`` takes; what chooses rows is for ``--share``."""

    watch: bool = flags.option("--watch", help="Keep refreshing while a run is going on.")
    serve: bool = flags.option("--serve", help="Serve the page until Ctrl-C: clips appear.")
    shown: bool = flags.option("--open", help="Open the page in your browser.")
    port: int = flags.option(
        "--port", type=click.IntRange(0, 65535), default=0, help="Port of --serve; 0: a free one."
    )
    share: Path | None = flags.option(
        "--share", metavar="DIR|FILE.zip", help="Copy the page with chosen clips, for a client."
    )
    no_prompts: bool = flags.option("--no-prompts", help="Share no prompts.")
    costs: bool = flags.option("--costs", help="Share what the clips cost.")
    bind: str = flags.option(
        "--bind", metavar="ADDRESS", default="127.0.0.1", show_default=True,
        help="Where --serve listens; 0.0.0.0 lets your network in.",
    )  # fmt: skip


@flags.command(Looking, epilog="Example: seedance-batch report runs/shots --serve --open")
def report(given: Looking) -> int:
    """Write the review page of run FOLDER: one file to watch and choose clips.

    With --serve the page is served instead: clips appear as they arrive, also of a run in another
    terminal, and marks, stars and notes are saved in the run folder, for --from marks. --share
    makes a copy for a client, of the rows that --from, --where, --ids or --rows choose.
    """
    from seedance_batch.batch.access import kept_clips
    from seedance_batch.batch.sheets import put_up, review_page, watched_page
    from seedance_batch.journal.opening import look_into
    from seedance_batch.run_folder import folder_of

    if given.serve and given.watch:
        raise UsageError(
            "--serve shows what arrives by itself.", hint=command_again(without={"watch"})
        )
    folder = folder_of(given.folder, out=given.out, sandbox=given.sandbox)
    if given.share is not None:
        _share(folder, given.share, given)
        return Exit.OK
    if given.serve:
        with until_ended() as wait, page_served(folder, given.bind, given.port) as address:
            _tell_page(address, given)
            click.echo("Ctrl-C ends it.", err=True)
            wait()
        return Exit.OK
    if given.watch:
        for path in watched_page(folder):
            _tell_page(path, given)
        return Exit.OK
    with look_into(folder.journal) as journal:
        kept = kept_clips(folder, journal)
        with flags.hands(given, kept) as hands:
            page = review_page(folder, journal, hands)
        _tell_page(page, given)
        not_put = put_up(kept, journal, None, page, record=False)
        if kept.store is not None:
            there = kept.store.address(page.name)
            click.echo(not_put or f"With its clips it is {there}; --serve plays them.", err=True)
    return Exit.OK if not_put is None else Exit.UNFINISHED


def _tell_page(page: Path | str, given: Looking) -> None:
    click.echo(page)
    if given.shown and click.launch(str(page)):
        click.echo("No browser could be started; open the page by hand.", err=True)


def _share(folder: RunFolder, target: Path, given: Looking) -> None:
    from seedance_batch.batch.showing import ShareWish, shared_copy
    from seedance_batch.journal.opening import look_into

    with look_into(folder.journal) as journal:
        chosen = _kept_rows(given, folder, journal)
        wish = ShareWish(selection=chosen, prompts=not given.no_prompts, costs=given.costs)
        count = shared_copy(folder, journal, target, wish)
    click.echo(target)
    click.echo(f"{some(count, 'clip')}; nothing else of the run folder.", err=True)


def _kept_rows(given: flags.Choosing, folder: RunFolder, journal: Journal) -> Selection:
    """The rows that are chosen; of a list of picks, those that are marked *keep*."""
    from seedance_batch.batch.sheets import standing
    from seedance_batch.page.marks import Mark, picks_of

    picks = None
    if given.picks is not None:
        picks = picks_of(given.picks, folder.path, lambda: standing(journal))
    return flags.chosen_rows(given, picks, marks={Mark.KEEP}, page=None)


_NAMED: Final = 10


def _with_reasons(rows: Sequence[Lacking]) -> str:
    """``a7 (failed), a9 (expired), …``."""
    return shown(first_few([f"{each.key} ({each.reason})" for each in rows], _NAMED))


def _reasons(rows: Sequence[Lacking]) -> list[dict[str, str]]:
    return [{"id": each.key, "reason": each.reason} for each in rows]


@contextlib.contextmanager
def page_served(folder: RunFolder, bind: str, port: int) -> Iterator[str]:
    """Serve a run folder's page for the length of a block, and say where it is.

    Raises `UsageError` where it cannot be served there.
    """
    from seedance_batch.batch.showing import Showing
    from seedance_batch.page.serving import is_loopback_bind, listening, serving

    show = Showing(folder)
    where = listening(bind, port)
    if not is_loopback_bind(bind):
        click.echo(
            "warning: --bind lets others in your network look and mark: whoever has this address, "
            "which is sent unencrypted.",
            err=True,
        )
    with serving(show, where):
        yield where.address


@contextlib.contextmanager
def until_ended() -> Iterator[Callable[[], None]]:
    """A function that waits for SIGINT or SIGTERM, sent since; for the main thread."""
    ended = threading.Event()
    handlers = {
        number: signal.signal(number, lambda *_: ended.set())
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        if (number := getattr(signal, name, None)) is not None
        and signal.getsignal(number) is not signal.SIG_IGN
    }

    def wait() -> None:
        while not ended.wait(0.2):  # on Windows a wait without an end hears no Ctrl-C
            pass

    try:
        yield wait
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


# ── Films: ``join`` ───────────────────────────────────────────────────────────────────────────────


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
        with planned_films(folder, lambda journal: _film_wish(given, folder, journal)) as found:
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
        elif error.are_all:
            error.hint = command_again("status", source=folder.path, only=())
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
            click.echo(f"  {_film_in_words(planned)}", err=True)


def _film_wish(given: Joining, folder: RunFolder, journal: Journal) -> JoinWish:
    from seedance_batch.batch.joining import JoinWish
    from seedance_batch.core.attempt import Kind

    return JoinWish(
        by=given.by,
        output=given.output,
        audio=given.audio,
        skip_missing=given.skip_missing,
        kind=Kind.DRAFT if given.draft else Kind.FINAL,
        selection=_kept_rows(given, folder, journal),
    )


def _tell_notes(found: PlannedFilms) -> None:
    if found.left_out:
        click.echo(f"left out: {_with_reasons(found.left_out)}", err=True)
    if found.outdated:
        names = first_few(found.outdated, _NAMED)
        click.echo(f"made before the row was edited: {shown(names)}", err=True)
    if found.stale:
        names = first_few(found.stale, _NAMED)
        click.echo(f"stale, made from a take that was replaced since: {shown(names)}", err=True)


def _film_in_words(planned: JoinedFilm) -> str:
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
        "left_out": _reasons(found.left_out),
        "outdated": found.outdated,
        "stale": found.stale,
    }


# ── Data sets: ``export`` ─────────────────────────────────────────────────────────────────────────

_FORMATS = ("webdataset", "parquet", "hf")


@dataclass(frozen=True, kw_only=True)
class Exporting(flags.Choosing, flags.Spread, flags.Watched):
    """What ``export`` takes."""

    folders: tuple[Path | str, ...] = flags.argument("FOLDER...", many=True)
    dest: Path = flags.argument("DEST")
    form: str = flags.option(
        "--format",
        type=click.Choice(_FORMATS),
        default=_FORMATS[0],
        show_default=True,
        help="Tar shards, a Parquet table, or Hugging Face's VideoFolder.",
    )
    split: str = flags.option(
        "--split",
        metavar="NAME=SHARE,...",
        default="train=100",
        show_default=True,
        help="Divide the clips: train=90,validation=5,test=5.",
    )
    shard_size: int = flags.option(
        "--shard-size",
        type=click.IntRange(min=1),
        metavar="MB",
        default=1000,
        hidden=True,
        help="Begin another shard before its clips are larger than this.",
    )
    skip_missing: bool = flags.option(
        "--skip-missing", help="Leave out clips that are not on disk any more."
    )
    look: bool = flags.option(
        "--look", help="Add columns: black, frozen, motion, loudness, phash, alike."
    )
    judge: str | None = flags.option(
        "--judge",
        metavar="MODULE:FUNCTION",
        hidden=True,
        help="Add the columns that this function gives for a clip's path and its record.",
    )
    draft: bool = flags.option("--draft", help="Take the drafts in place of the finals.")
    sandbox: bool = flags.option("--sandbox", help="Use the manifests' sandbox run folders.")


@flags.command(
    Exporting,
    epilog="Example: seedance-batch export runs/shots set --split train=90,validation=5,test=5",
)
def export(given: Exporting) -> int:
    """Make a data set in DEST of the finished clips of run FOLDERs. Sends nothing.

    The same command again makes only what is missing: shards that were made stay as they are, and
    new clips make new ones.
    """
    from seedance_batch.batch.exporting import export_dataset
    from seedance_batch.batch.samples import kept_of

    wish = _dataset_wish(given)
    with flags.hands(given, kept_of(wish)) as hands:
        found = export_dataset(wish, sys.stderr if given.progress else None, hands)
    code = Exit.SOME_FAILED if found.troubles else Exit.OK
    if given.as_json:
        tell("dataset", dataset_object(found))
        return code
    if found.left_out:
        click.echo(f"left out: {_with_reasons(found.left_out)}", err=True)
    if found.troubles:
        rows = _with_reasons(found.troubles)
        click.echo(f"in the set, but without some columns: {rows}", err=True)
    click.echo(found.folder)
    if not given.quiet:
        click.echo(f"  {_dataset_in_words(found)}", err=True)
    return code


def _dataset_wish(given: Exporting) -> ExportWish:
    from seedance_batch.batch.looking import judge_named
    from seedance_batch.batch.samples import ExportWish
    from seedance_batch.core.attempt import Kind
    from seedance_batch.core.clip_sets import DatasetFormat, Splits
    from seedance_batch.run_folder import folder_of

    folders = [folder_of(each, out=None, sandbox=given.sandbox) for each in given.folders]
    return ExportWish(
        parts=tuple(_part(given, folder) for folder in folders),
        dest=given.dest,
        form=DatasetFormat(given.form),
        splits=Splits.parse(given.split),
        kind=Kind.DRAFT if given.draft else Kind.FINAL,
        skip_missing=given.skip_missing,
        shard_bytes=given.shard_size * 10**6,
        look=given.look,
        judge=None if given.judge is None else judge_named(given.judge),
    )


def _part(given: Exporting, folder: RunFolder) -> ExportPart:
    from seedance_batch.batch.samples import ExportPart
    from seedance_batch.core.select import Selection
    from seedance_batch.journal.opening import look_into

    try:
        with look_into(folder.journal) as journal:
            selection = _kept_rows(given, folder, journal)
    except EmptySelection:
        if len(given.folders) == 1:
            raise
        selection = Selection(from_ids=())  # another folder may have marks
    return ExportPart(folder, selection)


def _dataset_in_words(found: Exported) -> str:
    """``12 clips, 34 MB: train 11, test 1; 2 files made, 1 kept, 0 removed``."""
    splits = ", ".join(f"{name} {count:,}" for name, count in found.splits.items())
    files = f"{some(len(found.made), 'file')} made, {found.kept:,} kept"
    removed = f", {len(found.removed):,} removed" if found.removed else ""
    twice = f"; {some(found.duplicates, 'clip')} came twice" if found.duplicates else ""
    clips = f"{some(found.samples, 'clip')}, {size(found.bytes)}"
    return f"{clips}: {splits}; {files}{removed}{twice}"


def dataset_object(found: Exported) -> dict[str, Any]:
    """A data set as JSON values."""
    return {
        "folder": str(found.folder),
        "format": found.form,
        "samples": found.samples,
        "splits": dict(found.splits),
        "bytes": found.bytes,
        "made": found.made,
        "kept": found.kept,
        "removed": found.removed,
        "duplicates": found.duplicates,
        "left_out": _reasons(found.left_out),
        "troubles": _reasons(found.troubles),
    }
