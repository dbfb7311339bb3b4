"""What commands say of what they did: fetched clips, sandbox money, the page, the first try."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import Shop, say


def test_the_name_alone_shows_help_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    said = say()
    assert (said.code, said.err) == (Exit.OK, "")
    assert said.out == say("--help").out
    assert "Commands:" in said.out


def test_fetch_says_which_clips_it_has_brought_and_when_there_was_nothing(shop: Shop) -> None:
    shop.fill(5)
    assert shop.run().code == Exit.OK
    for number in (1, 2, 3, 4):
        (shop.run_folder / "videos" / f"shot{number}.mp4").unlink()
    said = shop.online("fetch")
    assert said.code == Exit.OK
    first = said.out.splitlines()[0]
    assert first.startswith("Fetched 4 clips: videos/shot")
    assert first.endswith(" and 1 more")
    assert shop.online("fetch").out.splitlines()[0] == "Nothing was fetched."


@pytest.mark.more
def test_status_says_that_sandbox_money_is_none(shop: Shop) -> None:
    shop.fill(1)
    run = ("run", str(shop.manifest), "--sandbox", "-q")
    assert say(*run).code == Exit.OK
    words = "Sandbox prices, no real money."
    assert words in say("status", str(shop.manifest), "--sandbox").out
    (told,) = say("status", str(shop.manifest), "--sandbox", "--json").lines
    assert told["sandbox"] is True
    assert shop.run().code == Exit.OK
    assert words not in shop.at("status").out
    assert shop.at("status", "--json").lines[0]["sandbox"] is False


def test_report_opens_the_page_where_there_is_a_browser(shop: Shop, tmp_path: Path) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    opener = tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    opener.chmod(opener.stat().st_mode | stat.S_IXUSR)
    words = [sys.executable, "-m", "seedance_batch", "report", str(shop.run_folder), "--open"]
    for path, shown in ((f"{opener.parent}:/bin:/usr/bin", True), ("/nowhere", False)):
        (tmp_path / "opened").unlink(missing_ok=True)
        said = subprocess.run(
            words, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
        )
        page = said.stdout.strip()
        assert page.endswith("report.html")
        assert ("open the page by hand" in said.stderr) is not shown
    assert not shown
