"""A journal that is damaged, cut, mixed up or copied in part is refused, and stays as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Kind, State
from seedance_batch.core.lifecycle import Sent, step
from seedance_batch.core.outcome import RowRecord
from seedance_batch.errors import FolderUnusable, JournalUnreadable
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import copy_journal, look_into, open_journal
from seedance_batch.journal.records import Facts
from tests.core.state_samples import intent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder / "journal.db"


def add(journal: Journal, number: int) -> None:
    wanted = intent(number=number, idempotency_key=f"sb-{number}")
    journal.write(records.add_attempts([wanted], step(State(), Sent(10.0))))


@contextlib.contextmanager
def at_work(path: Path) -> Iterator[Journal]:
    """A run that has sent more than its journal's own file knows of."""
    with open_journal(path) as journal:
        journal.settle()
        journal.write(records.set_facts(Facts(run_open=1000.0)))
        add(journal, 1)
        yield journal


def files(path: Path) -> dict[str, bytes]:
    """What lies in the run folder, save for SQLite's index, and a log that holds nothing."""
    found = (p for p in path.parent.rglob("*") if p.is_file() and not p.name.endswith("-shm"))
    return {str(p): p.read_bytes() for p in found if p.stat().st_size or p == path}


def test_the_file_alone_knows_whose_it_is_from_the_first_moment(path: Path) -> None:
    with open_journal(path) as journal:
        copy = shutil.copy(path, path.with_name("copy.db"))
        with contextlib.closing(sqlite3.connect(copy)) as alone:
            query = "SELECT value FROM meta WHERE name = 'folder_id'"
            assert alone.execute(query).fetchone()[0] == journal.facts().folder_id


def test_what_was_committed_is_in_the_file_alone_soon_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seedance_batch.journal.journal._SETTLE_EVERY", 0.0)
    with open_journal(path) as journal:
        add(journal, 1)
        copy = path.with_name("copy.db")
        shutil.copy(path, copy)
    with open_journal(copy) as alone:
        assert len(alone.attempts()) == 1


# ── a log that is missing ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("opened", [open_journal, look_into])
def test_a_copy_without_its_log_says_since_when_records_are_missing(
    path: Path, tmp_path: Path, opened: Callable[[Path], Journal]
) -> None:
    copy = tmp_path / "copy" / "journal.db"
    copy.parent.mkdir()
    with at_work(path):
        shutil.copy(path, copy)
    with opened(copy) as journal:
        assert journal.lost_since == 1000.0
    with opened(copy) as journal:  # it stays so, however often it is opened
        assert journal.lost_since == 1000.0
    with open_journal(copy) as journal:
        journal.write(records.set_facts(Facts(log_lost_since=0.0)))
    with opened(copy) as journal:
        assert journal.lost_since is None


def test_a_copy_with_its_log_is_whole(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with at_work(path):
        shutil.copytree(path.parent, copy)
    for _ in range(2):
        with open_journal(copy / "journal.db") as journal:
            assert journal.lost_since is None
            assert len(journal.attempts()) == 1


def test_a_run_that_ended_has_lost_nothing(path: Path) -> None:
    with at_work(path) as journal:
        journal.write(records.set_facts(Facts(run_open=0.0)))
    with open_journal(path) as journal:
        assert journal.lost_since is None


# ── files that are not what they should be ──────────────────────────────────────────────────────


def gone(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def scrawled(path: Path) -> None:
    path.write_bytes(b"no journal at all, but long enough to be one" * 500)


def anothers(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.executescript("CREATE TABLE songs (name TEXT); PRAGMA user_version = 1;")


def hollow(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")


@pytest.mark.parametrize("deed", [emptied, cut, scrawled, anothers, hollow])
@pytest.mark.parametrize("opened", [open_journal, look_into])
def test_a_ruin_beside_sheets_is_refused_and_left_as_it_is(
    path: Path, deed: Callable[[Path], None], opened: Callable[[Path], Journal]
) -> None:
    with open_journal(path) as journal:
        add(journal, 1)
    (path.parent / "results.csv").touch()
    deed(path)
    before = files(path)
    with pytest.raises(JournalUnreadable, match="left unchanged, and nothing was sent") as refused:
        opened(path)
    assert refused.value.hint
    assert files(path) == before


@pytest.mark.parametrize("deed", [gone, emptied])
@pytest.mark.parametrize("opened", [open_journal, look_into])
def test_a_log_without_its_journal_is_refused_and_left_as_it_is(
    path: Path, tmp_path: Path, deed: Callable[[Path], None], opened: Callable[[Path], Journal]
) -> None:
    copy = tmp_path / "copy" / "journal.db"
    with at_work(path):
        shutil.copytree(path.parent, copy.parent)
    deed(copy)
    before = files(copy)
    with pytest.raises(JournalUnreadable, match=r"only its log journal\.db-wal is left"):
        opened(copy)
    assert files(copy) == before


@pytest.mark.parametrize("opened", [open_journal, look_into])
def test_the_log_of_another_journal_is_refused_and_left_as_it_is(
    path: Path, tmp_path: Path, opened: Callable[[Path], Journal]
) -> None:
    with open_journal(path) as journal:
        add(journal, 1)
    other = tmp_path / "other" / "journal.db"
    other.parent.mkdir()
    with at_work(other) as journal:
        journal.write(records.set_facts(Facts(manifest="other.csv")))
        shutil.copy(f"{other}-wal", f"{path}-wal")
    before = files(path)
    with pytest.raises(JournalUnreadable):
        opened(path)
    assert files(path) == before


def test_an_empty_file_where_nothing_was_ever_run_becomes_a_journal(path: Path) -> None:
    """A process died while it made one."""
    path.touch()
    with open_journal(path) as journal:
        assert journal.facts().folder_id


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_journal_that_may_only_be_read_is_refused_before_anything_is_sent(path: Path) -> None:
    with open_journal(path) as journal:
        add(journal, 1)
    path.chmod(0o400)
    with pytest.raises(FolderUnusable, match="Nothing was sent"):
        open_journal(path)
    with look_into(path) as journal:
        assert len(journal.attempts()) == 1


# ── a copy for another machine ──────────────────────────────────────────────────────────────────


def test_a_copy_made_amid_a_run_says_which_rows_may_be_sent_from_then_on(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    with at_work(path) as journal:
        journal.write(records.set_rows([row("a"), row("b")], ()))
        copy_journal(path, copy, at=2000.0, by="process 7 on here")
        assert journal.lost_since is None
    with open_journal(copy) as taken:
        assert (taken.lost_since, taken.facts().copied_by) == (2000.0, "process 7 on here")
        assert [taken.lost(Kind.FINAL)(key) for key in "abc"] == [True, True, False]
        add(taken, 2)  # of row a
        assert [taken.lost(Kind.FINAL)(key) for key in "ab"] == [False, True]
        assert taken.lost(Kind.DRAFT)("a")


def test_a_copy_made_after_a_run_lacks_nothing(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with at_work(path) as journal:
        journal.write(records.set_facts(Facts(run_open=0.0)))
        copy_journal(path, copy, at=2000.0, by="process 7 on here")
    with look_into(copy) as taken:
        assert taken.lost_since is None
        assert not taken.lost(Kind.FINAL)("a")
        assert len(taken.attempts()) == 1


def row(key: str) -> RowRecord:
    return RowRecord(1, key, "c" * 64, {}, "seedance-2-0", "480p", 4, "16:9")
