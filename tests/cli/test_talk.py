"""What people and machines are told: exit codes, hints, JSON, and never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from seedance_batch.cli import cli
from seedance_batch.errors import Exit
from seedance_batch.folder import RunFolder, held
from tests.cli.shop import QUICK, Shop, say, serving, shot, write_rows

COMMANDS = cli.list_commands(click.Context(cli))

# ── help and usage ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_help_fits_on_one_screen(command: str | None) -> None:
    words = [*([command] if command else []), "--help"]
    done = subprocess.run(
        [sys.executable, "-m", "seedance_batch", *words],
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "words",
    [
        ["walk"],
        ["run"],
        ["run", "shots.csv", "--fast"],
        ["run", "shots.csv", "--rpm", "0"],
        ["run", "shots.csv", "-j", "many"],
        ["run", "shots.csv", "-j", "0"],
        ["run", "shots.csv", "--set", "duration"],
        ["run", "no\x1b[2J.csv"],
        ["run", "shots.csv", "--\x1b[2J"],
        ["plan", "caf\udce9.csv"],
        ["check", "."],
        ["init", "shots.csv"],
        ["init", "shots.pdf"],
        ["status", "none"],
        ["prices", "--api-url", "http://api.hiapi.ai"],
        ["plan", "shots.csv", "--api-url", "http://[::1"],
        ["sandbox", "--host", "0.0.0.0"],  # noqa: S104
        ["sandbox", "--config", "none.yaml"],
        ["run", "shots.csv", "--sandbox", "--sandbox-config", "none.yaml"],
        ["run", "shots.csv", "--name", "../{id}"],
        ["run", "shots.csv", "--callback-url", "http://127.0.0.1"],
        ["run", "shots.csv", "--callback-bind", "0.0.0.0:99999"],
    ],
)
def test_a_command_that_makes_no_sense_is_an_error_in_a_sentence(
    shop: Shop, words: list[str]
) -> None:
    shop.fill(1)
    said = say(*words)
    assert said.code == Exit.USAGE, said.err
    assert said.out == ""
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "\x1b" not in said.err
    assert not (shop.folder / "runs").exists() or shop.tasks() == []


def test_a_wrong_word_hints_at_the_commands_help(shop: Shop) -> None:
    said = say("run", "--fast")
    assert said.hint == ["run", "--help"]
    assert say(*said.hint).code == Exit.OK
    assert say(*say("walk").hint).code == Exit.OK


def test_an_internal_error_is_a_sentence_and_its_details_are_in_a_file(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    (shop.run_folder / "results.csv").unlink()
    (shop.run_folder / "results.csv").mkdir()
    monkeypatch.setenv("TMPDIR", str(shop.folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    said = shop.at("results")
    if said.code == Exit.INTERNAL:
        (report,) = shop.folder.glob("seedance-batch-error-*.txt")
        assert str(report) in said.err
        assert report.stat().st_mode & 0o077 == 0
    assert said.err.startswith("error: ") or said.code == Exit.OK


# ── control characters ──────────────────────────────────────────────────────────────────────────

NASTY = "\x1b[31mred\x07 \x9b2J bidi \u202e end"


def test_control_characters_of_manifests_are_shown_escaped(shop: Shop) -> None:
    write_rows(
        shop.manifest,
        [shot(1, id=NASTY, prompt=f"a boat {NASTY}"), shot(2, id=f"{NASTY}2", duration=99)],
    )
    said = say("check", str(shop.manifest))
    assert said.code == Exit.USAGE
    write_rows(shop.manifest, [shot(1, id=NASTY, prompt=f"forbidden {NASTY}", note=NASTY)])
    texts = [said, shop.plan("-v"), shop.run("-v"), shop.at("status", "--by", "note")]
    texts.append(shop.at("verify"))
    for text in texts:
        for sign in ("\x1b", "\x07", "\x9b", "\u202e"):
            assert sign not in text.out + text.err, text


def test_control_characters_of_servers_are_shown_escaped(shop: Shop) -> None:
    shop.write(shot(1))
    with shop.service.having(faults={"tasks": {NASTY: 1.0}}):
        said = shop.run("-v", "--json")
    assert [json.loads(line) for line in said.out.splitlines()]
    for text in (said, shop.plan("-v"), shop.run("-v", command="rerun")):
        assert "\x1b" not in text.out + text.err


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────


def test_json_is_one_object_a_line_on_stdout_and_nothing_else(shop: Shop) -> None:
    shop.write(shot(1), shot(2, prompt="forbidden fruit"))
    assert len(shop.plan("--json").lines) == 1
    assert len(say("check", str(shop.manifest), "--json").lines) == 1
    events = shop.run("--json").lines
    assert [e["event"] for e in events if e["event"] != "row"] == ["end"]
    assert events[-1]["statuses"] == {"done": 1, "failed": 1}
    assert events[-1]["exit_code"] == Exit.SOME_FAILED
    steps = [e["status"] for e in events if e.get("id") == "shot1"]
    assert steps == ["submitting", "in_flight", "downloading", "downloading", "done"]
    for command in ("status", "verify"):
        assert len(shop.at(command, "--json").lines) == 1
    for command in ("fetch", "reconcile"):
        assert all(isinstance(line, dict) for line in shop.online(command, "--json").lines)
    assert all(isinstance(line, dict) for line in say("doctor", "--json").lines)
    assert all(isinstance(line, dict) for line in shop.plan("--json", "--draft").lines)
    json.loads(say("schema").out)


def test_json_of_a_refused_command_is_nothing_on_stdout(shop: Shop) -> None:
    shop.fill(1)
    said = say("run", str(shop.manifest), "--api-url", shop.service.api_url, "--json")
    assert (said.code, said.out) == (Exit.USAGE, "")
    said = shop.run("--json", "--max-cost", "0.1")
    assert said.code == Exit.BUDGET
    assert [line["event"] for line in said.lines] == ["stopping", "end"]


# ── GitHub Actions ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_in_github_actions_the_summary_is_shown_with_the_job(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    shop.write(shot(1), shot(2, id="```", prompt="forbidden fruit"))
    summary = shop.folder / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert shop.run(*flags).code == Exit.SOME_FAILED
    first, title, empty, *block = summary.read_text().splitlines()
    assert (first, title, empty) == ("before", "### seedance-batch", "")
    assert "    2 rows: 1 done, 1 failed." in block
    assert all(line.startswith("    ") or not line for line in block)


def test_a_summary_that_cannot_be_written_changes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(shop.folder / "none" / "summary.md"))
    said = shop.run()
    assert said.code == Exit.OK
    assert "GITHUB_STEP_SUMMARY" in said.err


# ── exit codes ──────────────────────────────────────────────────────────────────────────────────


def test_a_folder_of_another_api_is_refused_and_the_hint_chooses_another(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    with serving() as other:
        said = say("run", str(shop.manifest), "--api-url", other.api_url, "--yes", *QUICK)
        assert said.code == Exit.USAGE
        assert "belongs to" in said.err
        assert "--out" in said.hint
        assert say("fetch", str(shop.run_folder), "--api-url", other.api_url).code == Exit.USAGE
        assert other.ledger()["tasks"] == []


def test_two_manifests_of_one_name_do_not_share_a_folder(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run("--out", "shared").code == Exit.OK
    other = shop.folder / "other" / "shots.csv"
    other.parent.mkdir()
    write_rows(other, [shot(2)])
    said = shop.run("--out", "shared", of=other)
    assert said.code == Exit.USAGE
    assert str(shop.manifest) in said.err
    assert len(shop.tasks()) == 1


def test_a_folder_in_use_is_exit_7_for_whoever_would_write_and_status_still_looks(
    shop: Shop,
) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    with held(RunFolder(shop.run_folder)):
        said = shop.run()
        assert said.code == Exit.IN_USE
        assert f"process {os.getpid()}" in said.err
        assert say(*said.hint).code == Exit.OK
        assert shop.at("results").code == Exit.IN_USE
        assert shop.plan().code == Exit.OK


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"api_key": "sk-another"}, "key"),
        ({"balance": "0"}, "balance"),
        ({"faults": {"revoke_after": 0, "revoked_status": 403}}, "revoked"),
    ],
)
def test_account_trouble_is_exit_6_and_the_hint_goes_on_after_it(
    shop: Shop, settings: dict[str, Any], word: str
) -> None:
    shop.fill(2)
    with shop.service.having(**settings):
        said = shop.run()
    assert said.code == Exit.ACCOUNT, said.out
    assert word in said.err
    assert shop.tasks() == []
    assert say(*said.hint, "--yes").code == Exit.OK
    assert len(shop.tasks()) == 2


def test_too_many_failures_in_a_row_stop_the_run(shop: Shop) -> None:
    shop.write(*[shot(n, prompt=f"forbidden {n}") for n in range(1, 7)])
    said = shop.run("--max-failures", "2", "-j", "1")
    assert said.code == Exit.SOME_FAILED
    assert "2 rows failed in a row" in said.err
    assert 2 <= len(shop.tasks()) <= 3


def test_a_wait_that_ends_fails_no_row_and_says_which_command_continues(shop: Shop) -> None:
    shop.fill(1)
    with shop.service.having(generation_time="0.6"):
        said = shop.run("--wait", "0.2")
    assert said.code == Exit.UNFINISHED
    assert shop.statuses() == ["in_flight"]
    assert "try again" not in said.out + said.err
    assert said.hint[0] == "run"
    assert say(*said.hint).code == Exit.OK  # continuing is no new money
    assert len(shop.tasks()) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_gently_and_the_same_command_continues(
    shop: Shop, number: int, code: int
) -> None:
    shop.fill(2)
    words = ["run", str(shop.manifest), "--api-url", shop.service.api_url, *QUICK, "--yes"]
    with shop.service.having(generation_time="1.5"):
        run = subprocess.Popen(
            [sys.executable, "-m", "seedance_batch", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 30
        while len(shop.tasks()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.send_signal(number)
        said, _ = run.communicate(timeout=15)
    assert run.returncode == code, said
    assert "Traceback" not in said
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 2
    assert shop.statuses() == ["done", "done"]


def test_a_reader_that_went_away_is_no_error(shop: Shop) -> None:
    command = f"{sys.executable} -m seedance_batch schema | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.stderr == ""


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────


def test_the_key_is_nowhere_whatever_happens(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "sk-CANARY0123456789abcdef"
    monkeypatch.setenv("HIAPI_API_KEY", canary)
    shop.write(shot(1), shot(2, prompt="forbidden fruit"), shot(3))
    said = [shop.plan("-vv", "--save", "plan.json"), shop.run("-vv", "--json"), shop.run("-vv")]
    with shop.service.having(faults={"create": {"reset_after": 0.5, "html": 0.5}, "tries": 1}):
        shop.write(*[shot(n) for n in range(1, 6)])
        said.append(shop.run("-vv"))
    with shop.service.having(api_key="sk-another"):
        shop.write(shot(9))
        said.append(shop.run("-vv"))
        said.append(say("doctor", "--api-url", shop.service.api_url))
    said += [shop.at(c) for c in ("status", "results", "verify", "report")]
    said += [shop.online(c) for c in ("fetch", "reconcile")]
    for text in said:
        assert "CANARY" not in text.out + text.err
    files = [path for path in shop.folder.parent.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert b"CANARY" not in path.read_bytes(), path
    assert Path(shop.run_folder / "journal.db").stat().st_mode & 0o077 == 0
