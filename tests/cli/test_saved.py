"""A saved plan is executed exactly, by the same command again, or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import xlsxwriter

from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, Shop, say, shot


def test_the_hint_of_a_saved_plan_carries_it_out_as_approved(shop: Shop) -> None:
    shop.write(shot(1, resolution="720p"), shot(2), shot(3))
    flags = ["--rows", "1,3", "--set", "resolution=480p", "--out", "runs/mine"]
    saved = shop.plan(*flags, "--save", "the plan.json")
    assert saved.code == Exit.OK
    for _ in range(2):
        assert say(*saved.hint, *QUICK).code == Exit.OK  # a saved plan is consent
        assert [task["input"]["resolution"] for task in shop.tasks()] == ["480p", "480p"]
    assert sorted(shop.prompts()) == [shot(1)["prompt"], shot(3)["prompt"]]
    assert (shop.folder / "runs/mine/results.csv").exists()


def test_a_saved_plan_of_drafts_makes_drafts(shop: Shop) -> None:
    shop.write(shot(1, resolution="720p"))
    saved = shop.plan("--draft", "--save", "plan.json")
    assert say(*saved.hint, *QUICK).code == Exit.OK
    assert (shop.run_folder / "drafts/shot1.mp4").is_file()


def test_the_same_command_continues_a_plan_after_a_kill(shop: Shop) -> None:
    shop.fill(4)
    saved = shop.plan("--save", "plan.json")
    command = [sys.executable, "-m", "seedance_batch", *saved.hint, *QUICK, "--wait", "60"]
    with shop.service.having(generation_time="2"):
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(shop.tasks()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert say(*saved.hint, *QUICK).code == Exit.OK
    assert sorted(shop.prompts()) == sorted(shot(n)["prompt"] for n in range(1, 5))
    assert shop.statuses() == ["done"] * 4


def _workbook(shop: Shop) -> str:
    """Two sheets; in the second a row is filtered away, and the prompt has a heading of its own."""
    path = shop.folder / "shots.xlsx"
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet("Notes").write_row(0, 0, ["prompt", "about"])
        sheet = book.add_worksheet("Final")
        for line, cells in enumerate((["What", "duration"], ["a boat", 4], ["a kite", 4])):
            sheet.write_row(line, 0, cells)
        sheet.set_row(1, options={"hidden": True})
    return str(path)


@pytest.mark.more
def test_a_saved_plan_brings_the_flags_along_by_which_it_was_made(shop: Shop) -> None:
    shop.folder.mkdir(exist_ok=True)
    flags = ("--sheet", "Final", "--map", "prompt=What", "--visible")
    source = _workbook(shop)
    saved = shop.plan(*flags, "--save", "plan.json", of=source)
    assert saved.code == Exit.OK, saved.err
    assert not {*flags} & {*saved.hint}
    plain = ("--plan", "plan.json")
    for others in (("--sheet", "Notes"), ("--map", "prompt=About"), ("--allow-4k",)):
        refused = shop.run(*plain, *others, of=source)
        assert refused.code == Exit.USAGE
        assert f"leave out {others[0]}." in refused.err
    assert shop.run(*plain, of=source).code == Exit.OK
    assert shop.prompts() == ["a kite"]
    again = shop.run(*plain, *flags, of=source)  # the same once more is no contradiction
    assert again.code == Exit.OK
    assert len(shop.tasks()) == 1


def test_a_plan_that_does_not_hold_is_made_anew_with_the_flags_that_it_brought(shop: Shop) -> None:
    shop.folder.mkdir(exist_ok=True)
    source = _workbook(shop)
    flags = ("--sheet", "Final", "--map", "prompt=What", "--visible")
    assert shop.plan(*flags, "--save", "plan.json", of=source).code == Exit.OK
    document = json.loads((shop.folder / "plan.json").read_text())
    document["steps"][0]["cost_usd"] = "0.01"
    (shop.folder / "plan.json").write_text(json.dumps(document))
    drifted = shop.run("--plan", "plan.json", of=source)
    assert drifted.code == Exit.DRIFTED
    assert {*flags} < {*drifted.hint}
    document["reading"]["sheet"] = ["Final"]
    (shop.folder / "plan.json").write_text(json.dumps(document))
    assert "The saved plan is damaged" in shop.run("--plan", "plan.json", of=source).err
    assert shop.tasks() == []


def test_a_saved_rerun_brings_what_it_takes(shop: Shop) -> None:
    shop.write(shot(1, prompt="a forbidden fruit"))
    assert shop.run().code == Exit.SOME_FAILED
    saved = shop.plan("--force", "--dry-run", "--save", "plan.json", command="rerun")
    assert "--force" not in saved.hint
    with shop.service.having(faults={}):
        assert say(*saved.hint, *QUICK, "-q").code == Exit.OK
    assert shop.statuses() == ["done"]


@pytest.mark.cases(1)
@pytest.mark.parametrize("moved", ["edited", "priced", "bought", "removed"])
def test_a_plan_that_no_longer_holds_is_exit_8_and_its_hint_makes_it_anew(
    shop: Shop, moved: str
) -> None:
    shop.write(shot(1), shot(2))
    (shop.folder / "prices.yaml").write_text("per_second: 1")
    saved = shop.plan("--price-file", "prices.yaml", "--save", "plan.json", "--set", "duration=5")
    if moved == "edited":
        shop.write(shot(1, prompt="another boat"), shot(2))
    elif moved == "priced":
        (shop.folder / "prices.yaml").write_text("per_second: 2")
    elif moved == "bought":
        assert shop.run("--set", "duration=5", "--rows", "1").code == Exit.OK
        (shop.folder / "plan2.json").touch()
        assert shop.run("--set", "duration=6", "--remake", "--rows", "1").code == Exit.OK
    else:
        shop.write(shot(2))
    before = len(shop.tasks())
    said = say(*saved.hint, *QUICK)
    assert said.code == Exit.DRIFTED, said.err
    assert "nothing was sent" in said.err
    assert len(shop.tasks()) == before
    anew = say(*said.hint)
    assert anew.code == Exit.OK, anew.err
    if moved != "bought":  # there the flags differ now, and nothing is new without --remake
        assert json.loads((shop.folder / "plan.json").read_text())["flags"] == {"set duration": "5"}
        assert say(*anew.hint, *QUICK).code == Exit.OK


@pytest.mark.more
def test_a_plan_that_shows_one_new_row_buys_nothing_where_the_others_are_not_known(
    shop: Shop,
) -> None:
    shop.fill(10)
    assert shop.run("--limit", "9").code == Exit.OK
    saved = shop.plan("--save", "plan.json")
    assert json.loads((shop.folder / "plan.json").read_text())["new_rows"] == 1
    for flags in (["--out", "empty"], []):
        if not flags:
            shop.run_folder.rename(shop.folder / "gone")
        said = say(*saved.hint, *QUICK, *flags)
        assert said.code == Exit.DRIFTED, said.err
        assert "nothing was sent" in said.err
    assert len(shop.tasks()) == 9


def test_a_plan_brings_its_own_flags(shop: Shop) -> None:
    shop.fill(1)
    saved = shop.plan("--save", "plan.json")
    said = say(*saved.hint, "--set", "duration=15")
    assert said.code == Exit.USAGE
    assert shop.tasks() == []
    assert say(*said.hint, *QUICK).code == Exit.OK
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_a_plan_overrules_what_the_config_file_and_variables_say_of_its_rows(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(3)
    saved = shop.plan("--set", "duration=5", "--rows", "1,2", "--save", "plan.json")
    config = shop.folder / "config.toml"
    config.write_text("draft = true\nwhere = \"id = 'none'\"\nset = {duration = 15}\n")
    monkeypatch.setenv("SEEDANCE_BATCH_CONFIG", str(config))
    monkeypatch.setenv("SEEDANCE_BATCH_LIMIT", "1")
    assert say(*saved.hint, *QUICK).code == Exit.OK
    assert sorted(shop.prompts()) == [shot(1)["prompt"], shot(2)["prompt"]]
    assert [task["input"]["duration"] for task in shop.tasks()] == [5, 5]


@pytest.mark.more
def test_a_plan_overrules_the_selection_of_a_config_file_beside_a_list_of_picks(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    (shop.folder / "picks.csv").write_text("id,mark\nshot1,redo\nshot2,redo\n")
    flags = ["--dry-run", "--from", "picks.csv", "--save", "plan.json"]
    saved = shop.plan(*flags, command="rerun")
    monkeypatch.setenv("SEEDANCE_BATCH_LIMIT", "1")
    hint = [word for word in saved.hint if word != "--dry-run"]
    said = say(*hint, *QUICK)
    assert said.code == Exit.OK, said.err
    assert len(shop.tasks()) == 4


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "null", '{"format": "seedance-batch plan", "version": 99}', "\x00"]
)
def test_a_file_that_is_no_plan_is_refused(shop: Shop, content: str) -> None:
    shop.fill(1)
    (shop.folder / "plan.json").write_text(content)
    assert shop.run("--plan", "plan.json").code == Exit.USAGE
    assert shop.run("--plan", "none.json").code == Exit.USAGE
    assert shop.tasks() == []


def test_a_plan_takes_no_devices_place_and_where_it_cannot_be_kept_nothing_is_sent(
    shop: Shop,
) -> None:
    shop.fill(1)
    pipe = shop.folder / "pipe"
    os.mkfifo(pipe)
    assert shop.plan("--save", str(pipe)).code == Exit.USAGE
    said = shop.run("--save", str(pipe))
    assert said.code == Exit.USAGE
    assert f"{pipe} cannot be written" in said.err
    assert pipe.is_fifo()
    assert shop.tasks() == []


def test_a_dry_run_is_a_plan(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run("--dry-run").out == shop.plan(*QUICK).out
    assert shop.tasks() == []
    assert not shop.run_folder.exists()


def test_the_environment_sets_flags(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.fill(3)
    monkeypatch.setenv("SEEDANCE_BATCH_LIMIT", "1")
    monkeypatch.setenv("SEEDANCE_BATCH_API_URL", shop.service.api_url)
    assert say("run", os.fspath(shop.manifest), "--yes", *QUICK).code == Exit.OK
    assert len(shop.tasks()) == 1
