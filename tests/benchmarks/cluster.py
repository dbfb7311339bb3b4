"""What a cluster makes of checking clips, and of posters: ``python -m tests.benchmarks.cluster``.

2,000 clips (a number as argument: so many) of 4 s at 480p, checked and their posters made in three
ways by turns: in this process, by one worker with one thread, by two such workers. Where others use
the machine too, seconds on the wall say little. So the time in which the threads that work stood in
the processors' queue, as Linux tells it for each thread, is taken off: what is left is what they
worked, and what they waited for somebody to hand them work. Connecting is part of it, starting the
workers is not.
"""

from __future__ import annotations

import os
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seedance_batch.clips import media
from seedance_batch.clips.cluster import hands_on
from seedance_batch.clips.kept import (
    Checked,
    CheckJob,
    Hands,
    KeptClips,
    Wanted,
    checked_clips,
    stills,
)
from seedance_batch.core.attempt import Clip
from seedance_batch.publish import sha256_of
from tests.clips.filmed import filmed
from tests.clusters import Crew, crew

CLIPS = 2_000
TURNS = 2
LEAST_SHARE = 0.85
"""Of linear, for two workers beside one."""
MOST_RATIO = 1.1
"""One worker beside this process."""
AS_LOCAL = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
"""How ``--dask local`` sets its workers up."""
WANTED = Wanted("480p", 4, "16:9", True)

Work = Callable[[Hands | None, Path, Sequence[Clip]], None]


@contextmanager
def clips(count: int) -> Iterator[tuple[Path, list[Clip]]]:
    """A folder with so many clips, each with bytes of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        made = filmed(folder / "film.mp4", 1, frames=97, size=(864, 496))
        film, probe, found = made.read_bytes(), media.probe(made), []
        for number in range(count):
            path = folder / "videos" / f"{number}.mp4"
            path.write_bytes(film + struct.pack(">I4sQ", 16, b"free", number))
            size, sha256 = path.stat().st_size, sha256_of(path)
            shape = probe.seconds, probe.width, probe.height
            found.append(Clip(f"videos/{number}.mp4", size, sha256, *shape, has_audio=True))
        yield folder, found


def verify(hands: Hands | None, folder: Path, found: Sequence[Clip]) -> None:
    """Check every clip."""
    jobs = [CheckJob(str(folder), clip, WANTED) for clip in found]
    assert set(checked_clips(KeptClips(folder), jobs, hands)) == {Checked()}


def posters(hands: Hands | None, folder: Path, found: Sequence[Clip]) -> None:
    """Make every poster."""
    shutil.rmtree(folder / "posters", ignore_errors=True)
    assert all(stills(KeptClips(folder), found, hands, here=1))


def threads(pid: int) -> dict[str, tuple[float, float]]:
    """Seconds that each thread of a process has worked, and stood in the queue."""
    found = {}
    for each in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        worked, stood, _ = each.read_text().split()
        found[each.parent.name] = int(worked) / 1e9, int(stood) / 1e9
    return found


def queued(pid: int, before: dict[str, tuple[float, float]]) -> float:
    """Seconds for which the thread that has worked most since then stood in the queue."""
    since = []
    for name, (worked, stood) in threads(pid).items():
        earlier = before.get(name, (0.0, 0.0))
        since.append((worked - earlier[0], stood - earlier[1]))
    return max(since)[1]


@dataclass(frozen=True)
class Spent:
    """What a way took."""

    wall: float
    queued: float
    """Of the wall, on average of the workers."""

    @property
    def seconds(self) -> float:
        """On a machine that nobody else uses."""
        return self.wall - self.queued

    def __str__(self) -> str:
        return f"{self.seconds:6.1f} s (wall {self.wall:6.1f})"


def spent(work: Work, folder: Path, found: Sequence[Clip], workers: Crew | None) -> Spent:
    """Do the work once."""
    pids = [each.pid for each in workers.workers] if workers else [os.getpid()]
    before, begun = [threads(pid) for pid in pids], time.perf_counter()
    if workers is None:
        work(None, folder, found)
    else:
        with hands_on(workers.address, folder / "film.mp4", tell=lambda words: None) as hands:
            assert hands is not None
            work(hands, folder, found)
    wall = time.perf_counter() - begun
    waits = [queued(pid, earlier) for pid, earlier in zip(pids, before, strict=True)]
    return Spent(wall, sum(waits) / len(waits))


def measured(work: Work, count: int, turns: int) -> tuple[float, float]:
    """Share of linear of two workers, and one worker beside none; prints each turn."""
    sums = [0.0, 0.0, 0.0]
    with (
        clips(count) as (folder, found),
        tempfile.TemporaryDirectory() as home,
        crew(Path(home) / "1", 1, **AS_LOCAL) as one,
        crew(Path(home) / "2", 2, **AS_LOCAL) as two,
    ):
        for way in (one, two):  # each worker loads what it needs once
            spent(work, folder, found[:32], way)
        for _ in range(turns):
            turn = [spent(work, folder, found, way) for way in (None, one, two)]
            sums = [total + each.seconds for total, each in zip(sums, turn, strict=True)]
            told = "  ".join(
                f"{n}: {each}" for n, each in zip(("here", "1", "2"), turn, strict=True)
            )
            sys.stdout.write(f"{work.__name__} of {count:,} clips  {told}\n")
            sys.stdout.flush()
    return sums[1] / (2 * sums[2]), sums[1] / sums[0]


def main(argv: list[str]) -> int:
    """0 where both are reached."""
    missed = 0
    for work in (verify, posters):
        share, ratio = measured(work, int(argv[0]) if argv else CLIPS, TURNS)
        missed += share < LEAST_SHARE or ratio > MOST_RATIO
        sys.stdout.write(
            f"{work.__name__}: two workers {share:.2f} of linear (≥ {LEAST_SHARE}), "
            f"one {ratio:.2f} × without (≤ {MOST_RATIO})\n"
        )
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
