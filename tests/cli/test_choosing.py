"""Which rows a command is about: selections, reruns by class, picks."""

from __future__ import annotations

import errno
import os

import pytest

from seedance_batch.core.attempt import Kind
from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, Shop, say, shot
from tests.service import write_rows

BROKEN = {"tasks": {"TASK_TIMEOUT": 1.0}, "moderation": ["forbidden"]}


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        (["--rows", "1-2,4"], [1, 2, 4]),
        (["--rows", "3-"], [3, 4]),
        (["--ids", "shot4, shot2"], [2, 4]),
        (["--where", "client == 'Acme' and duration > 4"], [3]),
        (["--where", "status == 'new' and resolution == '480p'", "--limit", "2"], [1, 2]),
        (["--limit", "1"], [1]),
        (["--from", "picks.csv"], [1, 2, 3]),
    ],
)
def test_a_selection_means_the_rows_that_it_names_in_manifest_order(
    shop: Shop, flags: list[str], chosen: list[int]
) -> None:
    rows = [shot(n, client="Acme" if n % 2 else "Zett", duration=n + 3) for n in range(1, 5)]
    shop.write(*rows)
    marks = [("shot3", "redo"), ("shot1", "keep"), ("shot2", "")]
    write_rows(shop.folder / "picks.csv", [{"id": i, "mark": m} for i, m in marks])
    (plan,) = shop.plan(*flags, "--json").lines
    assert [step["id"] for step in plan["steps"]] == [f"shot{number}" for number in chosen]


def test_a_condition_sees_a_rows_own_values_also_for_drafts(shop: Shop) -> None:
    shop.write(shot(1), shot(2, duration=8))
    (plan,) = shop.plan("--draft", "--where", "duration < 5", "--json").lines
    assert [step["id"] for step in plan["steps"]] == ["shot1"]


def test_only_selected_rows_are_sent_and_the_others_stay_new(shop: Shop) -> None:
    shop.fill(4)
    assert shop.run("--rows", "2-", "--limit", "2").code == Exit.OK
    assert sorted(shop.prompts()) == [shot(2)["prompt"], shot(3)["prompt"]]
    assert shop.statuses() == ["new", "done", "done", "new"]


@pytest.mark.more
def test_a_sample_is_the_same_for_the_same_seed(shop: Shop) -> None:
    shop.fill(8)
    flags = ["--sample", "3", "--sample-seed", "7"]
    assert shop.run(*flags).code == Exit.OK
    assert shop.run(*flags).code == Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.parametrize(
    "flags",
    [
        ["--where", "client == 'Nobody'"],
        ["--rows", "9"],
        ["--rows", "x"],
        ["--ids", "shot9"],
        ["--where", "__import__('os')"],
        ["--limit", "0"],
        ["--from", "none.csv"],
    ],
)
def test_a_selection_of_nothing_is_exit_2_and_sends_nothing(shop: Shop, flags: list[str]) -> None:
    shop.write(shot(1, client="Acme"))
    said = shop.run(*flags)
    assert said.code == Exit.USAGE
    assert said.err.startswith("error: ")
    assert shop.tasks() == []


# ── rerun ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.more
def test_rerun_takes_transient_failures_and_leaves_refused_content(shop: Shop) -> None:
    shop.write(shot(1), shot(2, prompt="forbidden fruit"), shot(3))
    with shop.service.having(faults=BROKEN):
        said = shop.run("--rows", "1-2")
    assert said.code == Exit.SOME_FAILED
    assert said.hint[0] == "rerun"
    again = shop.run(command="rerun")
    assert again.code == Exit.SOME_FAILED
    assert shop.statuses() == ["done", "failed", "new"]
    assert len(shop.tasks()) == 3


def test_refused_content_needs_an_edit_or_force_and_the_message_says_so(shop: Shop) -> None:
    shop.write(shot(1, prompt="forbidden fruit"))
    said = shop.run()
    assert said.code == Exit.SOME_FAILED
    assert "hint: edit the row, or make it again unchanged: seedance-batch rerun" in said.out
    assert shop.plan("-v").out.count("edit the row, or rerun --force") == 1
    assert shop.run(command="rerun").code == Exit.SOME_FAILED
    assert shop.run().code == Exit.SOME_FAILED
    assert len(shop.tasks()) == 1
    with shop.service.having(faults={}):
        assert shop.run("--force", command="rerun").code == Exit.OK
    assert len(shop.tasks()) == 2


