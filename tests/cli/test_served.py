"""``report --serve`` as a process, and ``--from marks`` on what was chosen there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

import seedance_batch
from seedance_batch.errors import Exit
from seedance_batch.page.marks import save_mark
from tests.cli.shop import QUICK, Shop


@contextmanager
def serving(shop: Shop, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command at work, and the address that it printed."""
    command = [sys.executable, "-m", "seedance_batch", "report", str(shop.run_folder), "--serve"]
    with subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def mark(shop: Shop, key: str, take: str, word: str, **more: Any) -> None:
    """What the served page saves."""
    save_mark(shop.run_folder, key, take, {"mark": word, "seen": True, **more})


@pytest.fixture
def two(shop: Shop) -> Shop:
    """Two rows that are done."""
    shop.fill(2)
    assert shop.run().code == Exit.OK
    return shop


@pytest.mark.skipif(os.name == "nt", reason="a signal that Windows does not send")
def test_it_prints_one_address_serves_there_and_ends_well_by_ctrl_c(two: Shop) -> None:
    with serving(two) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        assert "shot1" in httpx.get(address, trust_env=False).text
        clip = httpx.get(f"{address}videos/shot1.mp4", trust_env=False)
        assert (two.run_folder / "videos" / "shot1.mp4").read_bytes() == clip.content
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (Exit.OK, "", "Ctrl-C ends it.\n") == (process.returncode, out, err)


@pytest.mark.more
def test_to_let_the_network_in_is_warned_of(two: Shop) -> None:
    with serving(two, "--bind", "::1") as (process, address):
        assert address.startswith("http://[::1]:")
        assert 200 == httpx.get(address, trust_env=False).status_code
        process.terminate()
        assert "warning" not in process.communicate()[1]
    said = two.at("report", "--serve", "--bind", "192.0.2.1")
    assert (Exit.USAGE, "cannot be served at 192.0.2.1") == (said.code, said.err[16:45])


@pytest.mark.more
def test_a_redo_on_the_page_buys_one_take_and_one_of_the_new_take_another(two: Shop) -> None:
    mark(two, "shot1", "final 1", "redo")
    mark(two, "shot2", "final 1", "keep")
    for _ in range(2):
        assert two.run("--from", "marks", command="rerun").code == Exit.OK
        assert 3 == len(two.tasks())
    mark(two, "shot1", "final 2", "redo")
    for _ in range(2):
        assert two.run("--from", "marks", command="rerun").code == Exit.OK
        assert 4 == len(two.tasks())


@pytest.mark.more
def test_kept_drafts_are_promoted_and_kept_clips_joined(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run("--draft").code == Exit.OK
    nothing = shop.run("--from", "marks", command="promote")
    assert (Exit.USAGE, 2) == (nothing.code, len(shop.tasks()))
    assert "marks has no row marked keep" in nothing.err
    mark(shop, "shot2", "draft 1", "keep")
    assert shop.run("--from", "marks", command="promote").code == Exit.OK
    assert 3 == len(shop.tasks())
    mark(shop, "shot2", "final 1", "keep")
    (film,) = shop.at("join", "--from", "marks", "--json").lines
    assert ["shot2"] == film["ids"]


@pytest.mark.more
def test_python_takes_the_marks_too(two: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIAPI_BASE_URL", two.service.api_url)
    mark(two, "shot2", "final 1", "redo")
    made = seedance_batch.rerun(two.manifest, picks="marks", yes=True, progress=False)
    assert Exit.OK == made.exit_code
    assert ["final 1", "final 2"] == [
        f"{take.intent.kind} {take.intent.number}"
        for take in two.attempts()
        if take.intent.key == "shot2"
    ]


def test_a_run_serves_its_page_while_it_goes_on_and_ends_as_ever(shop: Shop) -> None:
    shop.fill(3)
    command = [sys.executable, "-m", "seedance_batch", "run", str(shop.manifest), "--serve"]
    more = ["--api-url", shop.service.api_url, *QUICK, "--yes", "-q"]
    with shop.service.having(generation_time="2"):
        with subprocess.Popen(
            [*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run:
            assert run.stderr
            line = next(line for line in run.stderr if line.startswith("page "))
            order = None
            while not order and run.poll() is None:
                news = httpx.get(f"{line.split()[1]}news", trust_env=False).json()
                order = news["order"]
                time.sleep(0.1)
            out, _ = run.communicate()
    assert Exit.OK == run.returncode
    assert ["shot1", "shot2", "shot3"] == order
    assert "3 done" in out
    assert 3 == len(shop.tasks())
