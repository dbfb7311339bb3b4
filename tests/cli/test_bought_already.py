"""Rows that look bought, and that the journal does not know: said before the yes, and no ``--yes``
buys them without ``--again``."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, Said, Shop, say, shot, shots
from tests.cli.test_consent import terminal
from tests.service import serving, write_rows


def forget(folder: Path) -> None:
    """Delete a run folder's journal."""
    for path in folder.glob("journal.db*"):
        path.unlink()


def refused(shop: Shop, said: Said, *, charged: int, why: str) -> None:
    """It was refused, it says why, and nothing more was charged."""
    assert said.code == Exit.USAGE, said.err
    assert why in said.err
    assert "Nothing was sent." in said.err
    assert "--again" in said.err.splitlines()[-1]
    assert len(shop.tasks()) == charged


def piped(monkeypatch: pytest.MonkeyPatch, manifest: Path) -> None:
    """Put a manifest on standard input."""
    content = io.BytesIO(manifest.read_bytes())
    stdin = SimpleNamespace(closed=False, buffer=content, isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)


# ── a run folder without its journal ────────────────────────────────────────────────────────────


def test_without_a_journal_the_sheets_are_believed(shop: Shop) -> None:
    shop.fill(3)
    assert shop.run().code == Exit.OK
    forget(shop.run_folder)
    shop.fill(4)
    said = shop.plan()
    assert "The sheets in runs/shots say that 3 new rows were bought" in said.out
    assert "(shot1, shot2, shot3)" in said.out
    (document,) = shop.plan("--json").lines
    assert document["doubts"] == [{"sign": "sheets", "ids": ["shot1", "shot2", "shot3"]}]
    for _ in range(2):
        said = shop.run()
        refused(shop, said, charged=3, why="3 of 4 new rows look bought already")
        assert not list(shop.run_folder.glob("journal.db*"))
    assert shop.run("--ids", "shot4").code == Exit.OK
    assert len(shop.tasks()) == 4
    assert shop.run("--again").code == Exit.OK
    assert len(shop.tasks()) == 7


@pytest.mark.parametrize("command", ["status", "fetch", "results", "verify", "report", "run"])
def test_a_folder_without_its_journal_is_not_said_to_be_none(shop: Shop, command: str) -> None:
    (shop.run_folder / "videos").mkdir(parents=True)
    (shop.run_folder / "videos" / "shot1.mp4").touch()
    said = say(command, str(shop.run_folder))
    assert said.code == Exit.USAGE
    assert "has lost its journal" in said.err
    assert not list(shop.run_folder.glob("journal.db*"))


@pytest.mark.more
def test_at_a_terminal_the_question_says_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    forget(shop.run_folder)
    command = ("run", str(shop.manifest), "--api-url", shop.service.api_url, *QUICK)
    for typed, charged in (("n\n", 2), ("y\n", 4)):
        with terminal(monkeypatch, typed):
            said = say(*command, "-q")
        assert "2 new rows look bought already. Send 2 rows for $0.38 anyway?" in said.err
        assert len(shop.tasks()) == charged
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 4


