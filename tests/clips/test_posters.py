"""Posters are made beside a run, and nobody waits for them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from seedance_batch.clips.stills import PosterMaker, poster_name
from seedance_batch.core.attempt import Clip
from tests.writer.samples import clip, playable, row


def clips_in(folder: Path, count: int) -> list[Clip]:
    """So many clips on disk."""
    (folder / "videos").mkdir()
    found = [clip(row(number)) for number in range(count)]
    for each in found:
        (folder / each.file).write_bytes(playable((320, 180)))
    return found


def test_the_poster_of_a_clip_that_has_come_is_made_in_time(tmp_path: Path) -> None:
    found = clips_in(tmp_path, 3)
    with contextlib.closing(PosterMaker(tmp_path)) as maker:
        for each in found:
            maker.add(each)
        bound = time.monotonic() + 120.0
        while not all((tmp_path / poster_name(each)).is_file() for each in found):
            assert time.monotonic() < bound
            time.sleep(0.01)


def test_those_that_are_not_begun_hold_up_no_end_and_what_is_no_video_harms_none(
    tmp_path: Path,
) -> None:
    found = clips_in(tmp_path, 2)
    (tmp_path / found[0].file).write_bytes(b"no video")
    with contextlib.closing(PosterMaker(tmp_path)) as maker:
        for _ in range(5_000):
            maker.add(found[0])
        maker.add(found[1])
    assert not (tmp_path / poster_name(found[0])).exists()
    assert not (tmp_path / poster_name(found[1])).exists()
