"""A journal that lost its log, or its last hours: the same orders are replayed, never bought."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, Shop

CALLED = ("--callback-url", "http://127.0.0.1:9/hook", "--callback-bind", "127.0.0.1:0")


def killed(shop: Shop, *flags: str, until: Callable[[], bool]) -> None:
    """A run that is killed as soon as something is so; its log stays behind."""
    url = ("--api-url", shop.service.api_url)
    command = [sys.executable, "-m", "seedance_batch", "run", str(shop.manifest), *url]
    with shop.service.having(generation_time="2"):
        run = subprocess.Popen(
            [*command, *QUICK, "--yes", *flags],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not until():
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()
        run.wait()


def in_flight(shop: Shop, count: int) -> Callable[[], bool]:
    """Whether the journal knows of so many tasks."""

    def known() -> bool:
        if not (shop.run_folder / "journal.db").exists():
            return False
        return sum(a.state.task_id is not None for a in shop.attempts()) >= count

    return known


@pytest.mark.cases(1)
@pytest.mark.parametrize("flags", [(), CALLED], ids=["looks", "callbacks"])
def test_a_journal_without_its_log_buys_nothing_again(shop: Shop, flags: tuple[str, ...]) -> None:
    shop.fill(3)
    killed(shop, *flags, until=in_flight(shop, 3))
    for ending in ("-wal", "-shm"):
        (shop.run_folder / f"journal.db{ending}").unlink()
    said = shop.run(*flags)
    assert said.code == Exit.OK, said.err
    assert len(shop.tasks()) == 3
    assert shop.statuses() == ["done"] * 3


@pytest.mark.more
def test_a_body_that_cannot_come_out_the_same_is_refused_by_the_service_and_not_bought(
    shop: Shop,
) -> None:
    """A callback address with another port makes another body; its key is the same."""
    shop.fill(2)
    own = ("--callback-bind", "127.0.0.1:0")
    killed(shop, *own, until=in_flight(shop, 2))
    (shop.run_folder / "journal.db-wal").unlink()
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:
        journal.execute("DELETE FROM attempts")
    journal.close()
    assert shop.run(*own).code == Exit.UNFINISHED
    assert len(shop.tasks()) == 2
    assert {a.state.phase for a in shop.attempts()} == {Phase.AMBIGUOUS}


@pytest.mark.slow
def test_a_copy_from_before_the_last_rows_leads_to_the_same_tasks(shop: Shop) -> None:
    shop.fill(3)
    journal, copy = shop.run_folder / "journal.db", shop.folder / "copy.db"
    assert shop.run("--limit", "1").code == Exit.OK
    shutil.copy(journal, copy)
    shop.service.configure(faults={"tasks": {"TASK_TIMEOUT": 1.0}})
    try:
        assert shop.run("--limit", "2").code == Exit.SOME_FAILED
    finally:
        shop.service.configure(faults={"moderation": ["forbidden"]})
    assert shop.run(command="rerun").code == Exit.OK
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 4
    shutil.copy(copy, journal)
    assert shop.run().code == Exit.SOME_FAILED  # the first try of the second row, replayed
    assert shop.run(command="rerun").code == Exit.OK
    assert shop.statuses() == ["done"] * 3
    assert len(shop.tasks()) == 4


@pytest.mark.cases(1)
@pytest.mark.parametrize("written_by", ["us", "another"])
def test_sheets_of_a_run_that_died_before_its_summary_are_its_own(
    shop: Shop, written_by: str
) -> None:
    shop.fill(2)
    journal, copy = shop.run_folder / "journal.db", shop.folder / "copy.db"
    assert shop.run("--limit", "1").code == Exit.OK
    shutil.copy(journal, copy)
    assert shop.run().code == Exit.OK
    shutil.copy(copy, journal)
    (shop.run_folder / "summary.json").unlink()
    (shop.run_folder / "videos" / "shot2.mp4").unlink()
    if written_by == "another":
        for name in ("results.jsonl", "results.csv"):
            os.utime(shop.run_folder / name, (1.0, 1.0))
    assert shop.run().code == (Exit.OK if written_by == "us" else Exit.USAGE)
    assert len(shop.tasks()) == 2


@pytest.mark.slow
def test_a_copy_that_is_taken_while_a_run_goes_on_is_enough(shop: Shop) -> None:
    shop.fill(3)
    killed(shop, until=in_flight(shop, 3))
    elsewhere = replace(shop, folder=shop.folder / "elsewhere")
    elsewhere.run_folder.mkdir(parents=True)
    shutil.copy(shop.manifest, elsewhere.manifest)
    shutil.copy(shop.run_folder / "journal.db", elsewhere.run_folder)
    assert elsewhere.run().code == Exit.OK
    assert len(shop.tasks()) == 3
