"""New money needs a yes: at a terminal once, elsewhere by flag or by a saved plan."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, Said, Shop, say


@pytest.fixture
def unasked(shop: Shop) -> Callable[..., Said]:
    """`run` without a yes."""

    def run(*flags: str, command: str = "run") -> Said:
        source = str(shop.manifest)
        return say(command, source, "--api-url", shop.service.api_url, *QUICK, *flags)

    return run


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> Iterator[None]:
    """A real terminal on stdin, at which something was typed."""
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    with open(theirs, encoding="utf-8") as stdin, monkeypatch.context() as patch:  # noqa: PTH123
        patch.setattr(sys, "stdin", stdin)
        yield
    os.close(ours)


def test_without_a_terminal_nothing_is_sent_and_the_hint_agrees_to_this_very_command(
    shop: Shop, unasked: Callable[..., Said]
) -> None:
    shop.fill(2)
    posts = shop.service.posts()
    said = unasked("--max-cost", "5", "--out", "elsewhere", "--draft")
    assert said.code == Exit.USAGE
    assert "would send 2 rows for $0.38" in said.err
    assert shop.service.posts() == posts
    assert shop.tasks() == []
    assert {"run", "--yes", "--max-cost", "--draft", "--out", "elsewhere"} <= set(said.hint)
    assert say(*said.hint).code == Exit.OK
    assert [task["input"]["resolution"] for task in shop.tasks()] == ["480p", "480p"]
    assert (shop.folder / "elsewhere/results.csv").exists()
    assert not shop.run_folder.exists()


@pytest.mark.parametrize("yes", ["y\n", "YES\n"])
def test_at_a_terminal_yes_sends_the_rows(
    shop: Shop, unasked: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, yes: str
) -> None:
    shop.fill(1)
    with terminal(monkeypatch, yes):
        said = unasked("-q")
    assert said.code == Exit.OK
    assert said.err.count("Send 1 row for $0.19?") == 1
    assert len(shop.tasks()) == 1


def test_the_question_names_the_cap_and_what_fits_under_it(
    shop: Shop, unasked: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(3)
    with terminal(monkeypatch, "y\n"):
        said = unasked("--max-cost", "0.50")
    fit = "2 of 3 rows for $0.38, as many as fit under the cap of $0.50"
    assert f"Send {fit}?" in said.err
    assert said.code == Exit.BUDGET
    assert "would bring the estimate to $0.58, over $0.50." in said.err
    assert len(shop.tasks()) == 2
    said = unasked("--max-cost", "0.50")
    assert said.code == Exit.BUDGET  # nothing fits any more, so nobody is asked
    assert len(shop.tasks()) == 2


@pytest.mark.parametrize("no", ["\n", "perhaps\nn\n"])
def test_at_a_terminal_anything_but_yes_sends_nothing(
    shop: Shop, unasked: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, no: str
) -> None:
    shop.fill(2)
    with terminal(monkeypatch, no):
        said = unasked()
    assert said.code == Exit.USAGE
    assert "Send 2 rows for $0.38?" in said.err
    assert "Nothing was sent." in said.err
    assert shop.tasks() == []


def test_a_terminal_that_hangs_up_is_no_yes(
    shop: Shop, unasked: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    with terminal(monkeypatch, "\x04"):
        assert unasked("-q").code == Exit.INTERRUPTED
    assert shop.tasks() == []


def test_a_closed_stdin_is_no_terminal(
    shop: Shop, unasked: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    monkeypatch.setattr(sys, "stdin", None)
    assert unasked("-q").code == Exit.USAGE
    assert shop.tasks() == []


def test_consent_comes_from_no_variable(
    shop: Shop, unasked: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    for flag in ("YES", "FORCE", "REMAKE"):
        monkeypatch.setenv(f"SEEDANCE_BATCH_{flag}", "1")
    assert unasked("-q").code == Exit.USAGE
    assert shop.tasks() == []


def test_where_nothing_is_new_nobody_is_asked(shop: Shop, unasked: Callable[..., Said]) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    said = unasked()
    assert said.code == Exit.OK
    assert "Nothing to do: every row is done." in said.out
    assert len(shop.tasks()) == 1


@pytest.mark.parametrize("words", [{"command": "rerun"}, {"rows": "1"}])
def test_where_other_rows_are_new_it_is_not_said_that_every_row_is_done(
    shop: Shop, words: dict[str, str]
) -> None:
    shop.fill(2)
    assert shop.run("--rows", "1").code == Exit.OK
    chosen = ["--rows", words["rows"]] if "rows" in words else []
    said = shop.run(*chosen, command=words.get("command", "run"))
    assert said.code == Exit.OK
    assert "Nothing to do for these rows.\n2 rows: 1 new, 1 done." in said.out
    assert "every row" not in said.out


def test_the_sandbox_never_asks_and_never_sees_the_key(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    monkeypatch.setenv("HIAPI_API_KEY", "sk a key that no header can carry")
    (shop.folder / "quick.yaml").write_text("{generation_time: 0.05, clips: plain}")
    said = say("run", str(shop.manifest), "--sandbox", "--sandbox-config", "quick.yaml", "-q")
    assert said.code == Exit.OK
    assert shop.tasks() == []
    assert (shop.folder / "runs/shots-sandbox/results.csv").exists()


def test_the_sandbox_beside_another_address_is_a_contradiction(shop: Shop) -> None:
    shop.fill(1)
    said = say("run", str(shop.manifest), "--sandbox", "--api-url", shop.service.api_url)
    assert said.code == Exit.USAGE
    assert not (shop.folder / "runs").exists()


def test_a_rerun_that_nobody_agreed_to_hints_at_a_rerun(
    shop: Shop, unasked: Callable[..., Said]
) -> None:
    shop.fill(1)
    with shop.service.having(faults={"tasks": {"TASK_TIMEOUT": 1.0}}):
        assert shop.run().code == Exit.SOME_FAILED
    said = unasked(command="rerun")
    assert said.code == Exit.USAGE
    assert said.hint[0] == "rerun"
    assert say(*said.hint).code == Exit.OK
    assert len(shop.tasks()) == 2
