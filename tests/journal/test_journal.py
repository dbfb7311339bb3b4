"""The record of attempts: what it is handed is durable; what it cannot be sure of, it refuses."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from seedance_batch.core.attempt import Attempt, Kind, Phase, State, TakeName
from seedance_batch.core.lifecycle import Accepted, Published, Seen, Sent, step
from seedance_batch.core.outcome import RowRecord
from seedance_batch.errors import FolderUnusable, JournalUnreadable, StorageFailed
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.opening import SCHEMA_VERSION, look_into, open_journal
from seedance_batch.journal.records import Facts, KindFacts, order_name
from tests.core.state_samples import CLIP, MADE, TASK, intent

FLAGS = KindFacts({"model": "m"}, {order_name("a", 1): {"set seed": "日"}}, {"a": 2})
TWO = Facts(origin="1"), Facts(manifest="2")
ROW = RowRecord(1, "a", "c" * 64, {"id": "a", "prompt": "日本 'boat'"}, "m", "480p", 4, "16:9")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture(params=[True, False], ids=["thread", "inline"])
def journal(path: Path, request: pytest.FixtureRequest) -> Iterator[Journal]:
    with open_journal(path, threaded=request.param) as opened:
        yield opened


def test_rows_come_with_their_attempts_as_of_one_moment(path: Path) -> None:
    with open_journal(path) as journal:
        keys = [f"row{n}" for n in range(1_100)]
        journal.write(
            records.set_rows([replace(ROW, number=n, key=k) for n, k in enumerate(keys)], ("id",))
        )
        wanted = [
            intent(key=key, number=number, idempotency_key=f"{key}-{number}")
            for number in (1, 2)
            for key in keys[::7]
        ]
        journal.write(records.add_attempts(wanted, State()))
        with look_into(path) as seen:
            found = iter(seen.histories())
            first = next(found)
            journal.write(records.set_rows([], ()))
            whole = [first, *found]
            assert seen.rows() == []
        assert [row.key for row, _ in whole] == keys
        kept = sorted(journal.attempts(), key=lambda a: (keys.index(a.intent.key), a.id))
        assert [attempt for _, attempts in whole for attempt in attempts] == kept
        assert all(a.intent.key == row.key for row, attempts in whole for a in attempts)
        assert journal.take(1) == ("row0", TakeName(Kind.FINAL, 1))
        assert journal.take(10**9) is None


def added(journal: Journal, number: int = 1) -> Attempt:
    """An attempt about to be sent."""
    wanted = intent(number=number, idempotency_key=f"sb-{number}")
    (attempt,) = journal.write(records.add_attempts([wanted], step(State(), Sent(10.0))))
    return attempt


def saved(journal: Journal, attempt: Attempt, state: State, event: str = "Sent") -> Attempt:
    """The attempt in another state."""
    changed = Attempt(attempt.id, attempt.intent, state)
    journal.write(records.save(changed, at=12.5, event=event, detail="why"))
    return changed


# ── what is kept ────────────────────────────────────────────────────────────────────────────────


def test_everything_comes_back_as_it_was(journal: Journal, path: Path) -> None:
    attempt = added(journal)
    done = attempt.state
    for event in (Accepted(TASK, 11.0, replayed=True), Seen(MADE, 60.0), Published(CLIP, 70.0)):
        done = step(done, event)
    expected = saved(journal, attempt, done, "Published")
    second = added(journal, 2)
    journal.write(records.set_rows([ROW], ["id", "prompt"]))
    journal.write(records.put_blob("ab", "image/png", b"damaged"))
    journal.write(records.put_blob("ab", "image/png", b"\0\xff"))
    facts = Facts(origin="https://api", max_cost=Decimal("1.50"), given_inputs=("seed",))
    journal.write(records.set_facts(facts))
    journal.write(records.set_kind_facts(Kind.DRAFT, FLAGS))
    journal.write(records.set_sheet_hashes({"results.csv": "12"}))
    for seen in (journal, look_into(path)):
        assert seen.attempts() == [expected, second]
        assert seen.rows() == [ROW]
        assert seen.columns() == ("id", "prompt")
        assert seen.blob("ab") == ("image/png", b"\0\xff")
        assert seen.knows_idempotency_key("sb-2")
        assert not seen.knows_idempotency_key("sb-3")
        assert seen.sheet_hashes() == {"results.csv": "12"}
        assert seen.events(attempt.id) == [(12.5, "Published", "why")]
        assert seen.last_event() == 1
        known = replace(seen.facts(), folder_id=None, salt=None, made_at=None)
        assert known == replace(facts, columns=("id", "prompt"))
        assert seen.facts_of(Kind.DRAFT) == FLAGS
        assert seen.facts_of(Kind.FINAL) == KindFacts(redone={})
        assert (seen.task_ids(), seen.contents_bought()) == ({TASK}, {intent().content: 2})
        with pytest.raises(KeyError):
            seen.blob("cd")
        if seen is not journal:
            seen.close()


def test_an_unknown_price_stays_unknown(journal: Journal) -> None:
    journal.write(records.add_attempts([intent(est_cost=None)], State()))
    assert journal.attempts()[0].intent.est_cost is None


def test_a_new_journal_has_an_identity_and_keeps_it(path: Path) -> None:
    with open_journal(path) as first:
        identity = first.facts()
        assert identity.folder_id
        assert identity.salt
        assert identity.made_at
    with open_journal(path, wal=False) as again:
        assert again.facts() == identity
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_order_moves_to_another_row_and_intents_that_nobody_wants_go(journal: Journal) -> None:
    sent = added(journal)
    planned, unwanted = journal.write(
        records.add_attempts(
            [
                intent(key="b", idempotency_key="sb-b"),
                intent(key="c", idempotency_key="sb-c", est_cost=None),
            ],
            State(),
        )
    )
    journal.write(records.forget_planned([sent.id, unwanted.id]))
    moved = Attempt(sent.id, intent(key="z", number=4, idempotency_key="sb-1"), sent.state)
    journal.write(records.rekey([moved]))
    today = intent(key="b", idempotency_key="sb-b", key_fingerprint="new", est_cost=Decimal("9.5"))
    journal.write(records.renew([Attempt(planned.id, today, State()), moved]))
    assert journal.attempts() == [moved, Attempt(planned.id, today, State())]


# ── durability ──────────────────────────────────────────────────────────────────────────────────


def test_what_was_written_is_there_without_a_close(path: Path) -> None:
    journal = open_journal(path)
    attempt = added(journal)
    with look_into(path) as other:
        assert other.attempts() == [attempt]
    journal.close()


def test_many_writes_share_commits_and_keep_their_order(journal: Journal) -> None:
    attempt = added(journal)

    async def write_all() -> None:
        states = [step(State(), Sent(float(n))) for n in range(200)]
        changed = [Attempt(attempt.id, attempt.intent, state) for state in states]
        await asyncio.gather(
            *(journal.awrite(records.save(each, at=1.0, event="Sent")) for each in changed)
        )

    asyncio.run(write_all())
    assert journal.attempts()[0].state.first_sent_at == 199.0
    assert journal.last_event() == 200


def test_a_cancelled_write_is_recorded_all_the_same(path: Path) -> None:
    async def cancelled(journal: Journal) -> None:
        held: Future[None] = Future()
        journal._writer.submit(lambda _: held.result())  # type: ignore[union-attr]
        task = asyncio.create_task(journal.awrite(records.set_facts(Facts(origin="value"))))
        await asyncio.sleep(0.05)
        task.cancel()
        held.set_result(None)
        with pytest.raises(asyncio.CancelledError):
            await task

    with open_journal(path) as journal:
        asyncio.run(cancelled(journal))
        assert journal.write(lambda _: None) is None  # behind it in the queue
        assert journal.facts().origin == "value"


def test_closing_commits_what_waits(path: Path) -> None:
    journal = open_journal(path)
    held: Future[None] = Future()
    waiting = [journal._writer.submit(lambda _: held.result())]  # type: ignore[union-attr]
    time.sleep(0.05)
    for facts in TWO:
        waiting.append(journal._writer.submit(records.set_facts(facts)))  # type: ignore[union-attr]
    threading.Timer(0.1, held.set_result, (None,)).start()
    journal.close()
    assert [future.result() for future in waiting] == [None] * 3
    with look_into(path) as again:
        assert (again.facts().origin, again.facts().manifest) == ("1", "2")


def test_one_broken_operation_takes_no_other_with_it(path: Path) -> None:
    with open_journal(path) as journal:
        held: Future[None] = Future()
        journal._writer.submit(lambda _: held.result())  # type: ignore[union-attr]
        writer = journal._writer
        assert writer is not None
        good = [writer.submit(records.set_facts(facts)) for facts in TWO]
        twice = writer.submit(_twice_the_same)
        held.set_result(None)
        assert [future.result() for future in good] == [None, None]
        with pytest.raises(sqlite3.IntegrityError):
            twice.result()
        assert (journal.facts().origin, journal.attempts()) == ("1", [])


def _twice_the_same(connection: sqlite3.Connection) -> None:
    records.add_attempts([intent(), intent()], State())(connection)


def test_a_task_belongs_to_one_attempt_only(journal: Journal) -> None:
    first, second = added(journal), added(journal, 2)
    flying = step(first.state, Accepted(TASK, 11.0))
    saved(journal, first, flying)
    with pytest.raises(sqlite3.IntegrityError):
        saved(journal, second, flying)
    assert journal.attempts()[1].state.phase is Phase.SUBMITTING
    journal.check()  # a broken rule is no broken disk
    assert added(journal, 3).id


# ── a disk that refuses ─────────────────────────────────────────────────────────────────────────


class Refusing(sqlite3.Connection):
    """A connection to a disk that is full, once ``full`` says so."""

    full: sqlite3.Error | None = None

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql in {"COMMIT", "ROLLBACK"} and self.full is not None:
            raise self.full
        return super().execute(sql, *arguments)


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database or disk is full"),
        sqlite3.DatabaseError("database disk image is malformed"),
    ],
    ids=str,
)
@pytest.mark.parametrize("threaded", [True, False])
def test_after_one_failed_commit_nothing_is_recorded_any_more(
    threaded: bool, error: sqlite3.Error, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", partial(connect, factory=Refusing))
    with open_journal(path, threaded=threaded) as journal:
        journal.check()
        monkeypatch.setattr(Refusing, "full", error)
        for _ in range(2):
            with pytest.raises(StorageFailed, match="cannot be written"):
                journal.write(records.set_facts(TWO[0]))
        with pytest.raises(StorageFailed):
            journal.check()
        monkeypatch.setattr(Refusing, "full", None)
        with pytest.raises(StorageFailed):  # once is for ever: what came between is lost
            journal.write(records.set_facts(TWO[0]))
    with open_journal(path) as journal:
        assert journal.facts().origin is None


def test_a_journal_that_can_no_longer_be_read_says_so(path: Path) -> None:
    with open_journal(path) as journal:
        journal.write(lambda connection: connection.execute("DROP TABLE sheets"))
        with pytest.raises(StorageFailed, match="cannot be read"):
            journal.sheet_hashes()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="Nothing was sent"):
        open_journal(tmp_path / "no" / "journal.db")


def test_a_disk_that_refuses_the_very_first_write_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql.startswith("PRAGMA synchronous"):
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *arguments)

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", partial(connect, factory=Full))
    with pytest.raises(FolderUnusable, match="Nothing was sent"):
        open_journal(path)


@pytest.mark.parametrize("turn", range(1, 3))
def test_a_connection_that_cannot_be_had_is_told(
    turn: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, calls = sqlite3.connect, iter(range(1, 9))

    def refused(*arguments: Any, **options: Any) -> sqlite3.Connection:
        if next(calls) == turn:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", refused)
    with pytest.raises(FolderUnusable, match="cannot be opened"):
        open_journal(path)


# ── journals that cannot be used ────────────────────────────────────────────────────────────────


def test_an_unknown_version_is_left_untouched(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        other.execute("CREATE TABLE later (a)")
    other.close()
    before = path.read_bytes()
    for opening in (open_journal, look_into):
        with pytest.raises(JournalUnreadable, match="version"):
            opening(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_untouched(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    with pytest.raises(JournalUnreadable):
        open_journal(path)


@pytest.mark.parametrize(
    "content", [b"no database at all" * 99, b"SQLite format 3\0" + b"\7" * 999]
)
def test_a_damaged_file_is_left_untouched(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for opening in (open_journal, look_into):
        with pytest.raises(JournalUnreadable, match="damaged"):
            opening(path)
    assert path.read_bytes() == content


def test_pages_that_do_not_agree_are_noticed(path: Path) -> None:
    with open_journal(path, wal=False) as journal:
        for number in range(1, 60):
            added(journal, number)
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 5 * 4096 + 200] = b"\xee" * 200
    path.write_bytes(content)
    with pytest.raises(JournalUnreadable, match="damaged"):
        open_journal(path)


def test_a_journal_that_another_process_is_busy_with_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_journal(path, wal=False).close()
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.05}))
    other = connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(FolderUnusable):
        open_journal(path)
    other.close()


# ── looking only ────────────────────────────────────────────────────────────────────────────────


def test_where_there_is_none_an_empty_journal_is_shown_and_none_is_made(path: Path) -> None:
    with look_into(path) as journal:
        assert journal.attempts() == []
        assert journal.rows() == []
        assert journal.columns() == ()
    assert not path.exists()


def test_a_journal_that_is_just_being_made_is_shown_as_empty(path: Path) -> None:
    path.touch()  # as a death between its creation and its first commit leaves it
    with look_into(path) as journal:
        assert journal.attempts() == []
    with open_journal(path) as journal:
        assert added(journal).id == 1


def test_looking_needs_a_file_that_can_be_opened(path: Path) -> None:
    path.mkdir()
    with pytest.raises(FolderUnusable):
        look_into(path)
