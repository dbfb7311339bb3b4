"""Commands on a run folder: status, fetch, verify, results, reconcile. None of them buys."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3

import pytest

from seedance_batch.batch.reconcile import ambiguous
from seedance_batch.cli import folder
from seedance_batch.core.attempt import Phase
from seedance_batch.errors import Exit
from seedance_batch.journal.opening import open_journal
from seedance_batch.run_folder import JOURNAL
from tests.cli.shop import QUICK, Shop, say, shot, shots
from tests.service import read_rows

# ── status ──────────────────────────────────────────────────────────────────────────────────────


def test_status_counts_rows_and_money_by_any_column(shop: Shop) -> None:
    shop.write(shot(1, client="Acme"), shot(2, client="Acme"), shot(3, client="Zett\x1b[2J"))
    assert shop.run("--limit", "2").code == Exit.OK
    said = shop.at("status", "--by", "client")
    assert said.code == Exit.UNFINISHED  # one was never sent
    assert "client: Acme" in said.out
    assert "client: Zett\\x1b[2J" in said.out
    (found,) = shop.at("status", "--json", "--by", "client").lines
    assert found["statuses"] == {"new": 1, "done": 2}
    assert found["money"]["settled_usd"] == "0.384"
    assert found["by"]["client"]["Acme"]["statuses"] == {"done": 2}
    assert say("status", str(shop.manifest)).out == shop.at("status").out


def test_status_by_a_column_that_there_is_not_names_one_that_there_is(shop: Shop) -> None:
    shop.write(shot(1, client="Acme"))
    assert shop.run().code == Exit.OK
    assert shop.at("status", "--by", "Client").hint[-2:] == ["--by", "client"]
    said = shop.at("status", "--by", "customer")
    assert said.code == Exit.USAGE
    assert say(*said.hint).code == Exit.OK


def test_status_of_a_folder_in_which_nothing_was_sent(shop: Shop) -> None:
    shop.fill(1)
    assert say("run", str(shop.manifest), "--api-url", shop.service.api_url).code == Exit.USAGE
    assert shop.at("status").code == Exit.OK
    assert shop.at("status", "--by", "client").code == Exit.USAGE


def test_of_a_manifest_with_two_run_folders_the_flag_means_the_sandboxs(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    rehearsed = shop.run_folder.with_name("shots-sandbox")
    shutil.copytree(shop.run_folder, rehearsed)
    (rehearsed / "videos" / "shot1.mp4").write_bytes(b"")
    for command in ("results", "report"):
        said = say(command, str(shop.manifest), "--sandbox")
        assert said.code == Exit.OK
        assert said.out.startswith(str(rehearsed))
    assert say("verify", str(shop.manifest)).code == Exit.OK
    said = say("verify", str(shop.manifest), "--sandbox")
    assert said.code == Exit.SOME_FAILED
    assert said.hint == ["fetch", str(shop.manifest), "--sandbox"]


@pytest.mark.parametrize("command", ["fetch", "reconcile"])
def test_a_folder_whose_first_run_died_before_it_was_anybodys_asks_no_service(
    shop: Shop, command: str
) -> None:
    shop.run_folder.mkdir(parents=True)
    with open_journal(shop.run_folder / JOURNAL):
        pass
    said = shop.online(command)
    assert said.code == Exit.USAGE
    assert said.err == f"error: Nothing has been run in the run folder {shop.run_folder} yet.\n"


def test_status_watches_until_the_run_is_over(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LOOK_EVERY", 0.0)
    shop.fill(1)
    assert shop.run().code == Exit.OK
    assert len(shop.at("status", "--watch", "--json").lines) == 1


@pytest.mark.parametrize("command", ["status", "fetch", "reconcile", "results", "report", "verify"])
def test_where_nothing_was_run_there_is_no_run_folder(shop: Shop, command: str) -> None:
    shop.fill(1)
    said = say(command, str(shop.manifest))
    assert said.code == Exit.USAGE
    assert said.hint[0] == "run"
    assert not (shop.folder / "runs").exists()


# ── fetch ───────────────────────────────────────────────────────────────────────────────────────


def test_fetch_brings_what_is_missing_by_fresh_urls_and_submits_nothing(shop: Shop) -> None:
    shop.fill(3)
    assert shop.run("--limit", "2").code == Exit.OK
    (shop.run_folder / "videos/shot1.mp4").unlink()
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:
        journal.execute("UPDATE attempts SET video_url = video_url || '0'")
    journal.close()
    posts = shop.service.posts()
    said = shop.online("fetch", *QUICK)
    assert said.code == Exit.OK
    assert (shop.run_folder / "videos/shot1.mp4").is_file()
    assert shop.service.posts() == posts
    assert len(shop.tasks()) == 2


def test_fetch_goes_on_with_a_run_that_stopped_waiting_and_sends_no_row(shop: Shop) -> None:
    shop.fill(2)
    with shop.service.having(generation_time="0.8"):
        assert shop.leave("--limit", "1").code == Exit.UNFINISHED
    posts = shop.service.posts()
    last = shop.online("fetch", *QUICK, "--json").lines[-1]
    assert (last["event"], last["exit_code"], last["statuses"]) == ("end", 0, {"new": 1, "done": 1})
    assert shop.service.posts() == posts


def test_a_clip_whose_url_is_gone_for_good_stays_expired(shop: Shop) -> None:
    shop.fill(1)
    gone = {"files": {"404": 1.0}}
    with shop.service.having(url_ttl=1.0, faults=gone):
        said = shop.run()
        assert said.code == Exit.SOME_FAILED
        assert shop.statuses() == ["expired"]
        assert said.hint[0] == "fetch"
        assert say(*said.hint, *QUICK).code == Exit.SOME_FAILED
    assert len(shop.tasks()) == 1


def given_up_early(shop: Shop) -> None:
    """Make the folder's clips what an earlier version made of a file that was not there yet."""
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:
        journal.execute(
            "UPDATE attempts SET phase = 'expired', error_class = 'expired', clip = NULL, "
            "error_message = 'files answered 404'"
        )
    journal.close()


