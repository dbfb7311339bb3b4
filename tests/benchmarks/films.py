"""Seconds and memory of joining clips, beside ffmpeg: ``python -m tests.benchmarks.films``.

Every film is made in a process of its own, so that its time and peak are its own. ffmpeg is the
system's, and is left out where there is none. CPU seconds say something on a busy machine too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seedance_batch.clips.film import QUALITY, FilmOrder, make_film, shot_of
from seedance_batch.core.clip_sets import plan_film
from seedance_batch.publish import replacing, sha256_of
from tests.clips.filmed import filmed

MOST_SECONDS = 2.0
"""Of 60 clips of 5 s at 720p that are copied."""
MOST_MEMORY = 150.0
"""MiB of the whole process that copies."""
MOST_RATIO = 1.3
"""Encoding, beside ffmpeg with the same settings."""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    seconds: float
    cpu: float
    memory: float | None = None
    """MiB at most, where the process tells."""

    def __str__(self) -> str:
        memory = "" if self.memory is None else f", {self.memory:4.0f} MiB"
        return f"{self.seconds:6.2f} s, {self.cpu:6.2f} s of CPU{memory}"


def cost_of(command: Sequence[str]) -> Cost:
    """What it takes to run a command to its end; it may print its memory in MiB."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        told = process.stdout.read() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    spent = used.ru_utime + used.ru_stime
    return Cost(time.perf_counter() - begun, spent, float(told) if told else None)


def joining(paths: Sequence[Path], target: Path) -> Cost:
    """What a film costs: the process, the clips' hashes, the film and its way to the disk."""
    command = [sys.executable, "-m", "tests.benchmarks.films", str(target), *map(str, paths)]
    return cost_of(command)


def peak() -> float:
    """The most memory that this program has had, in MiB; not what forked it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def join(target: Path, paths: Sequence[Path]) -> None:
    """Make a film, as ``join`` does."""
    shots = []
    for path in paths:
        sha256_of(path)
        shots.append(shot_of(path, path.stem))
    with replacing(target) as temporary:
        order = FilmOrder(plan_film(shots), paths, "A film", "a bench")
        make_film(order, temporary, lambda count: None)


# ── the clips ───────────────────────────────────────────────────────────────────────────────────


@contextmanager
def copied_clips(count: int, size: tuple[int, int] = (1280, 720)) -> Iterator[list[Path]]:
    """So many clips of 5 s of one form."""
    with tempfile.TemporaryDirectory() as folder:
        first = filmed(Path(folder) / "clip0.mp4", 0, frames=121, size=size, preset="fast")
        paths = [Path(folder) / f"clip{number}.mp4" for number in range(count)]
        for path in paths[1:]:
            shutil.copy(first, path)
        yield paths


@contextmanager
def clips_to_encode(count: int) -> Iterator[list[Path]]:
    """A clip of a second that cannot be copied, and others of another size."""
    with tempfile.TemporaryDirectory() as folder:
        web = ("libvpx-vp9", "libopus")
        first = filmed(Path(folder) / "first.webm", 0, size=(1280, 720), codecs=web, rate=48_000)
        others = [
            filmed(Path(folder) / f"{number}.mp4", number, frames=121, size=(960, 960), noise=True)
            for number in range(1, count)
        ]
        yield [first, *others]


# ── ffmpeg ──────────────────────────────────────────────────────────────────────────────────────


def ffmpeg_joining(ffmpeg: str, paths: Sequence[Path], target: Path) -> Cost:
    """The same film by ffmpeg: the same encoder, quality, size and sound."""
    fitted = (
        "scale=1280:720:force_original_aspect_ratio=decrease,pad=1280:720:(ow-iw)/2:(oh-ih)/2,"
        "setsar=1"
    )
    steps = [f"[{n}:v]{fitted}[v{n}];" for n in range(len(paths))]
    named = "".join(f"[v{n}][{n}:a]" for n in range(len(paths)))
    graph = f"{''.join(steps)}{named}concat=n={len(paths)}:v=1:a=1[v][a]"
    given = [word for path in paths for word in ("-i", str(path))]
    quality = [word for name, value in QUALITY.items() for word in (f"-{name}", value)]
    return cost_of(
        [ffmpeg, "-v", "error", "-y", *given, "-filter_complex", graph, "-map", "[v]", "-map",
         "[a]", "-r", "24", "-c:v", "libx264", *quality, "-c:a", "aac", "-b:a", "192k",
         "-movflags", "+faststart", str(target)]
    )  # fmt: skip


def ffmpeg_copying(ffmpeg: str, paths: Sequence[Path], target: Path) -> Cost:
    """The clips one after the other by ffmpeg's list of files, copied."""
    files = target.with_suffix(".txt")
    files.write_text("".join(f"file '{path}'\n" for path in paths), encoding="utf-8")
    return cost_of(
        [ffmpeg, "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", str(files), "-c", "copy",
         "-movflags", "+faststart", str(target)]
    )  # fmt: skip


def main(argv: list[str]) -> None:
    """Print what films cost; with a target and clips, make that film only."""
    if argv:
        join(Path(argv[0]), [Path(path) for path in argv[1:]])
        sys.stdout.write(f"{peak()}\n")
        return
    ffmpeg = shutil.which("ffmpeg")
    with copied_clips(60) as paths:
        target = paths[0].with_name("film.mp4")
        _tell(f"60 clips of 5 s at 720p, copied (≤ {MOST_SECONDS} s)", joining(paths, target))
        if ffmpeg:
            _tell("the same by ffmpeg, without chapters", ffmpeg_copying(ffmpeg, paths, target))
        _tell("6 of them", joining(paths[:6], target))
    with clips_to_encode(4) as paths:
        target = paths[0].with_name("film.mp4")
        ours = joining(paths, target)
        _tell("16 s encoded at 720p", ours)
        if ffmpeg:
            theirs = ffmpeg_joining(ffmpeg, paths, target)
            _tell("the same by ffmpeg", theirs)
            ratios = ours.seconds / theirs.seconds, ours.cpu / theirs.cpu
            sys.stdout.write(f"  {ratios[0]:.2f} × its seconds, {ratios[1]:.2f} × its CPU\n")


def _tell(what: str, cost: Cost) -> None:
    sys.stdout.write(f"{what:52} {cost}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
