"""An export is bounded in memory, and about as quick as tar is."""

from __future__ import annotations

import shutil

import pytest

from .exports import LEAST_RATIO, MOST_MEMORY, TURNS, archiving, exporting, finished_clips


@pytest.mark.more
def test_memory_does_not_grow_with_the_bytes_of_the_clips() -> None:
    with finished_clips(8, size=1_000) as folder:
        small = exporting(folder)
    with finished_clips(8, size=8_000_000) as folder:
        large = exporting(folder)
    assert small.memory is not None
    assert large.memory is not None
    assert large.memory < small.memory + 20
    assert large.memory < MOST_MEMORY


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_clips() -> None:
    found = []
    for count in (2_000, 12_000):
        with finished_clips(count, size=0) as folder:
            found.append(exporting(folder).memory)
    few, many = found
    assert few is not None
    assert many is not None
    assert many < few + 40, found  # a shard's facts, of 10,000 clips at most
    assert many < MOST_MEMORY


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_shards_are_made_at_nearly_the_speed_of_tar() -> None:
    with finished_clips(1_500) as folder:  # 1 MB each
        turns = [(exporting(folder), archiving(folder)) for _ in range(TURNS)]
    ours, theirs = (min(cost.seconds for cost in costs) for costs in zip(*turns, strict=True))
    assert theirs / ours >= LEAST_RATIO, turns
    assert all(cost.memory is not None and cost.memory < MOST_MEMORY for cost, _ in turns)
