"""The same command with the same store on another machine: what it takes over, and what it says."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from seedance_batch import objects
from seedance_batch.batch import takeover
from seedance_batch.batch.takeover import LeaseHolder
from seedance_batch.core.account import LeaseTimes
from seedance_batch.errors import Exit
from seedance_batch.objects import open_store
from tests.cli.shop import Shop, say, shots
from tests.rig import some, until


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed often, and never taken from whoever is only slow."""
    monkeypatch.setattr(takeover, "LEASE_TIMES", LeaseTimes(0.1, 30.0, 1e6))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def elsewhere(shop: Shop, tmp_path: Path) -> Shop:
    """The same manifest on another machine."""
    other = Shop(tmp_path / "elsewhere", shop.service, shop.key)
    shop.fill(3)
    other.fill(3)
    return other


def in_(store: Path) -> tuple[str, str]:
    return "--store", store.as_uri()


def test_another_machine_goes_on_where_the_first_has_ended(
    shop: Shop, elsewhere: Shop, store: Path
) -> None:
    assert shop.run(*in_(store), "--limit", "2").code == Exit.OK
    (document,) = elsewhere.plan(*in_(store), "--json").lines
    assert document["new_rows"] == 1
    assert document["lost_since"] is None
    assert not elsewhere.run_folder.exists()  # a plan only looks
    said = elsewhere.run(*in_(store))
    assert said.code == Exit.OK
    assert "This batch's journal was taken over from file://" in said.err
    assert elsewhere.statuses() == ["done"] * 3
    assert len(shop.tasks()) == 3


def test_fetch_elsewhere_names_the_command_that_takes_the_batch_over(
    shop: Shop, elsewhere: Shop, store: Path
) -> None:
    assert shop.run(*in_(store), "--limit", "1").code == Exit.OK
    said = say("fetch", str(elsewhere.manifest), *in_(store))
    assert said.code == Exit.USAGE
    assert said.hint == ["run", str(elsewhere.manifest), *in_(store)]


def test_a_folder_that_is_older_than_the_stores_copy_is_told_and_set_aside(
    shop: Shop, elsewhere: Shop, store: Path
) -> None:
    assert shop.run(*in_(store), "--limit", "1").code == Exit.OK
    assert elsewhere.run(*in_(store)).code == Exit.OK
    said = shop.run()
    assert said.code == Exit.OK, said.err
    assert "is older than the store's copy" in said.err
    assert "it is kept as journal of epoch 1.db" in said.err
    assert shop.statuses() == ["done"] * 3
    assert len(shop.tasks()) == 3
    assert "older" not in shop.run().err


