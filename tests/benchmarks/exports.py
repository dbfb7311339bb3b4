"""Seconds and memory of an export, beside tar: ``python -m tests.benchmarks.exports [CLIPS]``.

Clips of 1 MB into shards of 1 GB, and the same files into one archive by the system's tar, in turns
on one disk. Either ends with its bytes on the disk. An export is a process of its own; its seconds
are without Python's start, and with the journal and the hash of each clip.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seedance_batch.batch.exporting import export_dataset
from seedance_batch.batch.samples import ExportPart, ExportWish
from seedance_batch.run_folder import RunFolder
from tests.batch.finished import finished_folder

from .films import Cost, cost_of, peak

MB = 10**6
MOST_MEMORY = 200.0
"""MiB of the whole process, whatever the number of clips and their size."""
LEAST_RATIO = 0.8
"""Of tar's speed."""
TURNS = 3


@contextmanager
def finished_clips(count: int, size: int = MB) -> Iterator[RunFolder]:
    """A run folder with so many clips, on the disk on which temporary files are."""
    with tempfile.TemporaryDirectory() as folder:
        yield finished_folder(Path(folder) / "run", range(count), size=size)


def exporting(folder: RunFolder) -> Cost:
    """What it takes to make shards of all clips."""
    dest = folder.path.parent / "set"
    shutil.rmtree(dest, ignore_errors=True)
    given = [sys.executable, "-m", "tests.benchmarks.exports", str(folder.path), str(dest)]
    done = subprocess.run(given, capture_output=True, text=True, check=True)
    return Cost(*map(float, done.stdout.split()))


def archiving(folder: RunFolder) -> Cost:
    """What it takes tar to put the clips and posters into an archive, and onto the disk."""
    target = folder.path.parent / "all.tar"
    target.unlink(missing_ok=True)
    script = 'tar -C "$1" -cf "$2" videos posters && sync "$2"'
    return cost_of(["sh", "-c", script, "sh", str(folder.path), str(target)])


def main(argv: list[str]) -> None:
    """Print what both take; with a run folder and a place, export only."""
    if len(argv) == 2:
        begun = time.perf_counter(), time.process_time()
        export_dataset(ExportWish((ExportPart(RunFolder(Path(argv[0]))),), Path(argv[1])), None)
        spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
        sys.stdout.write(f"{spent[0]} {spent[1]} {peak()}\n")
        return
    count = int(argv[0]) if argv else 1_500
    with finished_clips(count) as folder:
        turns = [(exporting(folder), archiving(folder)) for _ in range(TURNS)]
    for ours, theirs in turns:
        sys.stdout.write(f"{count:,} clips of 1 MB  export {ours}  tar {theirs}\n")
    best = min(theirs.seconds for _, theirs in turns) / min(ours.seconds for ours, _ in turns)
    sys.stdout.write(f"best of {TURNS}: {best:.2f} × tar's speed (≥ {LEAST_RATIO})\n")


if __name__ == "__main__":
    main(sys.argv[1:])