def test_without_journal_and_sheets_the_clips_are_believed(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    forget(shop.run_folder)
    for path in shop.run_folder.iterdir():
        if path.is_file():
            path.unlink()
    for _ in range(2):
        said = shop.run()
        refused(shop, said, charged=2, why="runs/shots contains clips that its journal")


def test_clips_of_other_names_are_believed_where_the_journal_knows_of_nothing(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run("--name", "{resolution}/{id}").code == Exit.OK
    forget(shop.run_folder)
    for path in shop.run_folder.glob("*.*"):
        path.unlink() if path.is_file() else None
    refused(shop, shop.run(), charged=2, why="apparently of 2 new rows")


@pytest.mark.more
def test_a_failed_row_of_a_lost_journal_was_not_bought(shop: Shop) -> None:
    shop.write(shot(1, prompt="forbidden"), shot(2))
    assert shop.run().code == Exit.SOME_FAILED
    forget(shop.run_folder)
    shop.write(shot(1, prompt="allowed"))
    assert shop.run().code == Exit.OK


@pytest.mark.more
def test_a_journal_of_last_week_does_not_buy_what_newer_sheets_have(shop: Shop) -> None:
    """Inside the window the keys lead to the same tasks; see test_journal_lost."""
    shop.fill(1)
    assert shop.run().code == Exit.OK
    shutil.copy(shop.run_folder / "journal.db", shop.folder / "last-week.db")
    shop.fill(3)
    assert shop.run().code == Exit.OK
    shutil.copy(shop.folder / "last-week.db", shop.run_folder / "journal.db")
    sheet = shop.run_folder / "results.jsonl"
    sheet.write_text(sheet.read_text().replace('"submitted_at": "20', '"submitted_at": "19'))
    refused(shop, shop.run(), charged=3, why="2 new rows look bought already")


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
def test_a_journal_that_lost_its_log_long_ago_is_not_believed_about_new_rows(
    shop: Shop, again: bool
) -> None:
    shop.fill(1)
    assert shop.run("--limit", "1").code == Exit.OK
    shop.fill(3)
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:
        long_ago = time.time() - 24 * 3600
        journal.execute("UPDATE meta SET value = ? WHERE name = 'run_open'", (repr(long_ago),))
    journal.close()
    if again:
        assert shop.run("--again").code == Exit.OK
        shop.fill(4)
        assert shop.run().code == Exit.OK  # that was settled
        assert len(shop.tasks()) == 4
        return
    said = shop.run()
    assert said.code == Exit.UNFINISHED, said.err
    assert "This journal was copied without its log" in said.err
    assert "2 new rows (shot2, shot3) will be ambiguous and not be sent" in said.err
    assert shop.statuses() == ["done", "ambiguous", "ambiguous"]
    assert len(shop.tasks()) == 1


# ── results sheets from elsewhere ───────────────────────────────────────────────────────────────


@pytest.mark.cases(1)
@pytest.mark.parametrize("sheet", ["results.csv", "results.xlsx", "results.jsonl"])
def test_a_results_sheet_on_the_desktop_says_itself_that_its_rows_are_done(
    shop: Shop, sheet: str
) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    desktop = shop.folder / "desktop"
    desktop.mkdir()
    copied = Path(shutil.copy(shop.run_folder / sheet, desktop))
    said = shop.run(of=copied)
    refused(shop, said, charged=2, why="This results sheet says that 2 new rows were bought")
    assert "runs/shots has bought 2 of these rows" in said.err
    assert shop.run("--out", str(shop.run_folder), of=copied).code == Exit.OK
    assert len(shop.tasks()) == 2
    assert shop.run("--again", of=copied).code == Exit.OK
    assert len(shop.tasks()) == 4


@pytest.mark.more
def test_a_results_sheet_in_its_own_folder_goes_on_there(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    assert shop.run(of=shop.run_folder / "results.csv").code == Exit.OK
    assert len(shop.tasks()) == 2


# ── pipes ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.more
def test_a_table_that_is_piped_in_two_directories_is_bought_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(2)
    for name, code in (("one", Exit.OK), ("two", Exit.USAGE), ("one", Exit.OK)):
        (shop.folder / name).mkdir(exist_ok=True)
        monkeypatch.chdir(shop.folder / name)
        piped(monkeypatch, shop.manifest)
        said = shop.run(of=Path("-"))
        assert said.code == code, said.err
        assert len(shop.tasks()) == 2
        if code:
            refused(shop, said, charged=2, why="2 new rows are bought in")
            assert "one/runs/stdin has bought 2 of these rows" in said.err
    piped(monkeypatch, shop.manifest)
    monkeypatch.chdir(shop.folder / "two")
    assert shop.run("--again", of=Path("-")).code == Exit.OK
    assert len(shop.tasks()) == 4


@pytest.mark.more
def test_a_manifest_that_was_bought_from_its_file_is_not_bought_from_a_pipe(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    (shop.folder / "elsewhere").mkdir()
    monkeypatch.chdir(shop.folder / "elsewhere")
    piped(monkeypatch, shop.manifest)
    refused(shop, shop.run(of=Path("-")), charged=2, why="2 new rows are bought in")


@pytest.mark.more
def test_a_manifest_that_was_copied_elsewhere_is_told_where_its_rows_were_bought(
    shop: Shop,
) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    (shop.folder / "elsewhere").mkdir()
    copied = Path(shutil.copy(shop.manifest, shop.folder / "elsewhere"))
    assert "runs/shots has bought 2 of these rows" in shop.plan(of=copied).out
    with copied.open("a", encoding="utf-8") as file:
        file.write(copied.read_text(encoding="utf-8").splitlines()[-1].replace("2", "3") + "\n")
    said = shop.run(of=copied)
    refused(shop, said, charged=2, why="2 of 3 new rows are bought in")
    assert "runs/shots already" in said.err
    assert "runs/shots has bought 2 of these rows" in said.err
    assert shop.run("--again", of=copied).code == Exit.OK  # a second set may be wanted
    assert len(shop.tasks()) == 5


def test_what_another_folder_buys_after_it_was_looked_into_is_seen(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    copied = shop.folder / "copied.csv"
    write_rows(copied, shots(2))
    assert "runs/shots has bought 1 of these rows" in shop.plan(of=copied).out
    shop.fill(2)
    assert shop.run().code == Exit.OK
    assert "runs/shots has bought 2 of these rows" in shop.plan(of=copied).out


def test_what_the_disk_refuses_to_remember_stops_no_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop.folder / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(shop.folder / "file"))
    shop.fill(1)
    assert shop.run().code == Exit.OK


# ── neighbours, and saved plans ─────────────────────────────────────────────────────────────────


@pytest.mark.more
def test_a_renamed_manifest_is_not_bought_again_by_a_yes_alone(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    renamed = shop.manifest.rename(shop.folder / "shots_v2.csv")
    refused(shop, shop.run(of=renamed), charged=2, why="2 new rows are bought in")
    assert shop.run("--again", of=renamed).code == Exit.OK
    assert len(shop.tasks()) == 4


@pytest.mark.more
def test_a_second_take_is_no_doubt_where_a_copy_of_the_folder_lies_beside_it(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    shutil.copytree(shop.run_folder, shop.folder / "runs" / "copy")
    (shop.folder / "picks.csv").write_text("id,mark\nshot1,redo\n")
    said = shop.run("--from", str(shop.folder / "picks.csv"), command="rerun")
    assert said.code == Exit.OK, said.err
    assert len(shop.tasks()) == 2


def test_a_saved_plan_is_no_yes_to_rows_that_look_bought(shop: Shop) -> None:
    shop.fill(2)
    saved = shop.plan("--save", "plan.json")
    assert say(*saved.hint, *QUICK).code == Exit.OK
    forget(shop.run_folder)
    said = say(*saved.hint, *QUICK)
    refused(shop, said, charged=2, why="2 new rows look bought already")


def test_a_saved_plan_is_carried_out_in_one_run_folder(shop: Shop) -> None:
    shop.fill(2)
    saved = shop.plan("--save", "plan.json")
    assert say(*saved.hint, *QUICK).code == Exit.OK
    said = say(*saved.hint, *QUICK, "--out", "far/away", "--again")
    assert said.code == Exit.DRIFTED
    assert "the plan was already carried out in" in said.err
    assert len(shop.tasks()) == 2


@pytest.mark.slow
def test_the_sandbox_says_it_and_never_refuses(shop: Shop) -> None:
    shop.fill(1)
    (shop.folder / "quick.yaml").write_text("{generation_time: 0.05, clips: plain}")
    command = ("run", str(shop.manifest), "--sandbox", "--sandbox-config", "quick.yaml")
    assert say(*command).code == Exit.OK
    forget(shop.folder / "runs" / "shots-sandbox")
    said = say(*command)
    assert said.code == Exit.OK
    assert "say that 1 new row was bought" in said.err


@pytest.mark.more
def test_another_api_has_bought_nothing(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    write_rows(shop.folder / "other.csv", shots(1))
    with serving() as other:
        said = say("run", "other.csv", "--api-url", other.api_url, *QUICK, "--yes")
        assert said.code == Exit.OK, said.err
        assert len(other.tasks(shop.key)) == 1
