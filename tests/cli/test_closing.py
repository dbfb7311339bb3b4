"""A terminal that closes ends a run as tidily as a kill does; under nohup it does not end it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedance_batch.batch.running import code_of_signal
from tests.cli.shop import QUICK, Shop


def under_way(shop: Shop, *before: str, **streams: int) -> subprocess.Popen[bytes]:
    """A run in a session of its own, once its rows are sent."""
    words = ["run", str(shop.manifest), "--api-url", shop.service.api_url, *QUICK, "--yes"]
    program = [sys.executable, "-m", "seedance_batch"]
    run = subprocess.Popen([*before, *program, *words], start_new_session=True, **streams)  # type: ignore[call-overload]
    deadline = time.monotonic() + 120
    while len(shop.tasks()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return run


def test_a_terminal_that_goes_away_leaves_a_whole_journal_and_whole_sheets(shop: Shop) -> None:
    shop.fill(2)
    ours, theirs = pty.openpty()
    with shop.service.having(generation_time="3"):
        run = under_way(shop, stdout=theirs, stderr=theirs)
        os.close(theirs)
        os.close(ours)
        run.send_signal(signal.SIGHUP)
        assert run.wait(timeout=120) == 129
    assert json.loads((shop.run_folder / "summary.json").read_text())["exit_code"] == 129
    assert shop.run().code == 0
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_under_nohup_the_run_goes_on(shop: Shop) -> None:
    shop.fill(2)
    nowhere = os.open(os.devnull, os.O_RDWR)
    with shop.service.having(generation_time="2"):
        run = under_way(shop, "nohup", stdout=nowhere, stderr=nowhere)
        run.send_signal(signal.SIGHUP)
        assert run.wait(timeout=120) == 0
    os.close(nowhere)
    assert shop.statuses() == ["done", "done"]


def test_each_signal_has_the_code_that_shells_give_it() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert code_of_signal(number) == 128 + number


def test_handlers_of_before_are_there_again_afterwards(shop: Shop, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    shop.fill(1)
    assert shop.run().code == 0
    assert signal.getsignal(signal.SIGTERM) is before
