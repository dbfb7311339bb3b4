"""CPU time and memory of each sheet: ``python -m tests.benchmarks.sheets [ROWS]``.

Every sheet is written in a process of its own, so that its peak is its own; the peak of a process
that only has the outcomes is taken off.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seedance_batch.core.attempt import Phase
from seedance_batch.core.outcome import Outcome, outcomes
from seedance_batch.writer.files import SHEETS, write_sheets
from tests.writer.samples import attempt, row, source

PROMPT = (
    'A slow dolly-in on a cup; steam, dawn light, "no logo", 35 mm.\n清晨的茶园,薄雾缭绕。 ' * 12
)
"""About 1,000 characters on a dozen lines, as public prompts have."""


def main(argv: list[str]) -> None:
    """Print a table; with a sheet's name, write that one only and print its two figures."""
    rows = int(argv[0]) if argv else 20_000
    if argv[1:]:
        seconds, size = write(argv[1], rows)
        print(seconds, size, peak())  # noqa: T201
        return
    base = measured("nothing", rows)[2]
    print(f"{rows:,} rows, prompts of {len(PROMPT):,} characters")  # noqa: T201
    for name in SHEETS:
        seconds, size, memory = measured(name, rows)
        print(  # noqa: T201
            f"{name:14} {seconds:6.1f} s {size / 2**20:7.1f} MiB, "
            f"{memory - base:5.0f} MiB above the outcomes' {base:.0f}"
        )


def measured(name: str, rows: int) -> list[float]:
    """CPU seconds, bytes and peak MiB of writing one sheet."""
    command = [sys.executable, "-m", "tests.benchmarks.sheets", str(rows), name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(figure) for figure in done.stdout.split()]


def write(name: str, rows: int) -> tuple[float, int]:
    """Write one sheet of so many rows; CPU seconds and bytes."""
    found = sample(rows)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        done = write_sheets(source(Path(folder), found), only={name})
        seconds = time.process_time() - begun
        return seconds, sum(path.stat().st_size for path in done.files.values())


def sample(rows: int) -> list[Outcome]:
    """Nine rows of ten done, the tenth failed."""
    records = [
        row(n, shot=str(n), prompt=f"{n}: {PROMPT}", client="Acme") for n in range(1, rows + 1)
    ]
    return outcomes(
        records,
        (attempt(of, Phase.FAILED if of.number % 10 == 0 else Phase.DONE) for of in records),
    )


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1:])
