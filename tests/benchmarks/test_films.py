"""Joining is bounded in memory, and as quick as copying and encoding are."""

from __future__ import annotations

import shutil

import pytest

from .films import (
    MOST_MEMORY,
    MOST_RATIO,
    MOST_SECONDS,
    clips_to_encode,
    copied_clips,
    ffmpeg_joining,
    joining,
)


@pytest.mark.more
def test_memory_does_not_grow_with_the_number_of_clips() -> None:
    with copied_clips(40, size=(320, 192)) as paths:
        target = paths[0].with_name("film.mp4")
        few, many = joining(paths[:4], target), joining(paths, target)
    assert few.memory is not None
    assert many.memory is not None
    assert many.memory < few.memory + 10
    assert many.memory < MOST_MEMORY


@pytest.mark.slow
def test_sixty_clips_are_copied_within_two_seconds_of_work() -> None:
    with copied_clips(60) as paths:
        cost = joining(paths, paths[0].with_name("film.mp4"))
    assert cost.cpu < MOST_SECONDS, cost
    assert cost.memory is not None
    assert cost.memory < MOST_MEMORY


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_encoding_takes_no_more_work_than_ffmpegs() -> None:
    ffmpeg = shutil.which("ffmpeg") or ""
    with clips_to_encode(3) as paths:
        target = paths[0].with_name("film.mp4")
        ours, theirs = joining(paths, target), ffmpeg_joining(ffmpeg, paths, target)
    assert ours.cpu < MOST_RATIO * theirs.cpu, f"{ours}; ffmpeg: {theirs}"
