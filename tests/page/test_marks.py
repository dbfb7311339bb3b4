"""What was said of a take is on the disk before it is answered, and belongs to that take."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Kind, Phase, TakeName
from seedance_batch.core.outcome import outcomes
from seedance_batch.errors import FolderUnusable
from seedance_batch.page.marks import (
    MARKS,
    SAVED,
    Mark,
    Pick,
    TakeMark,
    picks_of,
    read_marks,
    save_mark,
)
from tests.writer.samples import attempt, row

ROW = row(1)
KEY = ROW.key
FIRST, SECOND = TakeName(Kind.FINAL, 1), TakeName(Kind.FINAL, 2)


def test_what_is_said_adds_to_what_was_said_of_the_same_take(tmp_path: Path) -> None:
    save_mark(tmp_path, "a", "final 1", {"mark": "keep", "seen": True})
    save_mark(tmp_path, "a", "final 1", {"stars": 4})
    save_mark(tmp_path, "a", "final 2", {"mark": "redo", "seen": True})
    save_mark(tmp_path, "a", "final 1", {"note": "夜 <b>"})
    found = read_marks(tmp_path)
    assert found[0].at <= found[1].at
    assert [
        TakeMark("a", "final 2", Mark.REDO, 0, "", True, 3, 0.0),
        TakeMark("a", "final 1", Mark.KEEP, 4, "夜 <b>", True, 4, 0.0),
    ] == [replace(mark, at=0.0) for mark in found]
    assert [4] == [mark.change for mark in read_marks(tmp_path, since=3)]
    assert [] == read_marks(tmp_path, since=4)
    assert 2 == len(read_marks(tmp_path, since=99)), "the count is of another file"


def test_notes_are_for_their_owner_alone(tmp_path: Path) -> None:
    save_mark(tmp_path, "a", "", {"note": "x"})
    assert 0o600 == stat.S_IMODE((tmp_path / MARKS).stat().st_mode)


@pytest.mark.parametrize(
    "said", [{"mark": "love"}, {"stars": 6}, {"stars": True}, {"note": "x" * 10_001}, {"mood": 1}]
)
def test_what_is_no_mark_is_not_kept(tmp_path: Path, said: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        save_mark(tmp_path, "a", "final 1", said)
    assert [] == read_marks(tmp_path)


def test_a_mark_that_was_answered_survives_kill_9(tmp_path: Path) -> None:
    script = (
        "import itertools, sys; from pathlib import Path\n"
        "from seedance_batch.page.marks import save_mark\n"
        "for n in itertools.count(1):\n"
        "    save_mark(Path(sys.argv[1]), f'row {n}', 'final 1', {'mark': 'keep', 'seen': True})\n"
        "    print(n, flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        answered = [int(writer.stdout.readline()) for _ in range(40)]
        os.kill(writer.pid, signal.SIGKILL)
        answered += [int(line) for line in writer.stdout.read().split()]
    kept = {mark.key for mark in read_marks(tmp_path)}
    assert {f"row {n}" for n in answered} <= kept
    save_mark(tmp_path, "and on", "final 1", {"mark": "keep"})


def test_what_a_killed_program_left_half_written_is_no_mark_and_in_nobodys_way(
    tmp_path: Path,
) -> None:
    save_mark(tmp_path, "a", "final 1", {"mark": "keep"})
    with contextlib.closing(sqlite3.connect(tmp_path / MARKS, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN IMMEDIATE")
        for number in range(2, 40):
            values = (f"row {number}", "x" * 9_000, number)
            writer.execute("INSERT INTO marks VALUES (?, 'final 1', '', 0, ?, 0, 0.0, ?)", values)
        died = tmp_path / "died"
        died.mkdir()
        for path in tmp_path.glob(f"{MARKS}*"):
            shutil.copy(path, died)
        writer.execute("ROLLBACK")
    assert {MARKS, f"{MARKS}-journal"} == {path.name for path in died.iterdir()}
    assert ["a"] == [mark.key for mark in read_marks(died)]


def test_a_file_that_is_no_list_of_marks_is_told_and_left(tmp_path: Path) -> None:
    (tmp_path / MARKS).write_bytes(b"not a database, and longer than a header of one" * 40)
    for use in (lambda: read_marks(tmp_path), lambda: save_mark(tmp_path, "a", "", {"stars": 1})):
        with pytest.raises(FolderUnusable, match=MARKS):
            use()


def test_marks_of_a_later_version_are_left_as_they_are(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / MARKS) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(FolderUnusable, match="version 7"):
        save_mark(tmp_path, "a", "", {"stars": 1})


def picks(folder: Path, *takes: object) -> list[Pick]:
    return picks_of(SAVED, folder, lambda: outcomes([ROW], takes))  # type: ignore[arg-type]


def test_from_marks_a_pick_names_the_take_that_is_shown(tmp_path: Path) -> None:
    said = {"mark": "redo", "seen": True, "note": "warmer", "stars": 2}
    save_mark(tmp_path, KEY, "final 1", said)
    expected = Pick(KEY, Mark.REDO, "warmer", TakeName(Kind.FINAL, 1), 2)
    assert [expected] == picks(tmp_path, attempt(ROW))


def test_once_a_new_take_is_there_an_old_redo_is_answered_and_each_take_has_its_own_mark(
    tmp_path: Path,
) -> None:
    second = attempt(ROW, number=2, id=102)
    first_redone = Pick(KEY, Mark.REDO, "", FIRST)
    save_mark(tmp_path, KEY, "final 1", {"mark": "redo", "seen": True})
    assert [first_redone] == picks(tmp_path, attempt(ROW), second)
    save_mark(tmp_path, KEY, "final 2", {"mark": "redo", "seen": True})
    assert [first_redone, Pick(KEY, Mark.REDO, "", SECOND)] == picks(tmp_path, attempt(ROW), second)
    save_mark(tmp_path, KEY, "final 1", {"mark": "keep", "seen": True})
    save_mark(tmp_path, KEY, "final 2", {"mark": "reject"})
    assert [
        Pick(KEY, Mark.KEEP, "", FIRST),
        Pick(KEY, Mark.REJECT, "", SECOND),
    ] == picks(tmp_path, attempt(ROW), second)


def test_a_kept_draft_speaks_for_its_row_until_another_one_came_that_nobody_saw(
    tmp_path: Path,
) -> None:
    draft = attempt(ROW, kind=Kind.DRAFT)
    newer = attempt(ROW, kind=Kind.DRAFT, number=2, id=102)
    kept = [Pick(KEY, Mark.KEEP, "", TakeName(Kind.DRAFT, 1))]
    save_mark(tmp_path, KEY, "draft 1", {"mark": "keep", "seen": True})
    assert kept == picks(tmp_path, draft, newer), "asked to be the same"
    edited = replace(newer, intent=replace(newer.intent, content="edited"))
    assert kept == picks(tmp_path, draft, edited), "it was there when the other was kept"
    later = replace(edited, state=replace(edited.state, finished_at=time.time() + 60))
    assert [] == picks(tmp_path, draft, later)
    final = attempt(ROW, number=3, id=103)
    assert kept == picks(tmp_path, draft, final), "so that promoting again buys nothing"
    former = replace(final, intent=replace(final.intent, content="before an edit"))
    assert [] == picks(tmp_path, draft, former)


def test_an_answered_wish_for_a_draft_is_none_for_the_final(tmp_path: Path) -> None:
    draft = attempt(ROW, kind=Kind.DRAFT)
    newer = attempt(ROW, kind=Kind.DRAFT, number=2, id=102)
    final = attempt(ROW, number=3, id=103)
    save_mark(tmp_path, KEY, "draft 1", {"mark": "redo", "seen": True})
    assert [Mark.REDO] == [pick.mark for pick in picks(tmp_path, draft, newer)]
    assert [] == picks(tmp_path, draft, newer, final)
    save_mark(tmp_path, KEY, "draft 2", {"mark": "redo", "seen": True})
    assert ["draft 2"] == [str(pick.take) for pick in picks(tmp_path, draft, newer, final)]


def test_a_wish_of_before_the_clip_came_is_none_for_it(tmp_path: Path) -> None:
    save_mark(tmp_path, KEY, "final 1", {"mark": "redo", "seen": False})
    coming = attempt(ROW, Phase.IN_FLIGHT)
    assert [Mark.REDO] == [pick.mark for pick in picks(tmp_path, coming)]
    assert [] == picks(tmp_path, replace(attempt(ROW), id=coming.id))
