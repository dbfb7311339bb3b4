"""Rows that feed each other, from the cell to the clip: made in their order, each paid for once."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from seedance_batch.clips.stills import edge_frame
from seedance_batch.core.attempt import Attempt, Kind, Phase
from seedance_batch.errors import Exit
from seedance_batch.journal.opening import look_into
from tests.cli.shop import Shop, say
from tests.service import read_rows, write_rows

FED = "first_frame_url"


def chain(shop: Shop, *links: str, **fields: Any) -> None:
    """Rows a, b, c …, each with its link to another one."""
    names = "abcdefgh"
    rows = [
        {"id": names[at], "prompt": f"a paper boat, part {at}", "duration": 4, "resolution": "480p"}
        | ({FED: link} if any(links) else {})
        | fields
        for at, link in enumerate(links)
    ]
    shop.write(*rows)


def newest(shop: Shop, key: str, kind: Kind = Kind.FINAL) -> Attempt:
    own = [a for a in shop.attempts() if a.intent.key == key and a.intent.kind is kind]
    return max(own, key=lambda a: a.id)


def picture_sent(shop: Shop, attempt: Attempt) -> Image.Image:
    """What the journal has of the frame that was sent."""
    (taken,) = attempt.intent.made_from
    with look_into(shop.run_folder / "journal.db") as journal:
        _, content = journal.blob(taken.sent.removeprefix("sha256:"))
    assert taken.sent == f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Image.open(io.BytesIO(content))


def is_last_frame_of(shop: Shop, picture: Image.Image, take: Attempt) -> bool:
    assert take.state.clip is not None
    frame = edge_frame(shop.run_folder / take.state.clip.file, last=True)
    return ImageChops.difference(picture.convert("RGB"), frame.convert("RGB")).getbbox() is None


def test_each_row_is_made_from_the_last_frame_of_the_one_before(shop: Shop) -> None:
    chain(shop, "", "last_frame:a", "last_frame:previous")
    with shop.service.having(clips="full"):
        assert shop.run().code == Exit.OK
    assert [task["prompt"][-1] for task in shop.tasks()] == ["0", "1", "2"]
    for key, source in (("b", "a"), ("c", "b")):
        follower, take = newest(shop, key), newest(shop, source)
        assert follower.intent.made_from[0].attempt == take.id
        assert is_last_frame_of(shop, picture_sent(shop, follower), take)
    assert [row["made_from"] for row in shop.results()] == ["", "a final 1", "b final 1"]
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_in_the_sandbox_a_followers_clip_begins_with_the_picture_that_was_sent(shop: Shop) -> None:
    chain(shop, "", "last_frame:a")
    assert say("run", str(shop.manifest), "--sandbox", "-q").code == Exit.OK
    videos = shop.folder / "runs" / "shots-sandbox" / "videos"
    before, after = (
        edge_frame(videos / "a.mp4", last=True),
        edge_frame(videos / "b.mp4", last=False),
    )
    assert max(ImageStat.Stat(ImageChops.difference(before, after)).mean) < 12


@pytest.mark.more
def test_a_returned_last_frame_is_what_is_sent(shop: Shop) -> None:
    chain(shop, "", "last_frame:a", return_last_frame="yes")
    assert shop.run().code == Exit.OK
    returned = shop.run_folder / "frames" / "a.png"
    with look_into(shop.run_folder / "journal.db") as journal:
        (taken,) = newest(shop, "b").intent.made_from
        assert journal.blob(taken.sent.removeprefix("sha256:"))[1] == returned.read_bytes()


@pytest.mark.more
def test_a_sheet_without_ids_can_be_one_long_take(shop: Shop) -> None:
    row = {"prompt": "the boat drifts on", "duration": 4, "resolution": "480p"}
    shop.write({**row, FED: ""}, *[{**row, FED: "last_frame:previous"}] * 3)
    assert shop.run().code == Exit.OK
    made = [a.intent.made_from for a in shop.attempts()]
    assert [[each.attempt for each in taken] for taken in made] == [[], [1], [2], [3]]


@pytest.mark.more
def test_takes_of_one_line_have_the_same_row_above(shop: Shop) -> None:
    row = {"duration": 4, "resolution": "480p"}
    shop.write(
        {"id": "a", "prompt": "the boat", FED: "", "variants": "", **row},
        {"id": "b", "prompt": "it drifts", FED: "last_frame:previous", "variants": 3, **row},
    )
    assert shop.run().code == Exit.OK
    taken = [each.attempt for a in shop.attempts() for each in a.intent.made_from]
    assert taken == [1, 1, 1]


def test_a_clip_is_taken_by_the_services_own_address_while_that_holds(shop: Shop) -> None:
    row = {"duration": 4, "resolution": "480p"}
    shop.write(
        {"id": "a", "prompt": "the boat", "reference_video_urls": "", **row},
        {"id": "b", "prompt": "the same at night", "reference_video_urls": "clip:a", **row},
    )
    assert shop.run().code == Exit.OK
    (taken,) = newest(shop, "b").intent.made_from
    assert taken.sent == newest(shop, "a").state.video_url
    steps = json.loads(shop.plan("--json").out)["steps"]
    assert [step["seconds"] for step in steps] == [4, 4]


@pytest.mark.parametrize(
    ("links", "cell", "words"),
    [
        (("last_frame:previous",), "shots.csv:2:first_frame_url", "there is no row above"),
        (("", "last_frame:z"), "shots.csv:3:first_frame_url", "no row has this id"),
        (("last_frame:a",), "shots.csv:2:first_frame_url", "this row waits for itself"),
        (("last_frame:b", "last_frame:a"), "shots.csv:2:first_frame_url", "wait for each other"),
        (("", "clip:a"), "shots.csv:3:first_frame_url", "an image is needed: last_frame:a"),
    ],
)
def test_what_cannot_be_followed_is_told_with_its_cell_before_anything_is_sent(
    shop: Shop, links: tuple[str, ...], cell: str, words: str
) -> None:
    chain(shop, *links)
    for said in (shop.run(), say("check", str(shop.manifest))):
        assert said.code == Exit.USAGE
        assert cell in said.err + said.out
        assert words in said.err + said.out
    assert shop.tasks() == []


def test_a_row_that_is_chosen_without_its_source_is_refused(shop: Shop) -> None:
    chain(shop, "", "last_frame:a")
    for flags in (["--ids", "b"], ["--rows", "2"], ["--where", "id = 'b'"]):
        said = shop.run(*flags)
        assert said.code == Exit.USAGE
        assert "shots.csv:3:first_frame_url" in said.err
        assert "choose a as well" in said.err
    assert shop.tasks() == []
    assert shop.run("--limit", "1").code == Exit.OK
    assert shop.run("--ids", "b").code == Exit.OK
    assert len(shop.tasks()) == 2


def test_a_row_that_the_sheet_leaves_out_feeds_nobody(shop: Shop) -> None:
    chain(shop, "", "last_frame:a", skip="")
    rows = read_rows(shop.manifest)
    rows[0]["skip"] = "yes"
    write_rows(shop.manifest, rows)
    said = shop.run()
    assert said.code == Exit.USAGE
    assert "last_frame:a: the sheet leaves this row out (skip, or --visible)" in said.err
    assert shop.tasks() == []


def test_a_source_without_a_clip_leaves_its_followers_blocked_and_unpaid(shop: Shop) -> None:
    chain(shop, "", "last_frame:a", "last_frame:b", "")
    with shop.service.having(faults={"moderation": {"part 0": "prompt"}}):
        said = shop.run()
    assert said.code == Exit.SOME_FAILED
    assert shop.statuses() == ["failed", "blocked", "blocked", "done"]
    assert "waits for a, which has no clip" in said.out
    assert len(shop.tasks()) == 2
    rows = shop.results()
    assert rows[2]["next_step"].startswith("a, which it waits for, has no clip: ")
    assert [row["id"] for row in read_rows(shop.run_folder / "failed.csv")] == ["a", "b", "c"]
    assert shop.run().code == Exit.SOME_FAILED
    assert len(shop.tasks()) == 2
    said = shop.run("--force", command="rerun")
    assert said.code == Exit.OK
    assert shop.statuses() == ["done"] * 4
    assert len(shop.tasks()) == 5


@pytest.mark.more
def test_a_failed_sheet_knows_the_rows_that_it_lacks(shop: Shop) -> None:
    chain(shop, "", "last_frame:previous", "last_frame:previous")
    with shop.service.having(faults={"moderation": {"part 1": "prompt"}}):
        assert shop.run().code == Exit.SOME_FAILED
    failed = shop.run_folder / "failed.csv"
    rows = [
        row | {"prompt": row["prompt"].replace("part 1", "part one")} for row in read_rows(failed)
    ]
    assert [row["id"] for row in rows] == ["b", "c"]
    write_rows(failed, rows)
    assert shop.run(of=failed).code == Exit.OK
    assert [newest(shop, key).intent.made_from[0].attempt for key in "bc"] == [
        newest(shop, key).id for key in "ab"
    ]


def test_an_edited_source_leaves_its_followers_stale_and_only_a_rerun_makes_them(
    shop: Shop,
) -> None:
    chain(shop, "", "last_frame:a", "last_frame:b")
    assert shop.run().code == Exit.OK
    rows = read_rows(shop.manifest)
    rows[0]["prompt"] = "a paper boat in the rain"
    write_rows(shop.manifest, rows)
    said = shop.run()
    assert said.code == Exit.OK
    assert len(shop.tasks()) == 4
    plan = shop.plan()
    assert "1 clip was made from another take than feeds its row now (b)" in plan.out
    assert [row["next_step"] for row in shop.results()][1].startswith("made from an earlier take")
    assert "every row has its clip; 1 clip is stale" in shop.run().out
    assert "stale, made from a take that was replaced since: b" in shop.at("join").err
    assert shop.run("--stale", command="rerun").code == Exit.OK
    assert len(shop.tasks()) == 6
    assert newest(shop, "b").intent.made_from[0].attempt == newest(shop, "a").id
    assert newest(shop, "c").intent.made_from[0].attempt == newest(shop, "b").id
    for _ in range(2):
        assert shop.run("--stale", command="rerun").code == Exit.OK
        assert len(shop.tasks()) == 6


@pytest.mark.more
def test_a_row_that_stands_below_another_one_by_now_is_told_as_made_from_another_row(
    shop: Shop,
) -> None:
    chain(shop, "", "last_frame:previous", "last_frame:previous")
    assert shop.run().code == Exit.OK
    a, b, c = read_rows(shop.manifest)
    write_rows(shop.manifest, [a, c, b])
    assert shop.run().code == Exit.OK
    plan = shop.plan("-v")
    assert "made from another row than a:" in plan.out
    assert "made from another row than c:" in plan.out
    told = [row["next_step"] for row in shop.results()]
    assert [words.startswith("made from another row than it names now") for words in told] == [
        False,
        True,
        True,
    ]
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_a_stale_row_that_is_refused_keeps_its_clip_and_says_so(shop: Shop) -> None:
    chain(shop, "", "last_frame:a")
    assert shop.run().code == Exit.OK
    assert shop.run("--ids", "a", "--remake", "--set", "seed=7").code == Exit.OK
    with shop.service.having(faults={"moderation": {"part 1": "prompt"}}):
        assert shop.run("--stale", command="rerun").code == Exit.SOME_FAILED
        tasks = len(shop.tasks())
        said = shop.run("--stale", command="rerun")
        assert said.code == Exit.SOME_FAILED
        assert "--stale" in (said.out + said.err).split("hint: ")[-1]
    assert len(shop.tasks()) == tasks
    assert {a.state.phase for a in shop.attempts()} == {Phase.DONE, Phase.FAILED}
    assert shop.run("--stale", "--force", command="rerun").code == Exit.OK


@pytest.mark.more
def test_the_way_out_of_a_failed_row_beside_stale_ones_makes_it(shop: Shop) -> None:
    chain(shop, "", "last_frame:a", "")
    with shop.service.having(faults={"moderation": {"part 2": "prompt"}}):
        assert shop.run().code == Exit.SOME_FAILED
    assert shop.run("--ids", "a", "--remake", "--set", "seed=7").code == Exit.OK
    said = shop.run("--stale", command="rerun")
    assert said.code == Exit.SOME_FAILED
    hint = (said.out + said.err).split("hint: ")[-1]
    assert ("--force" in hint, "--stale" in hint) == (True, False)
    assert shop.run("--force", command="rerun").code == Exit.OK
    assert shop.statuses() == ["done"] * 3


@pytest.mark.more
def test_drafts_are_made_from_drafts_and_finals_from_finals(shop: Shop) -> None:
    chain(shop, "", "last_frame:a")
    assert shop.run("--draft").code == Exit.OK
    assert shop.run().code == Exit.OK
    for kind in Kind:
        follower, source = newest(shop, "b", kind), newest(shop, "a", kind)
        assert follower.intent.made_from[0].attempt == source.id
    assert len(shop.tasks()) == 4


def test_a_cap_a_canary_and_a_limit_mean_the_same_for_rows_in_a_chain(shop: Shop) -> None:
    chain(shop, "last_frame:b", "last_frame:c", "", "")
    said = shop.run("--max-cost", "0.40")
    assert said.code == Exit.BUDGET
    assert shop.prompts() == ["a paper boat, part 2", "a paper boat, part 1"]
    said = shop.run("--max-cost", "none", "--canary", "1")
    assert said.code == Exit.OK
    assert "Canary: 1 row first" in said.err
    assert len(shop.tasks()) == 4


@pytest.mark.more
def test_a_canary_is_no_row_that_waits(shop: Shop) -> None:
    chain(shop, "last_frame:b", "", "last_frame:b")
    assert shop.run("--canary", "1").code == Exit.OK
    assert shop.prompts()[0] == "a paper boat, part 1"
    assert len(shop.tasks()) == 3


def test_a_saved_plan_of_a_chain_is_carried_out_once(shop: Shop) -> None:
    chain(shop, "", "last_frame:a")
    kept = shop.folder / "plan.json"
    assert shop.plan("--save", str(kept)).code == Exit.OK
    assert [step["waits_for"] for step in json.loads(kept.read_text())["steps"]] == [[], ["a"]]
    assert shop.run("--plan", str(kept)).code == Exit.OK
    assert shop.run("--plan", str(kept)).code == Exit.OK
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_results_fed_back_moved_folders_and_new_words_for_the_same_row_buy_nothing(
    shop: Shop, tmp_path: Path
) -> None:
    chain(shop, "", "last_frame:previous", "last_frame:b")
    assert shop.run().code == Exit.OK
    assert shop.run(of=shop.run_folder / "results.csv").code == Exit.OK
    rows = read_rows(shop.manifest)
    rows[1][FED], rows[2][FED] = "last_frame:a", "last frame: previous"
    write_rows(shop.manifest, rows)
    assert shop.run().code == Exit.OK
    rows[0]["id"], rows[1][FED] = "opening", "last_frame:opening"
    write_rows(shop.manifest, rows)
    assert shop.run().code == Exit.OK
    shutil.move(shop.folder, tmp_path / "elsewhere")
    shop.folder = tmp_path / "elsewhere"
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.more
@pytest.mark.parametrize("kind", [[], ["--draft"]], ids=["finals", "drafts"])
def test_rows_that_all_have_new_ids_or_are_numbered_anew_keep_their_clips(
    shop: Shop, kind: list[str]
) -> None:
    row = {"duration": 4, "resolution": "480p"}

    def numbered(*parts: str) -> None:
        links = ["", *(f"last_frame:{number}" for number in range(1, len(parts)))]
        shop.write(
            *(
                {"id": number, "prompt": f"a paper boat {part}", FED: links[number - 1], **row}
                for number, part in enumerate(parts, 1)
            )
        )

    numbered("sails", "turns", "sinks")
    assert shop.run(*kind).code == Exit.OK
    rows = read_rows(shop.manifest)
    for each in rows:
        each["id"], each[FED] = f"s{each['id']}", each[FED].replace("frame:", "frame:s")
    write_rows(shop.manifest, rows)
    assert shop.run(*kind).code == Exit.OK
    assert len(shop.tasks()) == 3
    numbered("sails", "turns", "sinks")
    assert shop.run(*kind).code == Exit.OK
    write_rows(
        shop.manifest,
        [
            {**each, "id": int(each["id"]) + 1, FED: f"last_frame:{number}" if number > 1 else ""}
            for number, each in enumerate(read_rows(shop.manifest), 1)
        ],
    )
    assert shop.run(*kind).code == Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_a_link_may_be_set_for_some_rows_by_a_flag(shop: Shop) -> None:
    chain(shop, "", "", "")
    assert shop.run("--set", "first_frame_url=last_frame:previous").code == Exit.OK
    assert [[e.attempt for e in a.intent.made_from] for a in shop.attempts()] == [[], [1], [2]]


@pytest.mark.more
def test_a_folder_of_before_goes_on_with_a_chain(shop: Shop) -> None:
    chain(shop, "")
    assert shop.run().code == Exit.OK
    chain(shop, "", "last_frame:a")
    assert shop.run().code == Exit.OK
    assert newest(shop, "b").intent.made_from[0].attempt == newest(shop, "a").id
    assert len(shop.tasks()) == 2


def test_a_source_that_is_still_on_its_way_is_waited_for_by_the_next_run(shop: Shop) -> None:
    chain(shop, "", "last_frame:a")
    with shop.service.having(generation_time="3"):
        assert shop.leave().code == Exit.UNFINISHED
        assert len(shop.tasks()) == 1
        assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 2


def test_a_clip_that_was_changed_on_disk_feeds_nobody(shop: Shop) -> None:
    chain(shop, "")
    assert shop.run().code == Exit.OK
    chain(shop, "", "last_frame:a")
    clip = shop.run_folder / "videos" / "a.mp4"
    clip.write_bytes(clip.read_bytes() + b"\0")
    said = shop.run("--ids", "b")
    assert said.code == Exit.SOME_FAILED
    assert "a.mp4" in said.err
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_a_source_whose_clip_was_deleted_is_fetched_before_its_follower_is_made(
    shop: Shop,
) -> None:
    chain(shop, "")
    assert shop.run().code == Exit.OK
    chain(shop, "", "last_frame:a")
    (shop.run_folder / "videos" / "a.mp4").unlink()
    assert shop.run().code == Exit.OK
    assert shop.statuses() == ["done", "done"]
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_a_draft_that_ends_during_a_run_of_finals_feeds_no_final(shop: Shop) -> None:
    chain(shop, "", "last_frame:a")
    with shop.service.having(generation_time="1.5"):
        assert shop.leave("--draft").code == Exit.UNFINISHED
    with shop.service.having(generation_time="3"):
        assert shop.run().code == Exit.OK
    assert newest(shop, "b").intent.made_from[0].attempt == newest(shop, "a").id
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_a_take_that_is_fetched_again_feeds_its_follower_also_after_a_newer_failure(
    shop: Shop,
) -> None:
    chain(shop, "")
    assert shop.run().code == Exit.OK
    with shop.service.having(faults={"moderation": {"part 0": "prompt"}}):
        assert shop.run("--remake", "--set", "seed=7").code == Exit.SOME_FAILED
    chain(shop, "", "last_frame:a")
    (shop.run_folder / "videos" / "a.mp4").unlink()
    assert shop.run().code == Exit.OK
    assert newest(shop, "b").intent.made_from[0].attempt == 1
    assert len(shop.tasks()) == 3


def test_a_chain_whose_first_send_got_no_answer_goes_on_in_the_next_run(shop: Shop) -> None:
    chain(shop, "", "last_frame:a")
    with shop.service.having(faults={"create": {"reset_after": 1.0}}):
        assert shop.run("--wait", "0.5").code == Exit.UNFINISHED
    assert shop.run("--wait", "300").code == Exit.OK
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_a_source_that_is_renamed_while_it_is_made_is_waited_for(shop: Shop) -> None:
    chain(shop, "", "last_frame:a")
    with shop.service.having(generation_time="3"):
        assert shop.leave().code == Exit.UNFINISHED
        rows = read_rows(shop.manifest)
        rows[0]["id"], rows[1][FED] = "opening", "last_frame:opening"
        write_rows(shop.manifest, rows)
        assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 2
