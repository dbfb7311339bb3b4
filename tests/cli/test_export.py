"""``export`` makes a data set of what run folders hold, and says what it left out."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from seedance_batch.errors import Exit
from seedance_batch.page.marks import save_mark
from tests.cli.shop import Shop, say, shot


@pytest.fixture
def three(shop: Shop) -> Shop:
    """Two clips, one of them made of the other's last frame, and a refused row."""
    shop.write(
        shot(1, scene="opening"),
        shot(2, duration=5, first_frame_url="last_frame:shot1"),
        shot(3, prompt="forbidden"),
    )
    assert shop.run().code == Exit.SOME_FAILED
    return shop


def test_finished_clips_become_a_data_set_and_what_is_left_out_is_said(
    three: Shop, tmp_path: Path
) -> None:
    dest = tmp_path / "set"
    done = say("export", str(three.run_folder), str(dest))
    assert (done.code, done.out) == (Exit.OK, f"{dest}\n")
    assert "left out: shot3 (failed)" in done.err
    assert "2 clips" in done.err
    assert "train 2; 1 file made, 0 kept" in done.err
    (found,) = say("export", str(three.manifest), str(dest), "--json").lines
    assert (found["samples"], found["made"], found["kept"]) == (2, [], 1)
    assert found["left_out"] == [{"id": "shot3", "reason": "failed"}]
    (shard,) = dest.glob("*.tar")
    with tarfile.open(shard) as tar:
        names = [name for name in tar.getnames() if name.endswith(".json")]
        facts = {f["id"]: f for f in (json.load(tar.extractfile(name)) for name in names)}  # type: ignore[arg-type]
    assert facts["shot2"]["made_from"] == ["shot1 final 1"]
    assert facts["shot2"]["inputs"]["first_frame_url"] == "last_frame:shot1"
    tasks = {task["task_id"] for task in three.tasks()}
    assert {each["task_id"] for each in facts.values()} <= tasks


def test_rows_that_wait_for_a_failed_one_are_left_out_as_blocked(
    shop: Shop, tmp_path: Path
) -> None:
    shop.write(
        shot(1, prompt="forbidden"),
        shot(2, first_frame_url="last_frame:shot1"),
        shot(3, first_frame_url="last_frame:shot2"),
        shot(4),
    )
    shop.run()
    (found,) = say("export", str(shop.run_folder), str(tmp_path / "set"), "--json").lines
    assert found["samples"] == 1
    reasons = {each["id"]: each["reason"] for each in found["left_out"]}
    assert reasons == {"shot1": "failed", "shot2": "blocked", "shot3": "blocked"}


@pytest.mark.more
def test_rows_are_chosen_as_for_a_film(three: Shop, tmp_path: Path) -> None:
    for flags in (["--ids", "shot1"], ["--rows", "1"], ["--where", "scene == 'opening'"]):
        dest = tmp_path / flags[0]
        (found,) = say("export", str(three.run_folder), str(dest), *flags, "--json").lines
        assert (found["samples"], found["left_out"]) == (1, [])
    none = say("export", str(three.run_folder), str(tmp_path / "drafts"), "--draft")
    assert (none.code, "None of 3 rows has a clip" in none.err) == (Exit.USAGE, True)


@pytest.mark.more
def test_marks_of_the_served_page_choose_rows_and_takes(three: Shop, tmp_path: Path) -> None:
    folder = str(three.run_folder)
    none = say("export", folder, str(tmp_path / "none"), "--from", "marks")
    assert (none.code, "no row marked keep" in none.err) == (Exit.USAGE, True)
    picks = tmp_path / "picks.csv"
    picks.write_text("id,mark\nshot1,redo\n", encoding="utf-8")
    assert three.run("--from", str(picks), command="rerun").code == Exit.OK
    for number, mark in ((1, "keep"), (2, "reject")):
        save_mark(three.run_folder, f"shot{number}", "final 1", {"mark": mark, "seen": True})
    dest = tmp_path / "set"
    (found,) = say("export", folder, str(dest), "--from", "marks", "--json").lines
    assert (found["samples"], found["left_out"]) == (1, [])
    with tarfile.open(dest / found["made"][0]) as tar:
        facts = next(json.load(tar.extractfile(m)) for m in tar if m.name.endswith(".json"))  # type: ignore[arg-type]
    assert (facts["id"], facts["attempt"]) == ("shot1", 1)


def test_what_cannot_be_done_is_said_before_anything_is_written(
    three: Shop, tmp_path: Path
) -> None:
    dest = tmp_path / "set"
    for flags, words in (
        (["--split", "train"], "is not a list of names with a share each"),
        (["--ids", "shot9"], "shot9"),
    ):
        wrong = say("export", str(three.run_folder), str(dest), *flags)
        assert (wrong.code, words in wrong.err) == (Exit.USAGE, True), wrong.err
    (three.run_folder / "videos" / "shot1.mp4").unlink()
    gone = say("export", str(three.run_folder), str(dest))
    assert (gone.code, gone.hint) == (Exit.USAGE, ["fetch", str(three.run_folder)])
    assert "videos/shot1.mp4 is missing" in gone.err
    assert not dest.exists()
