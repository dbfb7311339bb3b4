"""Reading takes time in proportion to rows, in every format that large manifests come in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seedance_batch.reader import read

from .sheets import Rows, write_csv, write_jsonl, write_xlsx, write_yaml

SMALL, LARGE = 400, 3_200


def rows(count: int) -> Rows:
    return [
        {
            "shot": str(number),
            "prompt": f"{number} a lamp wakes up on a quiet desk, slowly " * 2,
            "aspect_ratio": "16:9",
            "duration": str(4 + number % 10),
            "generate_audio": "yes",
            "seed": "x" if number % 2 else "7",
        }
        for number in range(count)
    ]


def seconds(path: Path) -> float:
    """Processor time of the quickest of three reads: other programs take turns here."""
    best = float("inf")
    for _ in range(3):
        begun = time.process_time()
        read(path)
        best = min(best, time.process_time() - begun)
    return best


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", write_csv),
        ("b.xlsx", write_xlsx),
        ("c.yaml", write_yaml),
        ("d.jsonl", write_jsonl),
    ],
)
def test_eight_times_the_rows_take_about_eight_times_as_long(
    tmp_path: Path, name: str, write: Callable[[Path, Rows], None]
) -> None:
    write(tmp_path / f"small-{name}", rows(SMALL))
    write(tmp_path / f"large-{name}", rows(LARGE))
    read(tmp_path / f"small-{name}")
    ratio = seconds(tmp_path / f"large-{name}") / seconds(tmp_path / f"small-{name}")

    assert ratio < 2 * LARGE / SMALL
