"""``export``: run folders' clips as a data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seedance_batch.cli import flags
from seedance_batch.core.text import first_few, shown, size, some
from seedance_batch.errors import EmptySelection, Exit
from seedance_batch.streams import tell

if TYPE_CHECKING:
    from seedance_batch.batch.exporting import Exported
    from seedance_batch.batch.samples import ExportPart, ExportWish
    from seedance_batch.run_folder import RunFolder

_NAMED = 10
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

    wish = _wish(given)
    with flags.hands(given, kept_of(wish)) as hands:
        found = export_dataset(wish, sys.stderr if given.progress else None, hands)
    code = Exit.SOME_FAILED if found.troubles else Exit.OK
    if given.as_json:
        tell("dataset", dataset_object(found))
        return code
    if found.left_out:
        names = first_few([f"{each.key} ({each.reason})" for each in found.left_out], _NAMED)
        click.echo(f"left out: {shown(names)}", err=True)
    if found.troubles:
        names = first_few([f"{each.key} ({each.reason})" for each in found.troubles], _NAMED)
        click.echo(f"in the set, but without some columns: {shown(names)}", err=True)
    click.echo(found.folder)
    if not given.quiet:
        click.echo(f"  {_in_words(found)}", err=True)
    return code


def _wish(given: Exporting) -> ExportWish:
    from seedance_batch.batch.looking import judge_named
    from seedance_batch.batch.samples import ExportWish
    from seedance_batch.core.attempt import Kind
    from seedance_batch.core.dataset import DatasetFormat, Splits
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
    from seedance_batch.batch.sheets import standing
    from seedance_batch.core.select import Selection
    from seedance_batch.journal.opening import look_into
    from seedance_batch.page.marks import Mark, picks_of

    picks = None
    if given.picks is not None:
        with look_into(folder.journal) as journal:
            picks = picks_of(given.picks, folder.path, lambda: standing(journal))
    try:
        selection = flags.chosen_rows(given, picks, marks={Mark.KEEP}, page=None)
    except EmptySelection:
        if len(given.folders) == 1:
            raise
        selection = Selection(from_ids=())  # another folder may have marks
    return ExportPart(folder, selection)


def _in_words(found: Exported) -> str:
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
        "left_out": [{"id": each.key, "reason": each.reason} for each in found.left_out],
        "troubles": [{"id": each.key, "reason": each.reason} for each in found.troubles],
    }
