"""Exit code 0: every chosen row is done as it is asked for now, and its clip is on disk."""

from __future__ import annotations

import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, Shop, say, shot


def test_status_of_rows_that_were_never_sent_or_edited_since_is_not_0(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run("--rows", "1").code == Exit.OK
    assert shop.at("status").code == Exit.UNFINISHED
    assert shop.run().code == Exit.OK
    assert shop.at("status").code == Exit.OK
    shop.write(shot(1, prompt="another boat"), shot(2))
    assert shop.run("--rows", "2").code == Exit.OK
    assert shop.at("status").code == Exit.UNFINISHED


@pytest.mark.more
def test_a_draft_that_failed_beside_its_final_is_no_success(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    with shop.service.having(faults={"moderation": ["number 1"]}):
        said = shop.run("--draft")
    assert said.code == Exit.SOME_FAILED
    assert "shot1 refused" in said.out
    assert "rerun" in said.out.splitlines()[-1]
    assert shop.run("--draft").code == Exit.SOME_FAILED
    assert shop.run("--draft", "--rows", "2").code == Exit.OK
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 4


def test_clips_that_were_deleted_or_cut_are_fetched_by_run_and_never_bought(shop: Shop) -> None:
    shop.fill(4)
    assert shop.run().code == Exit.OK
    videos = shop.run_folder / "videos"
    whole = (videos / "shot1.mp4").read_bytes()
    (videos / "shot1.mp4").unlink()
    (videos / "shot3.mp4").write_bytes(b"a cut of our own")
    status = shop.at("status")
    assert status.code == Exit.SOME_FAILED
    assert "videos/shot1.mp4 and 1 more are done and paid, but missing" in status.err
    assert shop.run("--rows", "2").code == Exit.OK
    assert not (videos / "shot1.mp4").exists()
    said = shop.run()
    assert said.code == Exit.OK
    assert "moved aside" in said.err
    assert (videos / "shot1.mp4").read_bytes() == whole
    assert shop.at("verify").code == Exit.OK
    assert len(shop.tasks()) == 4
    assert b"a cut of our own" in [path.read_bytes() for path in videos.iterdir()]


@pytest.mark.slow
def test_a_deleted_clip_that_the_service_has_no_more_is_no_success(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    (shop.run_folder / "videos/shot1.mp4").unlink()
    with shop.service.having(faults={"files": {"404": 1.0}}):
        said = shop.run("--wait", "5")
    assert said.code in {Exit.SOME_FAILED, Exit.UNFINISHED}
    assert len(shop.tasks()) == 2


def test_a_clip_of_long_ago_is_asked_for_by_fetch_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    shop.fill(1)
    with shop.service.having(url_ttl=60):
        assert shop.run().code == Exit.OK
    (shop.run_folder / "videos/shot1.mp4").unlink()
    later = time.time() + 8 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    said = shop.run()
    assert said.code == Exit.SOME_FAILED
    assert "seedance-batch fetch" in said.err
    assert shop.statuses() == ["done"]
    monkeypatch.undo()


@pytest.mark.more
def test_a_paid_clip_of_a_former_text_that_is_gone_is_told_by_the_run_that_loses_it(
    shop: Shop,
) -> None:
    shop.fill(2)
    with shop.service.having(faults={"outputs": {"other_size": 1.0}}):
        with shop.service.having(generation_time="6"):
            assert shop.run("--wait", "0.5").code == Exit.UNFINISHED
        shop.write(shot(1, prompt="another boat"), shot(2))
        said = shop.run()
    assert said.code == Exit.SOME_FAILED


@pytest.mark.more
def test_an_edit_that_waits_for_its_former_content_is_told_to_be_run_again(shop: Shop) -> None:
    shop.fill(1)
    lost = {"create": {"reset_after": 1.0}}
    with shop.service.having(faults=lost):
        assert shop.run("--wait", "0.5").code == Exit.UNFINISHED
    shop.write(shot(1, prompt="another boat"))
    said = shop.run()
    assert said.code == Exit.UNFINISHED
    assert said.hint[0] == "run"
    assert len(shop.tasks()) == 1
    assert say(*said.hint, "--yes", *QUICK).code == Exit.OK
    assert len(shop.tasks()) == 2
