"""One row's trouble keeps no other row, paid or new, from its clip."""

from __future__ import annotations

import io
import sqlite3

import pytest
from PIL import Image

from seedance_batch.core.attempt import Phase
from seedance_batch.errors import Exit
from tests.cli.shop import Shop, say, shot

UNANSWERED = {"create": {"reset_after": 1.0}}
REFUSED = {"create": {"503": 1.0}}


def fill(shop: Shop) -> None:
    """A row with a frame, and one without."""
    picture = io.BytesIO()
    Image.new("RGB", (640, 360), (30, 90, 140)).save(picture, "PNG")
    (shop.folder / "frame.png").write_bytes(picture.getvalue())
    shop.write(shot(1, first_frame_url="frame.png"), shot(2))


def spoil(shop: Shop) -> None:
    """The journal's copy of the frame is not what it was."""
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:
        journal.execute("UPDATE blobs SET content = zeroblob(100)")
    journal.close()


@pytest.mark.more
def test_a_send_whose_frame_the_journal_has_damaged_waits_for_a_person_and_others_go_on(
    shop: Shop,
) -> None:
    fill(shop)
    with shop.service.having(faults=UNANSWERED):
        assert shop.run("--wait", "1", "-j", "1").code == Exit.UNFINISHED
    assert len(shop.tasks()) == 1
    spoil(shop)
    (shop.folder / "frame.png").unlink()
    shop.write(shot(2))
    said = shop.run()
    assert said.code == Exit.UNFINISHED, said.err
    assert shop.phases() == {Phase.AMBIGUOUS: 1, Phase.DONE: 1}
    found = shop.online("reconcile")
    assert "copy of its file" in found.out
    assert say(*found.hint).code == Exit.OK  # its task is there, and is adopted
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 2


@pytest.mark.cases(1)
@pytest.mark.parametrize("faults", [UNANSWERED, REFUSED], ids=["unanswered", "refused"])
def test_a_frame_that_the_journal_has_damaged_is_taken_from_disk_again(
    faults: dict[str, dict[str, float]], shop: Shop
) -> None:
    fill(shop)
    with shop.service.having(faults=faults):
        assert shop.run("--wait", "1").code in {Exit.UNFINISHED, Exit.OK}
    spoil(shop)
    said = shop.run()
    assert said.code == Exit.OK, said.err
    assert len(shop.tasks()) == 2
    assert {a.state.phase for a in shop.attempts()} == {Phase.DONE}


def test_a_new_row_is_never_sent_with_a_damaged_copy_of_its_frame(shop: Shop) -> None:
    fill(shop)
    assert shop.run().code == Exit.OK
    spoil(shop)
    shop.write(shot(1, first_frame_url="frame.png"), shot(2), shot(3, first_frame_url="frame.png"))
    assert shop.run().code == Exit.OK
    with sqlite3.connect(shop.run_folder / "journal.db") as journal:
        (size,) = journal.execute("SELECT length(content) FROM blobs").fetchone()
    journal.close()
    assert size == (shop.folder / "frame.png").stat().st_size


@pytest.mark.more
def test_paid_rows_in_flight_are_seen_to_their_end_before_a_missing_frame_is_a_problem(
    shop: Shop,
) -> None:
    fill(shop)
    with shop.service.having(generation_time="2"):
        assert shop.run("--wait", "0.5").code == Exit.UNFINISHED
    assert shop.phases()[Phase.IN_FLIGHT] == 2
    (shop.folder / "frame.png").unlink()
    shop.write(shot(1, first_frame_url="frame.png"), shot(2), shot(3))
    said = shop.run()
    assert said.code == Exit.USAGE
    assert "2 paid rows under way will be finished first" in said.err
    assert "frame.png" in said.err
    assert shop.phases() == {Phase.DONE: 2}
    assert len(shop.tasks()) == 2
