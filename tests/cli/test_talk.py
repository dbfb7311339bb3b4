"""What people and machines are told: exit codes, hints, JSON, and never a traceback."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from seedance_batch.cli.main import cli
from seedance_batch.errors import Exit
from seedance_batch.events import Remark, RowSkipped
from seedance_batch.progress import event_object
from seedance_batch.run_folder import RunFolder, held
from tests import events_page
from tests.cli.shop import QUICK, ROW_COST, Shop, say, say_at_a_terminal, shot
from tests.rig import some
from tests.service import serving, write_rows

COMMANDS = cli.list_commands(click.Context(cli))

# ── help and usage ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_help_fits_on_one_screen(command: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = say(*([command] if command else []), "--help").out.splitlines()
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
        ["plan", "ring.csv"],
        ["run", "ring.csv", "--yes"],
        ["status", "ring.csv"],
        ["run", "shots.csv", "--yes", "--out", "ring.csv"],
        ["init", "new.csv", "ring.csv"],
        ["run", "shots.csv", "--callback-url", "http://127.0.0.1"],
        ["run", "shots.csv", "--callback-bind", "0.0.0.0:99999"],
    ],
)
def test_a_command_that_makes_no_sense_is_an_error_in_a_sentence(
    shop: Shop, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    (shop.folder / "ring.csv").symlink_to("ring.csv")
    monkeypatch.chdir(shop.folder)
    said = say(*words)
    assert said.code == Exit.USAGE, said.err
    assert said.out == ""
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "\x1b" not in said.err
    assert not (shop.folder / "runs").exists() or shop.tasks() == []


def test_an_address_in_the_environment_that_is_none_is_an_error_in_a_sentence(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    monkeypatch.setenv("HIAPI_BASE_URL", "http://[")
    for words in (["check", "shots.csv", "--net"], ["plan", "shots.csv"], ["prices"]):
        said = say(*words)
        assert said.code == Exit.USAGE, said.err
        assert "'http://['" in said.err


def test_a_wrong_word_hints_at_the_commands_help(shop: Shop) -> None:
    said = say("run", "--fast")
    assert said.hint == ["run", "--help"]
    assert say(*said.hint).code == Exit.OK
    assert say(*say("walk").hint).code == Exit.OK


@pytest.mark.cases(3)
@pytest.mark.parametrize(
    "words",
    [
        ["run", "shots.csv", "--yes", "--out", ""],
        ["run", "shots.csv", "--yes", "--api-url", ""],
        ["plan", ""],
        ["plan", "shots.csv", "--map", "id=shot", "--map", ""],
        ["status", ""],
        ["join", "runs/shots", "--ids", ""],
        ["export", "runs/shots", "", "set"],
    ],
)
def test_what_a_variable_that_is_not_set_leaves_is_an_error_and_never_the_folder_at_hand(
    words: list[str], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    monkeypatch.chdir(shop.folder)
    before = sorted(Path().rglob("*"))
    said = say(*words)

    assert said.code == Exit.USAGE
    assert "it is empty; is a variable in the command not set?" in said.err
    assert sorted(Path().rglob("*")) == before


def test_a_flags_own_variable_that_is_set_to_nothing_is_not_set(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    monkeypatch.setenv("SEEDANCE_BATCH_MAX_BODY", "")
    monkeypatch.setenv("SEEDANCE_BATCH_SHEET", "")
    assert shop.plan().code == Exit.OK


def test_the_hint_of_a_manifest_with_problems_reads_it_in_the_same_way(shop: Shop) -> None:
    write_rows(shop.manifest, [{"id": "a", "shot": "same"}, {"id": "b", "shot": "same"}])
    said = shop.plan("--map", "id=shot", "--set", "prompt=A lake", "--rows", "1", "--name", "x{id}")

    (command,) = [line for line in said.err.splitlines() if "seedance-batch check" in line]
    words = shlex.split(command.partition("seedance-batch ")[2])
    assert words[2:] == ["--map", "id=shot", "--set", "prompt=A lake"]
    assert say(*words).code == Exit.USAGE


def test_a_manifest_that_is_not_there_is_answered_with_the_one_that_was_meant(shop: Shop) -> None:
    shop.fill(1)
    for command in ("check", "plan", "run", "status", "fetch"):
        said = say(command, "shot.csv")
        assert said.code == Exit.USAGE
        assert f"There is no shot.csv in {shop.folder}; did you mean shots.csv?" in said.err
        assert say(*said.hint).code == Exit.OK
    assert "did you mean shots.csv?" in say("check", "SHOTS.CSV").err
    said = say("check", "storyboard.yaml")
    assert "no storyboard.yaml in" in said.err
    assert "but shots.csv." in said.err
    assert say(*said.hint).code == Exit.OK
    assert "the folder elsewhere does not exist" in say("check", "elsewhere/shots.csv").err


def test_only_where_there_is_no_manifest_at_all_the_hint_is_to_begin_one(shop: Shop) -> None:
    said = say("run", "my shots.xlsx", "--sandbox")
    assert said.hint == ["init", "my shots.xlsx"]
    assert say(*said.hint).code == Exit.OK


@pytest.mark.slow
def test_a_folder_of_run_folders_names_those_that_it_holds(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    for folder in ("runs", "."):
        said = say("status", folder)
        assert said.code == Exit.USAGE
        assert f"{folder} is not a run folder; it contains runs/shots." in said.err
        assert say(*said.hint).code == Exit.OK


@pytest.mark.parametrize(
    "words",
    [["plan", "shots.csv", "--save", "out/dir/p.json"], ["init", "out/dir/shots.csv"]],
)
def test_a_file_for_a_folder_that_is_not_there_is_a_mistake_of_use(
    shop: Shop, words: list[str]
) -> None:
    shop.fill(1)
    said = say(*words, *(["--api-url", shop.service.api_url] if words[0] == "plan" else []))
    assert said.code == Exit.USAGE
    assert "the folder out/dir does not exist" in said.err
    assert "sent" not in said.err
    assert "hint: mkdir -p out/dir" in said.err


def test_the_hint_for_a_missing_key_can_be_read_and_what_it_shows_is_no_key(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    monkeypatch.delenv("HIAPI_API_KEY")
    words = ["run", str(shop.manifest), "--api-url", shop.service.api_url]
    assert "export HIAPI_API_KEY=sk-…" in say(*words).err
    for typed in ("sk-…", "sk-[hidden]", "[hidden]"):
        monkeypatch.setenv("HIAPI_API_KEY", typed)
        assert "contains characters that no key has" in say(*words).err


@pytest.mark.parametrize("flag", ["--yes", "-v", "-j=4", "--storage=temp", "--price-file=p"])
def test_fetch_has_no_flag_that_would_do_nothing(shop: Shop, flag: str) -> None:
    assert "No such option" in say("fetch", "shots.csv", flag).err


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


# ── progress at a terminal ──────────────────────────────────────────────────────────────────────


def _shot1_in_flight(shop: Shop) -> None:
    with shop.service.having(generation_time="0.8"):
        assert shop.leave("--ids", "shot1").code == Exit.UNFINISHED


@pytest.mark.more
def test_at_a_terminal_a_row_outside_the_selection_may_end_and_is_counted(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run("--ids", "shot2").code == Exit.OK
    _shot1_in_flight(shop)
    said = say_at_a_terminal(
        "run", str(shop.manifest), "--api-url", shop.service.api_url, *QUICK, "--ids", "shot2"
    )
    assert said.code == Exit.OK, said.err
    assert "/1 [" in said.err
    assert "Nothing to do" not in said.out
    assert shop.statuses() == ["done", "done"]


@pytest.mark.more
def test_at_a_terminal_fetch_counts_missing_clips_and_tasks_in_flight(shop: Shop) -> None:
    shop.fill(3)
    assert shop.run("--ids", "shot2").code == Exit.OK
    (shop.run_folder / "videos/shot2.mp4").unlink()
    _shot1_in_flight(shop)
    words = ["fetch", str(shop.run_folder), "--api-url", shop.service.api_url, *QUICK]
    said = say_at_a_terminal(*words)
    assert said.code == Exit.OK, said.err
    assert "/2 [" in said.err
    assert shop.statuses() == ["done", "done", "new"]


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────


def test_json_is_one_object_a_line_on_stdout_and_nothing_else(shop: Shop) -> None:
    shop.write(shot(1), shot(2, prompt="forbidden fruit"))
    assert len(shop.plan("--json").lines) == 1
    assert len(say("check", str(shop.manifest), "--json").lines) == 1
    events = shop.run("--json").lines
    assert [e["event"] for e in events if e["event"] != "row"] == ["start", "end"]
    assert (events[0]["version"], events[0]["new_rows"], events[0]["new_cost_usd"]) == (
        1,
        2,
        "0.384",
    )
    assert events[-1]["money"]["settled_usd"] == str(ROW_COST)
    assert Path(events[-1]["page"]).is_file()
    assert events[-1]["statuses"] == {"done": 1, "failed": 1}
    assert events[-1]["exit_code"] == Exit.SOME_FAILED
    steps = [e["status"] for e in events if e.get("id") == "shot1"]
    assert steps == ["submitting", "in_flight", "downloading", "done"]
    for command in ("status", "verify"):
        assert len(shop.at(command, "--json").lines) == 1
    for command in ("fetch", "reconcile"):
        assert all(isinstance(line, dict) for line in shop.online(command, "--json").lines)
    api = ("--api-url", shop.service.api_url)
    assert all(isinstance(line, dict) for line in say("doctor", "--json", *api).lines)
    assert all(isinstance(line, dict) for line in shop.plan("--json", "--draft").lines)
    json.loads(say("schema").out)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "shots.csv", "--json"], Exit.USAGE),  # no consent
        (["run", "bad.csv", "--sandbox", "--json"], Exit.USAGE),
        (["run", "shots.csv", "--fast", "--json"], Exit.USAGE),
        (["plan", "shots.csv", "--sandbox", "--max-cost", "0.1", "--json"], Exit.BUDGET),
        (["status", "none", "--json"], Exit.USAGE),
    ],
)
def test_json_of_a_refused_command_ends_with_the_error(
    shop: Shop, words: list[str], code: Exit
) -> None:
    shop.fill(1)
    write_rows(shop.folder / "bad.csv", [shot(2, duration=99)])
    api = (
        [] if "--sandbox" in words or words[0] == "status" else ["--api-url", shop.service.api_url]
    )
    said = say(*words, *api)
    assert said.code == code
    told = said.lines[-1]
    assert (told["event"], told["exit_code"]) == ("error", code)
    assert f"error: {told['message'].splitlines()[0]}" in said.err
    assert f"hint: {told['hint']}" in said.err
    assert len(told["problems"]) == ("bad.csv" in words)


def test_a_variable_asks_for_json_as_the_flag_does(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEDANCE_BATCH_JSON", "1")
    assert say("plan", "none.csv").lines[-1]["event"] == "error"


def test_a_run_that_the_budget_stops_tells_so_between_start_and_end(shop: Shop) -> None:
    shop.fill(1)
    said = shop.run("--json", "--max-cost", "0.1")
    assert said.code == Exit.BUDGET
    assert [line["event"] for line in said.lines] == ["start", "stopping", "end"]


def test_every_object_for_programs_is_as_its_schema_says(shop: Shop) -> None:
    shop.write(shot(1), shot(2, prompt="forbidden fruit"), shot(3))
    api = ("--api-url", shop.service.api_url)
    told = shop.plan("--json").lines + shop.run("--json", "--max-cost", "0.4", "-j", "1").lines
    told += shop.at("status", "--json", "--by", "id").lines + say("status", "--json").lines
    (shop.run_folder / "videos/shot1.mp4").unlink()
    told += shop.at("verify", "--json").lines
    told += shop.online("fetch", "--json").lines + say("status", "none", "--json").lines
    told += say("doctor", "--json", *api).lines + say("prices", "--json", *api).lines
    write_rows(shop.folder / "bad.csv", [shot(2, duration=99)])
    told += say("check", "bad.csv", "--json").lines + say("plan", "bad.csv", "--json", *api).lines
    told += [event_object(event, 0.0) for event in (RowSkipped("a", "why"), Remark("so"))]
    told.append(json.loads((shop.run_folder / "summary.json").read_text(encoding="utf-8")))
    assert all(map(events_page.valid_output, told))
    names = [n for n in json.loads(say("schema", "output").out)["$defs"] if n[:6] == "event_"]
    elsewhere = {"dataset", "film", "question", "sandbox"}  # see their own tests
    assert {each["event"] for each in told} == {name[6:] for name in names} - elsewhere


def test_the_page_of_events_is_what_the_schema_says() -> None:
    assert events_page.PAGE.read_text(encoding="utf-8") == events_page.page()


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


@pytest.mark.slow
def test_tables_from_a_pipe_share_a_folder_only_where_it_is_the_same_table(shop: Shop) -> None:
    shop.fill(2)
    quick = f"--api-url {shop.service.api_url} {' '.join(QUICK)} --yes -q"
    assert _at_a_shell(f"seedance-batch run - {quick} < shots.csv").returncode == Exit.OK
    assert json.loads(say("status", "-", "--json").out)["statuses"] == {"done": 2}
    shop.write(shot(3))
    said = _at_a_shell(f"seedance-batch run - {quick} < shots.csv")
    assert said.returncode == Exit.USAGE
    assert "hint: seedance-batch run - " in said.stderr
    assert " --out runs/stdin-2 " in said.stderr
    assert len(shop.tasks()) == 2
    again = _at_a_shell(f"seedance-batch run - --out runs/NAME {quick} < shots.csv")
    assert again.returncode == Exit.OK
    assert len(shop.tasks()) == 3


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


@pytest.mark.cases(1)
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
    assert said.err.count("No more rows are sent") == 1
    assert shop.tasks() == []
    assert say(*said.hint, "--yes").code == Exit.OK
    assert len(shop.tasks()) == 2


def test_too_many_failures_in_a_row_stop_the_run(shop: Shop) -> None:
    shop.write(*[shot(n, prompt=f"forbidden {n}") for n in range(1, 7)])
    said = shop.run("--max-failures", "2", "-j", "1")
    assert said.code == Exit.SOME_FAILED
    assert "2 rows failed in a row (TASK_FAILED" in said.err
    assert 2 <= len(shop.tasks()) <= 3
    unsent = 6 - len(shop.tasks())
    assert f"{unsent} rows were not sent: 2 rows failed in a row (TASK_FAILED" in said.out
    assert "rerun" in said.out.splitlines()[-1]  # the same command could do nothing for them


def test_the_doctor_sees_a_resolver_in_fake_ip_mode(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    made_up = {"api.example.com": "127.0.0.1", "files.example.com": "198.18.0.5"}

    def resolve(host: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real(made_up.get(name, name), *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    said = say("doctor", "--api-url", "https://api.example.com:1")
    assert "in fake-IP mode" in said.out
    assert "files.example.com is 198.18.0.5" in said.out
    assert "resolver not checked" in say("doctor", "--api-url", shop.service.api_url).out


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("odd", "command", "word"),
    [
        ({"outputs": {"other_length": 1.0}}, "verify", "not what was asked for (lasts"),
        ({"outputs": {"forbidden_url": 1.0}}, "fetch", "could not be fetched (169.254.169.254"),
    ],
)
def test_useless_clips_stop_the_run_and_the_hint_can_do_something(
    odd: dict[str, Any], command: str, word: str, shop: Shop
) -> None:
    shop.fill(12)
    with shop.service.having(faults=odd):
        said = shop.run("--max-failures", "2", "-j", "1")
        assert said.code in {Exit.SOME_FAILED, Exit.UNFINISHED}
        assert word in said.out
        assert "rows were not sent" in said.out
        assert said.hint[0] == command
        assert say(*said.hint).code == said.code
    assert len(shop.tasks()) <= 5


def test_a_wait_that_ends_fails_no_row_and_says_which_command_continues(shop: Shop) -> None:
    shop.fill(1)
    with shop.service.having(generation_time="0.8"):
        said = shop.leave()
    assert said.code == Exit.UNFINISHED
    assert shop.statuses() == ["in_flight"]
    assert "try again" not in said.out + said.err
    assert said.hint[0] == "run"
    assert say(*said.hint).code == Exit.OK  # continuing is no new money
    assert len(shop.tasks()) == 1


@pytest.mark.more
@pytest.mark.parametrize(
    ("number", "code"), some((signal.SIGINT, 130), slow=[(signal.SIGTERM, 143)])
)
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
        deadline = time.monotonic() + 120
        while len(shop.tasks()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.send_signal(number)
        said, _ = run.communicate(timeout=120)
    assert run.returncode == code, said
    assert "Traceback" not in said
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 2
    assert shop.statuses() == ["done", "done"]


def _at_a_shell(words: str) -> subprocess.CompletedProcess[str]:
    """A pipeline; its exit code is the first failing command's."""
    command = words.replace("seedance-batch", f"{shlex.quote(sys.executable)} -m seedance_batch")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "words",
    some("plan shots.csv --sandbox | head -1", slow=["schema | head -c 1", "--help | exec true"]),
)
def test_a_reader_that_went_away_is_no_error(shop: Shop, words: str) -> None:
    shop.fill(2_000)
    done = _at_a_shell(f"seedance-batch {words}")
    assert (done.returncode, done.stderr) == (Exit.OK, "")


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ("--json | head -1", Exit.OK),
        ("--no-progress 2> /dev/full", Exit.OK),
        (">&- 2>&-", Exit.OK),
        pytest.param("--json > /dev/full", Exit.OK, marks=pytest.mark.slow),
        pytest.param("2>&-", Exit.OK, marks=pytest.mark.slow),
        pytest.param("--max-cost 0.2 --json | head -1", Exit.BUDGET, marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_to_its_end_whoever_stops_listening(
    shop: Shop, flags: str, code: Exit
) -> None:
    shop.fill(2)
    quick = f"--api-url {shop.service.api_url} {' '.join(QUICK)} --yes"
    done = _at_a_shell(f"seedance-batch run shots.csv {quick} {flags}")
    assert done.returncode == code, done.stderr
    assert "broke" not in done.stderr
    assert shop.statuses() == ["done", "new" if code else "done"]


def test_output_that_a_full_disk_refuses_is_an_error_where_it_was_all(shop: Shop) -> None:
    done = _at_a_shell("seedance-batch schema > /dev/full")
    assert done.returncode == Exit.USAGE
    assert os.strerror(errno.ENOSPC) in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


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


@pytest.mark.cases(1)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_and_flags_complete_in_a_shell(shell: str) -> None:
    words = {"COMP_WORDS": "seedance-batch plan --max-", "COMP_CWORD": "2"}
    if shell == "fish":
        words = {"COMP_WORDS": "seedance-batch plan --max-", "COMP_CWORD": "--max-"}
    asked = subprocess.run(
        [sys.executable, "-c", "from seedance_batch.cli.main import entry; entry()"],
        env={**os.environ, **words, "_SEEDANCE_BATCH_COMPLETE": f"{shell}_complete"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "--max-cost" in asked.stdout, asked
