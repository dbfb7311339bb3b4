"""``help`` shows the pages of ``docs/`` to whoever has the program, with no network."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from seedance_batch.cli import main
from seedance_batch.core.attempt import Surety
from seedance_batch.core.outcome import Status
from seedance_batch.core.overview import label
from seedance_batch.core.steps import Action
from seedance_batch.errors import Exit
from tests.cli.shop import say

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}


@pytest.mark.parametrize("topic", PAGES)
def test_a_topic_is_a_page_as_plain_text(topic: str) -> None:
    said = say("help", topic)
    assert (said.code, said.out.rstrip("\n")) == (Exit.OK, PAGES[topic].rstrip("\n"))


def test_without_a_topic_each_page_is_listed_with_a_line() -> None:
    listed = [line.split(maxsplit=1) for line in say("help").out.splitlines()]
    for topic, page in PAGES.items():
        assert [topic, page.partition("\n")[0].removeprefix("# ")] in listed


def test_a_commands_name_shows_its_help() -> None:
    assert say("help", "check").out == say("check", "--help").out


@pytest.mark.parametrize(("given", "meant"), [("evnts", "events"), ("Chek", "check")])
def test_an_unknown_topic_leads_to_the_one_that_was_meant(given: str, meant: str) -> None:
    said = say("help", given)
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert said.err.endswith(f"hint: seedance-batch help {meant}\n")


@pytest.mark.parametrize("given", ["zzzzzz", "../README", ""])
def test_what_is_like_no_topic_leads_to_the_list(given: str) -> None:
    said = say("help", given)
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert said.err.endswith("hint: seedance-batch help\n")


def test_a_page_is_shown_whatever_is_wrong_with_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEEDANCE_BATCH_CONFIG", "there-is-none.toml")
    monkeypatch.setenv("SEEDANCE_BATCH_MAXCOST", "40")
    assert say("help", "commands").code == Exit.OK


def test_pages_lie_in_the_package_once_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "seedance_batch" / "docs"
    packed.mkdir(parents=True)
    (packed / "events.md").write_text("# Events\n", encoding="utf-8")
    monkeypatch.setattr(main, "__file__", str(tmp_path / "seedance_batch" / "cli" / "main.py"))
    assert main.pages() == {"events": packed / "events.md"}


def test_a_terminal_gets_a_page_through_its_pager(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {shlex.quote(str(seen))}\n", encoding="utf-8")
    pager.chmod(0o755)
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "seedance_batch", "help", "events"],
            stdin=theirs, stdout=theirs, check=True, timeout=60,
            env={**os.environ, "PAGER": shlex.quote(str(pager)), "TERM": "xterm"},
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert seen.read_text(encoding="utf-8").rstrip() == PAGES["events"].rstrip()


def test_a_command_in_a_hint_can_be_pasted_into_windows_shells() -> None:
    from seedance_batch.cli.hints import as_typed

    words = ["seedance-batch", "run", "my shots.csv", "--where", "client == 'Acme'"]
    assert as_typed(words, windows=True) == (
        """seedance-batch run "my shots.csv" --where "client == 'Acme'\""""
    )
    assert as_typed(words, windows=False).startswith("seedance-batch run 'my shots.csv'")


def test_the_legend_explains_each_sign_of_a_plan_each_status_and_each_word_about_money() -> None:
    legend = say("help", "legend").out
    for action in Action:
        assert f"| `{action.sign}` | {label(action)} |" in legend
    for word in (*Status, *Surety):
        assert f"| {word} |" in legend
