"""How long commands take: ``--help``, small and large plans, continuing a batch that is done.

Run it as ``python -m tests.benchmarks.commands``. Every command is a process of its own; the
median of five counts for the short ones.
"""

from __future__ import annotations

import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seedance_batch.batch.open import open_batch
from seedance_batch.batch.orders import IntentMaker
from seedance_batch.core.attempt import Attempt, Clip, Phase, State
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.records import add_attempts, save
from seedance_batch.reader.source import ReadOptions
from seedance_batch.settings import RunSettings

from .world import inline, step_for

PROMPT = (
    "A paper boat drifts down a rainy street at night, neon on the water, a slow dolly shot, no. "
)


def manifest(folder: Path, rows: int) -> Path:
    """A CSV of ``rows`` rows with prompts of about 100 characters."""
    path = folder / f"boats{rows}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "duration", "resolution"])
        writer.writerows([f"boat{n}", f"{PROMPT}{n}", 4, "480p"] for n in range(rows))
    return path


def timed(*arguments: str, times: int = 1) -> tuple[float, float]:
    """Median seconds of a command, and the most memory in MB that any command took so far."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        found = subprocess.run(
            [sys.executable, "-m", "seedance_batch", *arguments], capture_output=True, check=False
        )
        seconds.append(time.perf_counter() - started)
        if found.returncode:
            raise RuntimeError(found.stderr.decode())
    return statistics.median(seconds), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def finish(path: Path) -> None:
    """Make every row done, as a run would have left it."""
    import anyio

    with open_batch(path, ReadOptions(), RunSettings(sandbox=True), os.environ) as batch:
        batch.remember(batch.plan())
        maker = IntentMaker(
            batch.journal, api_key="sk-sandbox", storage=None, wall=time.time, offload=inline
        )
        made = [anyio.run(maker.make, step_for(job), job) for job in batch.jobs]
        (batch.folder.path / "videos").mkdir(parents=True, exist_ok=True)
        attempts = batch.journal.write(add_attempts(made, State()))
        _done(batch.journal, attempts)
        for attempt in attempts:
            (batch.folder.path / _name(attempt)).touch()


def _done(journal: Journal, attempts: list[Attempt]) -> None:
    def run(connection: object) -> None:
        for attempt in attempts:
            clip = Clip(_name(attempt), 1, "0" * 64, 4.04, 864, 496, has_audio=True)
            state = State(Phase.DONE, task_id=f"tk-{attempt.id}", file=clip.file, clip=clip)
            done = Attempt(attempt.id, attempt.intent, state)
            save(done, at=time.time(), event="Published")(connection)  # type: ignore[arg-type]

    journal.write(run)


def _name(attempt: Attempt) -> str:
    return f"videos/{attempt.intent.key}.mp4"


def main() -> int:
    """Prints each command beside its target."""
    missed = 0

    def show(name: str, value: float, target: float, unit: str) -> None:
        nonlocal missed
        missed += value > target
        sign = "ok  " if value <= target else "MISS"
        sys.stdout.write(f"{sign} {name}: {value:.2f} {unit} (at most {target:g})\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        show("--help", 1000 * timed("--help", times=5)[0], 100, "ms")
        ten = str(manifest(folder, 10))
        show("plan of 10 rows", 1000 * timed("plan", ten, "--sandbox", times=5)[0], 900, "ms")
        path = manifest(folder, 10_000)
        finish(path)
        timed("run", str(path), "--sandbox", "-q")  # leaves sheets and page, as a real run does
        show("continuing 10,000 rows, done", timed("run", str(path), "--sandbox", "-q")[0], 2, "s")
        half, whole = manifest(folder, 50_000), manifest(folder, 100_000)
        first = timed("plan", str(half), "--sandbox", "-q")[0]
        seconds, memory = timed("plan", str(whole), "--sandbox", "-q")
        size = whole.stat().st_size / 2**20
        show("plan of 100,000 rows", seconds, 6, "s")
        show("its memory beyond the file's size", memory - size, 400, "MB")
        show("its time beside half as many rows", seconds / first, 2.3, "times")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