@pytest.mark.cases(1)
@pytest.mark.parametrize("command", ["run", "fetch", "rerun"])
def test_a_clip_that_was_given_up_before_its_time_is_taken_up_again_for_nothing(
    command: str, shop: Shop
) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    given_up_early(shop)
    assert {a.state.phase for a in shop.attempts()} == {Phase.EXPIRED}
    choice = ("--class", "expired", "--yes") if command == "rerun" else ()
    said = shop.online(command, *QUICK, *choice)
    assert said.code == Exit.OK, said.out + said.err
    assert shop.statuses() == ["done"] * 2
    assert len(shop.tasks()) == 2


def test_a_clip_that_does_not_come_stays_downloading_and_says_what_to_do(shop: Shop) -> None:
    shop.fill(1)
    with shop.service.having(faults={"files": {"404": 1.0}}):
        said = shop.run("--wait", "3")
    assert said.code == Exit.UNFINISHED
    (row,) = shop.results()
    assert row["status"] == "downloading"
    assert row["next_step"].startswith("paid: fetch asks for it again")
    assert "rerun" not in said.out + said.err + row["next_step"]
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_a_paid_clip_that_our_rules_refuse_may_be_saved_by_hand(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run("--limit", "1").code == Exit.OK
    with shop.service.having(faults={"outputs": {"forbidden_url": 1.0}}):
        said = shop.run()
        assert said.code == Exit.UNFINISHED
        assert "save the file at its video_url in the results sheet" in said.err
        row = shop.results()[1]
        assert row["status"] == "downloading"
        assert row["next_step"].endswith(
            "save video_url as videos/shot2.mp4 in the run folder, then run"
        )
        clips = shop.run_folder / "videos"
        shutil.copy(
            clips / "shot1.mp4", clips / "shot2.mp4"
        )  # one plain clip is as good as another
        assert shop.run().code == Exit.OK
    assert shop.statuses() == ["done"] * 2
    assert len(shop.tasks()) == 2


@pytest.mark.slow
def test_fetch_brings_whatever_is_not_what_the_journal_says_and_loses_no_file(shop: Shop) -> None:
    shop.fill(5)
    assert shop.run().code == Exit.OK
    clips = [shop.run_folder / f"videos/shot{n}.mp4" for n in range(1, 6)]
    whole = [clip.read_bytes() for clip in clips]
    longer, swapped = whole[1] + b"junk", bytes([whole[3][0] ^ 1]) + whole[3][1:]
    clips[0].unlink()
    clips[1].write_bytes(longer)  # still a film of the right length
    clips[2].write_bytes(b"")
    clips[3].write_bytes(swapped)  # of the right size
    said = shop.at("verify")
    assert (said.code, said.hint) == (Exit.SOME_FAILED, ["fetch", str(shop.run_folder)])
    posts = shop.service.posts()
    said = say(*said.hint, "--api-url", shop.service.api_url, *QUICK)
    assert said.code == Exit.OK
    assert "row shot2: videos/shot2.mp4 is not the file that was downloaded" in said.err
    assert shop.at("verify").code == Exit.OK
    assert [clip.read_bytes() for clip in clips] == whole
    aside = [shop.run_folder / f"videos/shot{n}.aside.mp4" for n in (2, 3, 4)]
    assert [file.read_bytes() for file in aside] == [longer, b"", swapped]
    assert len(list(clips[0].parent.iterdir())) == 8
    assert shop.service.posts() == posts


@pytest.mark.more
def test_what_damaged_downloads_took_from_a_paid_clip_fetch_brings_back_for_nothing(
    shop: Shop,
) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    clip = shop.run_folder / "videos/shot1.mp4"
    whole = clip.read_bytes()
    clip.unlink()
    with shop.service.having(faults={"files": {"short": 1.0}, "cut_at": len(whole) // 2}):
        assert shop.online("fetch", *QUICK).code == Exit.SOME_FAILED
    (row,) = shop.results()
    assert row["status"] == "media_mismatch"
    assert "fetch tries again" in row["next_step"]
    assert shop.at("verify").hint == ["fetch", str(shop.run_folder)]
    hint = shop.run().hint
    assert hint[0] == "fetch"
    assert say(*hint, *QUICK).code == Exit.OK
    assert [path.read_bytes() for path in clip.parent.iterdir()] == [whole]
    assert shop.statuses() == ["done"]
    assert len(shop.tasks()) == 1


@pytest.mark.slow
def test_a_whole_clip_that_is_not_what_was_asked_for_is_not_fetched_for_ever(shop: Shop) -> None:
    shop.fill(1)
    with shop.service.having(faults={"outputs": {"other_length": 1.0}}):
        assert shop.run().hint[0] == "verify"
    before = shop.attempts()
    assert shop.online("fetch", *QUICK).code == Exit.SOME_FAILED
    assert shop.attempts() == before


@pytest.mark.more
def test_a_second_take_and_a_row_of_that_name_are_told_apart(shop: Shop) -> None:
    shop.write(shot(1, id="1"))
    assert shop.run().code == Exit.OK
    shop.write(shot(2, id="1"))
    assert shop.run().code == Exit.OK
    shop.write(shot(2, id="1"), shot(3, id="1.2"))
    assert shop.run().code == Exit.OK
    files = {(a.intent.key, a.intent.number): a.state.file for a in shop.attempts()}
    assert files == {
        ("1", 1): "videos/1.mp4",
        ("1", 2): "videos/1.take2.mp4",
        ("1.2", 1): "videos/1.2.mp4",
    }


# ── verify ──────────────────────────────────────────────────────────────────────────────────────


def test_verify_finds_what_is_wrong_and_lists_what_to_claim_back(shop: Shop) -> None:
    shop.write(shot(1), shot(2), *[shot(n, prompt=f"=cmd|{n}") for n in (3,)])
    assert shop.run().code == Exit.OK
    assert shop.at("verify").code == Exit.OK
    (shop.run_folder / "videos/shot1.mp4").write_bytes(b"another file")
    (shop.run_folder / "videos/shot2.mp4").unlink()
    said = shop.at("verify", "--claims", "claims.csv")
    assert said.code == Exit.SOME_FAILED
    assert "shot1: videos/shot1.mp4 is not the file that was downloaded" in said.out
    assert "3 clips checked, 2 with problems." in said.out
    assert "2 claims in claims.csv" in said.err
    claims = read_rows(shop.folder / "claims.csv")
    assert [(c["id"], c["asked"], c["paid_usd"]) for c in claims] == [
        ("shot1", "4 s 480p 16:9 sound", "0.192"),
        ("shot2", "4 s 480p 16:9 sound", "0.192"),
    ]
    (found,) = shop.at("verify", "--json").lines
    assert found["checked"] == 3
    assert [fault["id"] for fault in found["faults"]] == ["shot1", "shot2"]


@pytest.mark.more
def test_a_clip_that_was_never_what_was_asked_for_can_be_claimed_back(shop: Shop) -> None:
    shop.fill(1)
    with shop.service.having(faults={"outputs": {"other_length": 1.0}}):
        said = shop.run()
    assert said.code == Exit.SOME_FAILED
    assert say(*said.hint).code == Exit.SOME_FAILED
    (claim,) = read_rows(shop.folder / "claims.csv")
    assert claim["got"] != "no file"
    assert claim["task_id"] == shop.tasks()[0]["task_id"]


# ── results ─────────────────────────────────────────────────────────────────────────────────────


def test_results_rebuilds_every_sheet_from_the_journal_alone(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    before = shop.results()
    shop.manifest.unlink()
    for sheet in shop.run_folder.glob("results.*"):
        sheet.unlink()
    said = shop.at("results")
    assert said.code == Exit.OK
    assert shop.results() == before
    for name in ("results.csv", "results.xlsx", "results.jsonl"):
        assert str(shop.run_folder / name) in said.out.splitlines()


def test_results_keeps_a_sheet_that_the_person_has_edited(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    with (shop.run_folder / "results.csv").open("a") as sheet:
        sheet.write("my own line\n")
    said = shop.at("results")
    assert "kept your edits in" in said.err
    assert any("yours" in path.name for path in shop.run_folder.iterdir())


# ── reconcile ───────────────────────────────────────────────────────────────────────────────────


def _lost(shop: Shop, count: int = 1) -> None:
    """Rows whose create was accepted and lost, so long ago that no resend is safe."""
    shop.write(*shots(count))
    lost = {"create": {"reset_after": 1.0}}
    with shop.service.having(faults=lost):
        assert shop.run("--wait", "1").code == Exit.UNFINISHED
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:
        journal.execute("UPDATE attempts SET first_sent_at = first_sent_at - 90000")
    journal.close()
    said = shop.run()
    assert said.code == Exit.UNFINISHED
    assert len(ambiguous(shop.attempts())) == count
    assert said.hint[0] == "reconcile"


def test_an_ambiguous_row_is_adopted_by_the_hint_and_brings_its_clip_at_no_charge(
    shop: Shop,
) -> None:
    _lost(shop)
    (task,) = shop.tasks()
    said = shop.online("reconcile")
    assert said.code == Exit.UNFINISHED
    assert f"could be {task['task_id']}" in said.out
    (asked,) = shop.online("reconcile", "--json").lines
    assert (
        asked.items()
        >= {
            "event": "question",
            "id": "shot1",
            "kind": "final",
            "candidates": [task["task_id"]],
            "less_likely": [],
            "forgotten": None,
        }.items()
    )
    adopted = say(*said.hint)
    assert adopted.code == Exit.OK
    assert "at no further cost" in adopted.err
    assert shop.run().code == Exit.OK
    assert shop.statuses() == ["done"]
    assert shop.tasks() == [task | {"status": "success"}]


@pytest.mark.more
def test_a_task_that_another_row_or_a_neighbouring_journal_holds_is_no_candidate(
    shop: Shop,
) -> None:
    _lost(shop, 2)
    first, second = sorted(task["task_id"] for task in shop.tasks())
    shutil.copytree(shop.run_folder, shop.folder / "runs/neighbour")
    with sqlite3.connect(shop.folder / "runs/neighbour/journal.db") as journal:
        journal.execute("UPDATE attempts SET task_id = ? WHERE key = 'shot1'", (first,))
    journal.close()
    for asked in shop.online("reconcile", "--json").lines:
        assert asked["candidates"] == [second]
    for wrong in (f"shot1={first}", "shot1=tk-hiapi-none", f"shot9={second}", "shot1"):
        said = shop.online("reconcile", "--adopt", wrong)
        assert said.code == Exit.USAGE, wrong
    assert len(ambiguous(shop.attempts())) == 2
    assert shop.online("reconcile", "--adopt", f"shot1={second}").code == Exit.UNFINISHED
    said = shop.online("reconcile", "--adopt", f"shot2={second}")
    assert said.code == Exit.USAGE
    assert "belongs to another row" in said.err


@pytest.mark.cases(1)
@pytest.mark.parametrize("details", [{}, {"404": 1.0}], ids=["whole", "no details"])
def test_a_task_is_adopted_for_a_row_that_was_said_to_have_failed(
    details: dict[str, float], shop: Shop
) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    (task,) = shop.tasks()
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:  # as an old list had it once
        journal.execute(
            "UPDATE attempts SET phase = 'failed', error_class = 'refused', clip = NULL"
        )
    journal.close()
    with shop.service.having(faults={"details": details}):
        said = shop.online("reconcile", "--adopt", f"shot1={task['task_id']}")
    assert said.code == Exit.OK, said.err
    assert shop.run().code == Exit.OK
    assert shop.statuses() == ["done"]
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_a_row_whose_task_the_service_has_forgotten_can_be_released(shop: Shop) -> None:
    shop.write(shot(1))
    with shop.service.having(faults={"forgotten": ["a"]}):
        assert shop.run("--wait", "1").code == Exit.UNFINISHED
        new = shop.online("reconcile")  # a task may be unknown at first
        assert "No row is ambiguous" in new.out
        assert shop.online("reconcile", "--release", "shot1").code == Exit.USAGE
        with sqlite3.connect(shop.run_folder / "journal.db") as journal:
            journal.execute("UPDATE attempts SET submitted_at = submitted_at - 3600")
        journal.close()
        said = shop.online("reconcile")
        assert said.code == Exit.UNFINISHED
        assert "no longer knows its task tk-hiapi-" in said.out
        assert "may mean paying twice" in said.out
        released = say(*said.hint)
    assert released.code == Exit.OK
    assert "that clip was paid for as well" in released.err
    assert shop.run(command="rerun").code == Exit.OK
    assert [a.state.phase for a in shop.attempts()] == [Phase.FAILED, Phase.DONE]


def test_a_released_row_is_made_anew_only_by_rerun(shop: Shop) -> None:
    shop.write(shot(1))
    with shop.service.having(faults={"create": {"reset": 1.0}}):
        assert shop.run("--wait", "1").code == Exit.UNFINISHED
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:
        journal.execute("UPDATE attempts SET first_sent_at = first_sent_at - 90000")
        journal.execute("UPDATE attempts SET submitted_at = submitted_at - 90000")
    journal.close()
    assert shop.run().code == Exit.UNFINISHED
    said = shop.online("reconcile")
    assert "no unclaimed task in the account" in said.out
    released = say(*said.hint)
    assert released.code == Exit.OK
    assert "rerun makes the clip again for $0.19." in released.err
    assert shop.tasks() == []
    assert shop.run().code == Exit.SOME_FAILED
    assert shop.tasks() == []
    assert shop.run(command="rerun").code == Exit.OK
    assert [a.state.phase for a in shop.attempts()] == [Phase.FAILED, Phase.DONE]
    assert len(shop.tasks()) == 1


def test_a_row_that_is_not_ambiguous_cannot_be_settled(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    for decision in (["--release", "shot1"], ["--adopt", "shot1=tk-1"]):
        said = shop.online("reconcile", *decision)
        assert said.code == Exit.USAGE
        assert "not ambiguous" in said.err
    assert json.loads(shop.at("status", "--json").out)["statuses"] == {"done": 1}


def test_a_mistyped_address_does_not_take_the_folder(shop: Shop) -> None:
    shop.fill(1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        wrong = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    said = say("run", str(shop.manifest), "--api-url", wrong, "--yes", *QUICK)
    assert said.code == Exit.UNREACHABLE
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_where_several_tasks_could_be_a_rows_no_hint_chooses_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(2)
    with shop.service.having(faults={"create": {"reset_after": 1.0}}):
        assert shop.run("--wait", "1").code == Exit.UNFINISHED
    monkeypatch.setenv("HIAPI_API_KEY", "sk-another")
    assert shop.run().code == Exit.UNFINISHED
    elsewhere = shop.online("reconcile")
    assert "another API key" in elsewhere.out
    assert "hint:" not in elsewhere.out
    monkeypatch.setenv("HIAPI_API_KEY", shop.key)
    here = shop.online("reconcile")
    assert here.out.count("could be") == 4
    assert "hint:" not in here.out
