"""Run folders whose rows are all done, made without a run: a journal, and clips that decode."""

from __future__ import annotations

import functools
import hashlib
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from seedance_batch.clips.stills import poster_name
from seedance_batch.journal import records
from seedance_batch.journal.opening import open_journal
from seedance_batch.journal.records import Facts
from seedance_batch.run_folder import RunFolder
from tests.clips.filmed import filmed
from tests.writer.samples import PERSON, attempt, clip, row


@functools.cache
def _film() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return filmed(Path(folder) / "clip.mp4", 0, frames=4, wave=None).read_bytes()


def clip_bytes(number: int, size: int) -> bytes:
    """A clip of about ``size`` bytes that is no other's: a film, and a box that nobody reads."""
    filling = number.to_bytes(8) + hashlib.shake_128(number.to_bytes(8)).digest(max(0, size))
    return _film() + struct.pack(">I4s", 8 + len(filling), b"free") + filling


def finished_folder(
    path: Path, numbers: Iterable[int], *, size: int = 0, posters: bool = True
) -> RunFolder:
    """A run folder with one done row for each number, or its rows made to be these.

    Equal numbers have equal clips, in whichever folder.
    """
    (path / "videos").mkdir(parents=True, exist_ok=True)
    (path / "posters").mkdir(exist_ok=True)
    rows = [row(number) for number in numbers]
    with open_journal(path / "journal.db") as journal:
        before = {each.intent.key for each in journal.attempts()}
        journal.write(records.set_rows(rows, PERSON))
        journal.write(records.set_facts(Facts(manifest_name="shots.csv")))
        for of in rows:
            if of.key in before:
                continue
            content, named = clip_bytes(of.number, size), clip(of)
            (path / named.file).write_bytes(content)
            made = replace(
                named,
                bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                seconds=4 / 24,
                width=160,
                height=96,
                has_audio=False,
            )
            done = attempt(of)
            journal.write(records.add_attempts([done.intent], replace(done.state, clip=made)))
            if posters:
                (path / poster_name(made)).write_bytes(b"\xff\xd8a poster\xff\xd9")
    return RunFolder(path)
