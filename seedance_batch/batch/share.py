"""A copy of the review page for a client: a folder or a ZIP with the chosen clips, and no more.

It has what was chosen of the run folder and nothing that leads into it: no journal, no address, no
task, no message of the service.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seedance_batch.batch.access import kept_clips
from seedance_batch.batch.chosen import chosen_of
from seedance_batch.batch.sheets import standing
from seedance_batch.clips.posters import poster_name
from seedance_batch.core.outcome import tally
from seedance_batch.core.select import Selection
from seedance_batch.core.text import some
from seedance_batch.errors import EmptySelection, UsageError
from seedance_batch.journal.journal import Journal
from seedance_batch.page import page, values
from seedance_batch.page.marks import mark_values, read_marks
from seedance_batch.publish import replacing
from seedance_batch.run_folder import RunFolder

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
    columns = facts.columns or ()
    found = chosen_of(standing(journal), columns, wish.selection)
    shown = {o.key: o.shown.state.clip for o in found if o.shown and o.shown.state.clip}
    kept = kept_clips(folder, journal)
    there = kept.present(shown.values())
    clips = {key: clip for key, clip in shown.items() if clip.file in there}
    if not clips:
        raise EmptySelection("No chosen row has a clip to share.")
    stills = {clip.file: poster_name(clip) if kept.still(clip) else None for clip in clips.values()}
    of_clips = [outcome for outcome in found if outcome.key in clips]
    rows = values.page_rows(columns, of_clips, stills)
    own, rows = values.for_others(columns, rows, prompts=wish.prompts, costs=wish.costs)
    takes = {(row.id, row.take) for row in rows}
    marks = [mark for mark in read_marks(folder.path) if (mark.key, mark.take) in takes]
    sums = values.page_sums(tally(of_clips)) if wish.costs else some(len(rows), "clip")
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
    note = facts.prices_note or "" if wish.costs else ""
    words = page.page_words(facts.manifest_name or folder.path.name, of_clips, note)
    html = page.page_html(data, words | {"sums": sums})
    files = [
        *(clip.file for clip in clips.values()),
        *(still for still in stills.values() if still),
    ]
    with _filling(target) as fill:
        for name in files:
            with kept.at_hand(name) as home:
                fill(name, home / name)
        fill(FRONT, html)
    return len(clips)


class _Fill:
    """Takes files for a folder or an archive, by their names in it."""

    def __init__(self, into: Path | zipfile.ZipFile) -> None:
        self._into = into

    def __call__(self, name: str, content: Path | str) -> None:
        into = self._into
        if isinstance(into, zipfile.ZipFile):
            if isinstance(content, Path):
                into.write(content, name)
            else:
                into.writestr(name, content)
            return
        place = into / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, place)
        else:
            place.write_text(content, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def _filling(target: Path) -> Iterator[_Fill]:
    """What is filled becomes ``target`` if the block ends well, else vanishes."""
    if target.suffix.lower() == ".zip":
        with replacing(target) as temporary:
            # Clips and posters are compressed already.
            with zipfile.ZipFile(temporary, "w", strict_timestamps=False) as archive:
                yield _Fill(archive)
        return
    temporary = Path(tempfile.mkdtemp(prefix=".share.", dir=target.parent))
    try:
        yield _Fill(temporary)
        temporary.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