@pytest.mark.more
def test_a_journal_that_was_put_back_from_a_backup_is_older_as_well(
    shop: Shop, elsewhere: Shop, store: Path
) -> None:
    assert shop.run(*in_(store), "--limit", "1").code == Exit.OK
    shutil.copy(shop.run_folder / "journal.db", shop.folder / "backup.db")
    assert shop.run("--limit", "2").code == Exit.OK
    shutil.copy(shop.folder / "backup.db", shop.run_folder / "journal.db")
    said = shop.run()
    assert said.code == Exit.OK, said.err
    assert "is older than the store's copy" in said.err
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_where_the_copies_were_removed_any_row_may_have_been_sent(
    shop: Shop, elsewhere: Shop, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.run(*in_(store), "--limit", "1").code == Exit.OK
    shutil.rmtree(store / "journal")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    assert "The store has no copy of this batch's journal" in elsewhere.plan(*in_(store)).out
    assert elsewhere.run(*in_(store)).code == Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_a_store_of_another_batch_is_refused_and_nothing_of_it_stays(
    shop: Shop, elsewhere: Shop, store: Path
) -> None:
    assert shop.run(*in_(store), "--limit", "1").code == Exit.OK
    elsewhere.write(*({**row, "id": "other", "prompt": "a wolf"} for row in shots(1)))
    said = elsewhere.run(*in_(store))
    assert said.code == Exit.USAGE
    assert "which asks for other clips" in said.err
    assert elsewhere.run().code == Exit.OK  # without that store, in a folder of its own
    said = elsewhere.run(*in_(store))
    assert said.code == Exit.USAGE
    assert "belongs to another batch (shots)" in said.err
    assert len(shop.tasks()) == 2


def test_where_nobody_has_agreed_nothing_of_the_batch_is_in_the_store(
    shop: Shop, elsewhere: Shop, store: Path
) -> None:
    assert shop.plan(*in_(store), command="run").code == Exit.USAGE
    assert {path.name for path in store.iterdir() if path.name[0] != "."} == {"lease.json"}
    assert elsewhere.run(*in_(store)).code == Exit.OK


@pytest.fixture
def held(store: Path) -> Iterator[LeaseHolder]:
    """The lease, in the hands of a machine that lives."""
    holder = LeaseHolder(open_store(store.as_uri()), home="there:/runs/shots")
    holder.take(print)
    yield holder
    holder.close()


@pytest.mark.more
def test_who_waits_for_an_owner_that_ends_in_order_waits_no_longer(
    shop: Shop, elsewhere: Shop, store: Path
) -> None:
    still = LeaseTimes(30.0, 90.0, 1e6)
    holder = LeaseHolder(open_store(store.as_uri()), home="there:/runs/shots", times=still)
    holder.take(print)
    ending = threading.Timer(0.3, holder.close)
    ending.start()
    assert shop.run(*in_(store)).code == Exit.OK
    ending.join()


def test_while_its_owner_lives_nobody_else_sends_anything(
    shop: Shop, elsewhere: Shop, store: Path, held: LeaseHolder
) -> None:
    said = shop.run(*in_(store))
    assert said.code == Exit.IN_USE
    assert "was at work on this batch" in said.err
    assert "is working on this batch" in said.err
    assert shop.tasks() == []
    held.close()
    assert shop.run(*in_(store)).code == Exit.OK


def test_an_owner_without_its_store_may_send_nothing_until_it_is_back(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_HELD", 0.05)
    quick = LeaseTimes(0.1, 0.5, 1e6)
    held = LeaseHolder(open_store(store.as_uri()), home="there:/runs/shots", times=quick)
    held.take(print)
    until(held.may_send)
    with FileLock(store / ".store.lock"):
        until(lambda: not held.may_send())
    until(held.may_send)
    assert held.lost_to is None
    held.close()


@pytest.mark.more
@pytest.mark.parametrize("hours", some(1, slow=[24]))
def test_a_plan_says_whose_copy_it_is_and_what_becomes_of_what_it_does_not_know(
    shop: Shop, elsewhere: Shop, store: Path, hours: int
) -> None:
    assert shop.run(*in_(store), "--limit", "1").code == Exit.OK
    (copy,) = (store / "journal").iterdir()
    lost(copy, time.time() - 3600 * hours, '["shot1", "shot2"]')
    said = elsewhere.plan(*in_(store))
    assert "This journal is the store's copy of " in said.out
    late = "1 new row (shot2) will be ambiguous and not be sent" in said.out
    assert late is (hours > 23)
    assert ("with the same keys and bytes" in said.out) is not late
    ran = elsewhere.run(*in_(store))
    assert ran.code == (Exit.UNFINISHED if late else Exit.OK), ran.err
    assert elsewhere.statuses() == ["done", "ambiguous" if late else "done", "done"]
    if not late:  # all that may have been lost is known again
        elsewhere.fill(4)
        assert "the store's copy" not in elsewhere.plan(*in_(store)).out


def lost(copy: Path, since: float, keys: str) -> None:
    """As if a journal had been copied amid a run of those rows, so long ago."""
    plain = copy.with_suffix("")
    plain.write_bytes(gzip.decompress(copy.read_bytes()))
    told = {"log_lost_since": repr(since), "lost_keys": keys, "lost_after": "1"}
    with sqlite3.connect(plain) as journal:
        journal.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", told.items())
    journal.close()
    copy.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
