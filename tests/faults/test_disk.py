"""The disk refuses: nothing is sent that could not be recorded, and the exit is clear."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from itertools import count, product
from pathlib import Path

import pytest

from tests.rig import Bench, Ran, some

ROWS = 2
REFUSED = "tests.faults.inside:failing_call"
MakeBench = Callable[..., Bench]


def finishes(bench: Bench) -> None:
    """Once the disk is well, the same command ends the batch."""
    ran = bench.forked()
    assert ran.code == 0, ran.output
    assert bench.verdict(ROWS).holds


def ended_clearly(ran: Ran) -> None:
    """With a sentence and a hint, not with an accident."""
    assert "an internal error occurred" not in ran.output, ran.output
    assert ran.code == (2 if "Nothing was sent" in ran.output else 5), ran.output
    assert "error:" in ran.output
    assert "hint:" in ran.output


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("reason", "step"),
    some(
        ("disk full", 4),
        ("damaged", 11),
        slow=(("disk full", 1), ("damaged", 2), ("I/O error", 2), ("read-only", 2)),
    ),
)
def test_nothing_is_sent_once_the_journal_cannot_commit(
    reason: str, step: int, make_bench: MakeBench, tmp_path: Path
) -> None:
    for turn in count(1, step):
        bench, log = make_bench(ROWS, name=f"turn{turn}"), tmp_path / f"log{turn}"
        ran = bench.forked(
            call="tests.faults.inside:failing_commit", turn=turn, reason=reason, deeds=str(log)
        )
        deeds = log.read_text().splitlines()
        if "refused" not in deeds:
            break
        ended_clearly(ran)
        recorded = len(bench.attempts()) if (bench.run_folder / "journal.db").exists() else 0
        assert deeds.count("POST") <= recorded
        assert deeds[deeds.index("refused") :].count("POST") <= 1  # one may be on its way
        finishes(bench)
        shutil.rmtree(bench.folder)
    assert turn > 12


ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE)
CALLS = ("fsync", "link", "replace", "open")
USUAL = tuple(zip(CALLS, ERRORS, strict=True))


@pytest.mark.cases(2)
@pytest.mark.parametrize(
    ("call", "error"), some(*USUAL, slow=sorted({*product(CALLS, ERRORS)} - {*USUAL}))
)
def test_a_refused_sync_or_name_ends_clearly_and_goes_on(
    call: str, error: int, make_bench: MakeBench
) -> None:
    for turn in (1, 4):
        bench = make_bench(ROWS, name=f"turn{turn}")
        ran = bench.forked(call=REFUSED, name=call, turn=turn, error=error)
        if ran.code:
            ended_clearly(ran)
        finishes(bench)


@pytest.mark.parametrize("most", some(8_000, 60_000, slow=(40_000, 400_000)))
def test_files_that_may_grow_no_more_are_a_full_disk(most: int, make_bench: MakeBench) -> None:
    bench = make_bench(ROWS)
    ran = bench.forked(call="tests.faults.inside:limited", kind="RLIMIT_FSIZE", soft=most)
    if most < 400_000:
        ended_clearly(ran)
    finishes(bench)


def test_too_few_open_files_end_clearly_whatever_lacks_one(make_bench: MakeBench) -> None:
    worked = 0
    for most in (16, 28):  # with fewer than 14, Python itself has no event loop
        bench = make_bench(ROWS, name=f"most{most}")
        ran = bench.forked(call="tests.faults.inside:limited", kind="RLIMIT_NOFILE", soft=most)
        worked += ran.code == 0
        if ran.code:
            ended_clearly(ran)
        assert "an internal error occurred" not in ran.output, ran.output
        finishes(bench)
    assert 0 < worked


def test_a_disk_with_no_room_for_clips_buys_none(make_bench: MakeBench) -> None:
    bench = make_bench(ROWS)
    ran = bench.forked(call="tests.faults.inside:nearly_full", free=10 << 20)
    ended_clearly(ran)
    assert ran.code == 2, ran.output
    assert bench.tasks() == []
    finishes(bench)


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can become nobody")
def test_a_folder_that_may_not_be_written_is_left_alone(
    make_bench: MakeBench, open_place: Path
) -> None:
    bench = make_bench(ROWS, place=open_place)
    _open_the_way(bench)
    ran = bench.forked(call="tests.faults.inside:as_nobody")
    ended_clearly(ran)
    assert ran.code == 2, ran.output  # a loop that runs again while it is 5 comes to its end
    assert bench.tasks() == []
    finishes(bench)


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can become nobody")
def test_a_run_folder_that_may_only_be_read_can_be_looked_at(
    make_bench: MakeBench, open_place: Path
) -> None:
    bench = make_bench(ROWS, place=open_place)
    finishes(bench)
    assert bench.forker is not None
    for path in bench.run_folder.glob("journal.db-*"):  # as after a copy of the finished folder
        path.unlink()
    for path in (bench.run_folder, *bench.run_folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    _open_the_way(bench)
    before = {path: path.stat().st_mtime_ns for path in bench.run_folder.rglob("*")}
    for command in ("status", "verify", "report"):
        pid = bench.forker.start(
            "tests.faults.inside:as_nobody",
            bench.environment(),
            bench.log,
            argv=[command, str(bench.run_folder)],
        )
        ran = bench.ended(pid)
        assert ran.code == 0, ran.output
    assert {path: path.stat().st_mtime_ns for path in bench.run_folder.rglob("*")} == before
    ran = bench.forked(call="tests.faults.inside:as_nobody")
    assert ran.code == 2, ran.output


def _open_the_way(bench: Bench) -> None:
    """Let another user come as far as the manifest, where he may come to this Python at all."""
    needed = (Path(sys.prefix, "lib"), Path(__file__))
    if not all(place.stat().st_mode & 0o001 for path in needed for place in path.parents):
        pytest.skip("nobody may not read this Python, or these tests")
    bench.folder.chmod(0o755)
