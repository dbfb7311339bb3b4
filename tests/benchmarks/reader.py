"""How fast manifests are read: seconds, memory beyond the file, and growth from half the rows.

::

    python tests/benchmarks/reader.py

Each figure is the quickest of three reads in a process of its own, which reports its own peak.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HEADINGS = ("shot", "client", "prompt", "aspect_ratio", "duration", "resolution", "generate_audio")
WORDS = (
    "soft light crane shot over a misty valley golden hour lamp warm slow push tilt rain".split()
)

CHILD = """
import json, sys, time
from seedance_batch.reader.read import read_manifest
def status(key):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(key))
import pydantic, seedance_batch.reader.read
before = status("VmRSS:")
begun = time.perf_counter()
manifest = read_manifest(sys.argv[1])
print(json.dumps([time.perf_counter() - begun, (status("VmHWM:") - before) / 1024,
                  len(manifest.jobs), len(manifest.problems)]))
"""


@dataclass(frozen=True)
class Case:
    """A file to read, and what reading it may cost."""

    name: str
    count: int
    write: Callable[[Path, int], None]
    most_seconds: float
    most_mib: float | None = None


def rows(count: int) -> Iterator[list[str]]:
    dice = random.Random(7)
    for number in range(count):
        prompt = f"{number} {' '.join(dice.choices(WORDS, k=25))}"[:100]
        ratio, seconds = dice.choice(["16:9", "9:16"]), dice.choice("456")
        yield [str(number), "Acme", prompt, ratio, seconds, "480p", "true"]


def write_csv(path: Path, count: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADINGS, *rows(count)])


def write_xlsx(path: Path, count: int) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        for line, cells in enumerate([HEADINGS, *rows(count)]):
            for column, text in enumerate(cells):
                sheet.write_string(line, column, text)


def write_yaml(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("rows:\n")
        for cells in rows(count):
            pairs = zip(HEADINGS, cells, strict=True)
            file.write(
                "".join(
                    f"{'  - ' if i == 0 else '    '}{k}: {v}\n" for i, (k, v) in enumerate(pairs)
                )
            )


CASES = (
    Case("100,000-row CSV", 100_000, write_csv, 6.0, 400.0),
    Case("20,000-row XLSX", 20_000, write_xlsx, 6.0),
    Case("10,000-row YAML", 10_000, write_yaml, 5.0),
)


def measured(path: Path) -> tuple[float, float]:
    """Seconds and MiB beyond the file of the quickest of three reads."""
    runs = []
    for _ in range(3):
        found = subprocess.run(
            [sys.executable, "-c", CHILD, str(path)], capture_output=True, check=True, text=True
        )
        seconds, mib, jobs, problems = json.loads(found.stdout)
        assert (jobs > 0, problems) == (True, 0)
        runs.append((seconds, mib - path.stat().st_size / 2**20))
    return min(runs)


def main() -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            path = Path(folder) / case.name.split()[1].lower()
            half = path.with_name(f"half.{path.name}")
            path = path.with_name(f"whole.{path.name}")
            case.write(path, case.count)
            case.write(half, case.count // 2)
            seconds, mib = measured(path)
            ratio = seconds / measured(half)[0]
            good = seconds <= case.most_seconds and ratio <= 2.6
            good = good and (case.most_mib is None or mib <= case.most_mib)
            failed += not good
            print(  # noqa: T201
                f"{case.name}: {seconds:.2f} s (at most {case.most_seconds:.0f}), "
                f"{mib:.0f} MiB beyond the file"
                + (f" (at most {case.most_mib:.0f})" if case.most_mib else "")
                + f", {ratio:.2f} × the time of half the rows: {'good' if good else 'TOO SLOW'}"
            )
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