def test_an_edited_row_is_a_new_attempt_whose_former_cost_is_shown(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    shop.write(shot(1, prompt="another boat"), shot(2))
    said = shop.plan("-v")
    row = next(line for line in said.out.splitlines() if "~ shot1" in line)
    assert row.split()[:12] == [
        *("1", "2", "~", "shot1", "videos/shot1.take2.mp4", "16:9", "480p", "4", "s", "$0.19"),
        *("prompt", "changed"),
    ]
    assert "Rows to be made again have already cost $0.19." in said.out
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_paid_clips_are_made_anew_only_where_their_class_is_named(shop: Shop) -> None:
    shop.fill(1)
    with shop.service.having(faults={"outputs": {"other_size": 1.0}}):
        said = shop.run()
    assert said.code == Exit.SOME_FAILED
    assert shop.statuses() == ["media_mismatch"]
    assert said.hint[0] == "verify"
    assert shop.run(command="rerun").code == Exit.SOME_FAILED
    assert len(shop.tasks()) == 1
    assert shop.run("--class", "media_mismatch", command="rerun").code == Exit.OK
    assert len(shop.tasks()) == 2


def test_a_class_that_there_is_not_is_refused(shop: Shop) -> None:
    shop.fill(1)
    said = shop.run("--class", "bad luck", command="rerun")
    assert said.code == Exit.USAGE
    assert "transient" in said.err


# ── picks ───────────────────────────────────────────────────────────────────────────────────────


def _pick(shop: Shop, **marks: str) -> str:
    path = shop.folder / "picks.csv"
    write_rows(path, [{"id": key, "mark": mark, "note": ""} for key, mark in marks.items()])
    return str(path)


def test_redo_makes_exactly_one_new_take_and_the_same_command_again_none(shop: Shop) -> None:
    shop.fill(3)
    assert shop.run().code == Exit.OK
    picks = _pick(shop, shot1="redo", shot2="keep", shot3="reject")
    for _ in range(3):
        assert shop.run("--from", picks, command="rerun").code == Exit.OK
    assert len(shop.tasks()) == 4
    assert (shop.run_folder / "videos/shot1.take2.mp4").is_file()
    assert (shop.run_folder / "videos/shot1.mp4").is_file()


@pytest.mark.more
def test_redo_of_drafts_asks_for_drafts_and_keeps_the_list_good(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run("--draft").code == Exit.OK
    picks = _pick(shop, shot1="redo")
    said = shop.run("--from", picks, command="rerun")
    assert said.code == Exit.USAGE
    assert "--draft" in said.hint
    assert len(shop.tasks()) == 2
    assert say(*said.hint, "--yes", *QUICK).code == Exit.OK
    assert len(shop.tasks()) == 3
    assert (shop.run_folder / "drafts/shot1.take2.mp4").is_file()


@pytest.mark.more
def test_flags_of_a_promotion_that_is_kept_back_change_no_row(shop: Shop) -> None:
    shop.fill(3)
    assert shop.run().code == Exit.OK
    picks = _pick(shop, shot1="keep")
    said = shop.run("--from", picks, "--set", "resolution=1080p", command="promote")
    assert said.code == Exit.SOME_FAILED
    assert "made with other flags" in said.out
    assert "every row is done" not in said.out
    assert {"--remake", "--dry-run"} <= set(said.hint)
    assert shop.statuses() == ["done", "done", "done"]
    assert say(*said.hint, "--yes", *QUICK).code == Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_a_redo_that_the_account_turned_away_is_had_once_the_balance_allows(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    picks = _pick(shop, shot1="redo")
    with shop.service.having(balance="0"):
        assert shop.run("--from", picks, command="rerun").code == Exit.ACCOUNT
    for _ in range(3):
        assert shop.run("--from", picks, command="rerun").code == Exit.OK
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_flags_speak_for_the_rows_that_they_buy_and_no_run_without_them_buys_again(
    shop: Shop,
) -> None:
    shop.fill(3)
    assert shop.run("--rows", "1").code == Exit.OK
    bigger = ["--set", "resolution=720p"]
    kept_back = shop.run(*bigger, "--canary", "1")
    assert kept_back.code == Exit.SOME_FAILED
    assert "shot1 made with other flags" in kept_back.out
    assert [task["input"]["resolution"] for task in shop.tasks()] == ["480p", "720p", "720p"]
    for flags in ([], bigger, [], ["--rows", "2"]):
        shop.run(*flags)
        assert shop.statuses() == ["done", "done", "done"]
    assert len(shop.tasks()) == 3
    rows = [shot(n) for n in (1, 2, 3)]
    shop.write(rows[0], rows[1] | {"prompt": "an edited boat"}, rows[2])
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 4
    assert shop.tasks()[-1]["input"]["resolution"] == "480p"


@pytest.mark.more
def test_a_renamed_row_takes_its_clip_along_whatever_flags_it_was_made_with(shop: Shop) -> None:
    shop.write(shot(1), shot(2))
    assert shop.run("--set", "aspect_ratio=9:16").code == Exit.OK
    shop.write(shot(1, id="opening"), shot(2))
    assert shop.run().code == Exit.OK
    assert shop.statuses() == ["done", "done"]
    shop.write(shot(1, id="titles"), shot(2))
    held = shop.run("--set", "aspect_ratio=1:1")
    assert (held.code, len(shop.tasks())) == (Exit.SOME_FAILED, 2)
    assert "--remake" in held.out


@pytest.mark.slow
def test_a_promoted_row_stays_promoted(shop: Shop) -> None:
    shop.fill(3)
    assert shop.run("--rows", "3").code == Exit.OK
    assert shop.run("--draft", "--rows", "1-2").code == Exit.OK
    picks = _pick(shop, shot1="keep")
    assert shop.run("--from", picks, "--set", "resolution=1080p", command="promote").code == 0
    assert shop.run("--rows", "1,3").code == Exit.OK
    assert len(shop.tasks()) == 4
    assert shop.statuses()[0] == "done"


@pytest.mark.more
def test_a_redo_that_was_saved_is_run_as_it_was_approved(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    picks = _pick(shop, shot1="redo")
    saved = shop.plan("--from", picks, "--dry-run", "--save", "again.json", command="rerun")
    assert saved.code == Exit.OK
    assert saved.hint[0] == "rerun"
    for _ in range(2):
        assert shop.run("--from", picks, "--plan", "again.json", command="rerun").code == Exit.OK
        assert len(shop.tasks()) == 3


def test_promote_makes_finals_of_the_drafts_that_were_kept(shop: Shop) -> None:
    shop.write(shot(1, resolution="720p"), shot(2), shot(3))
    assert shop.run("--draft").code == Exit.OK
    picks = _pick(shop, shot1="keep", shot2="reject", shot3="redo")
    said = shop.run("--from", picks, "--set", "resolution=1080p", command="promote")
    assert said.code == Exit.OK
    assert "may differ from its draft" in said.err
    assert [task["input"]["resolution"] for task in shop.tasks()][3:] == ["1080p"]
    assert shop.run("--from", picks, "--set", "resolution=1080p", command="promote").code == 0
    assert len(shop.tasks()) == 4


def test_a_config_file_that_asks_for_drafts_does_not_stop_their_promotion(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shop.folder / "config.toml"
    config.write_text("draft = true")
    monkeypatch.setenv("SEEDANCE_BATCH_CONFIG", str(config))
    shop.fill(1)
    assert shop.run().code == Exit.OK
    said = shop.run("--from", _pick(shop, shot1="keep"), command="promote")
    assert said.code == Exit.OK, said.err
    assert [attempt.intent.kind for attempt in shop.attempts()] == [Kind.DRAFT, Kind.FINAL]


def test_a_list_of_picks_of_no_use_leads_back_to_the_page_of_this_very_folder(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run("--draft", "--out", "elsewhere").code == Exit.OK
    picks = _pick(shop, shot1="redo", shot2="")
    for name, words in (
        (picks, "has no row marked keep."),
        ("none.csv", os.strerror(errno.ENOENT)),
    ):
        said = shop.run("--from", name, "--out", "elsewhere", command="promote")
        assert said.code == Exit.USAGE
        assert words in said.err
        assert "hint: export picks.csv on the review page again: seedance-batch report" in said.err
        *_, folder = said.err.split()
        assert say("report", folder).out.strip().endswith("elsewhere/report.html")


def test_promote_without_picks_and_of_drafts_is_refused_with_the_command(shop: Shop) -> None:
    shop.fill(1)
    said = shop.run(command="promote")
    assert said.code == Exit.USAGE
    assert said.hint[0] == "promote"
    assert shop.run("--from", "picks.csv", "--draft", command="promote").code == Exit.USAGE
    assert shop.tasks() == []


# ── sheets of ours, fed back ────────────────────────────────────────────────────────────────────


def test_failed_rows_fed_back_touch_only_those_rows(shop: Shop) -> None:
    shop.write(shot(1), shot(2, prompt="forbidden fruit"), shot(3))
    assert shop.run().code == Exit.SOME_FAILED
    failed = shop.run_folder / "failed.csv"
    failed.write_text(failed.read_text("utf-8-sig").replace("forbidden", "ripe"), "utf-8")
    said = shop.run(of=failed)
    assert said.code == Exit.OK
    assert len(shop.tasks()) == 4
    assert shop.statuses() == ["done", "done", "done"]


def test_results_fed_back_with_one_edited_cell_are_one_changed_row(shop: Shop) -> None:
    shop.fill(3)
    assert shop.run().code == Exit.OK
    sheet = shop.run_folder / "results.csv"
    sheet.write_text(sheet.read_text("utf-8-sig").replace("boat, number 2", "ship"), "utf-8")
    assert shop.run(of=sheet).code == Exit.OK
    assert len(shop.tasks()) == 4
    assert shop.prompts()[-1] == "a paper ship"
    assert shop.statuses() == ["done", "done", "done"]


@pytest.mark.more
def test_a_manifest_and_its_run_folder_may_stand_for_each_other(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    assert shop.run(of=shop.run_folder).code == Exit.OK
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_rows_that_were_not_chosen_stay_done_whatever_flags_the_others_are_remade_with(
    shop: Shop,
) -> None:
    shop.fill(3)
    assert shop.run().code == Exit.OK
    assert shop.run("--ids", "shot1", "--remake", "--set", "seed=5").code == Exit.OK
    assert shop.statuses() == ["done"] * 3
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 4
