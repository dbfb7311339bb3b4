"""Runs under one key at the command line: a day's cap, the account's status, no file to share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import ROW_COST, Shop, say, shots


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time at which no day ends."""
    monkeypatch.setenv("TZ", f"NOON{datetime.now(UTC).hour - 12:+d}")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def beside(shop: Shop, name: str) -> Shop:
    """Another batch under the same key."""
    return Shop(shop.folder.parent / name, shop.service, shop.key)


@pytest.fixture
def two(shop: Shop) -> tuple[Shop, Shop]:
    """Two batches of four rows under one key."""
    other = beside(shop, "other")
    shop.fill(4)
    other.write(*({**each, "prompt": f"{each['prompt']}, at night"} for each in shots(4)))
    return shop, other


def test_a_days_cap_holds_for_all_folders_and_for_the_next_start(two: tuple[Shop, Shop]) -> None:
    first, second = two
    cap = str(6 * ROW_COST)
    assert first.run("--max-cost-per-day", cap).code == Exit.OK
    planned = second.plan()
    assert "cap for all folders under this key is $1.15; $0.77 is used" in planned.out
    assert "not all rows fit today" in planned.out
    said = second.run()  # the cap is the key's, so that leaving it out does not pass it
    assert said.code == Exit.BUDGET
    assert "2 rows are left" in said.out
    assert f"over ${6 * ROW_COST:.2f} a day" in said.out
    assert "Tomorrow the same command goes on" in said.out
    assert said.hint[:1] == ["run"]
    assert second.run().code == Exit.BUDGET
    assert first.charged() == 6 * ROW_COST  # one key: the charges of both
    assert second.run("--max-cost-per-day", "none").code == Exit.OK
    assert first.charged() == 8 * ROW_COST


def test_a_days_cap_that_cannot_be_kept_sends_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(2)
    _block(Path(os.environ["XDG_STATE_HOME"]))
    said = shop.run("--max-cost-per-day", "5")
    assert said.code == Exit.BUDGET
    assert "--max-cost-per-day cannot be kept" in said.err
    assert "Nothing was sent" in said.err
    assert shop.tasks() == []


def test_without_the_file_a_run_says_so_once_and_does_its_work(shop: Shop) -> None:
    shop.fill(2)
    _block(Path(os.environ["XDG_STATE_HOME"]))
    said = shop.run()
    assert said.code == Exit.OK
    assert (said.out + said.err).count("paces by itself") == 1
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_a_cap_that_is_kept_in_a_damaged_file_is_not_forgotten(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run("--max-cost-per-day", "0.30").code == Exit.OK
    (file,) = Path(os.environ["XDG_STATE_HOME"]).rglob("accounts/*.db")
    for beside in file.parent.glob(f"{file.name}-*"):
        beside.unlink()
    file.write_bytes(b"no database at all" * 100)
    shop.fill(2)
    said = shop.run()
    assert said.code == Exit.BUDGET
    assert "A cap for the day may be in force" in said.err
    assert str(file) in say("status").err
    assert len(shop.tasks()) == 1
    assert shop.run("--ids", "shot1").code == Exit.OK  # nothing to buy
    assert shop.run("--max-cost-per-day", "none").code == Exit.OK
    assert len(shop.tasks()) == 2


def _block(state: Path) -> None:
    """A state folder that nobody can write in, root neither: it is a file."""
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text("")


@pytest.mark.more
def test_status_without_a_folder_shows_the_account_and_its_folders(two: tuple[Shop, Shop]) -> None:
    first, second = two
    assert "No run has used an API key" in say("status").out
    assert first.run().code == second.run().code == Exit.OK
    (account,) = say("status", "--json").lines
    assert account["origin"] == first.service.api_url
    assert account["runs"] == []
    assert account["requests_last_minute"] >= 8
    assert Decimal(account["today"]["settled_usd"]) == 8 * ROW_COST
    folders = {each["folder"]: each["today"]["settled_usd"] for each in account["folders"]}
    assert {*folders} == {str(first.run_folder.resolve()), str(second.run_folder.resolve())}
    assert {Decimal(cost) for cost in folders.values()} == {4 * ROW_COST}
    said = say("status")
    assert said.code == Exit.OK
    assert "$1.54 settled" in said.out
    assert str(first.run_folder) in said.out
    assert first.key not in said.out
    assert say("status", "--by", "client").code == Exit.USAGE


def test_a_rehearsal_has_an_account_of_its_own(shop: Shop) -> None:
    shop.fill(3)
    (shop.folder / "plain.yaml").write_text("clips: plain\ngeneration_time: 0.2\n")
    words = ("run", str(shop.manifest), "--sandbox", "--sandbox-config", "plain.yaml", "-q")
    said = say(*words, "--max-cost-per-day", str(2 * ROW_COST))
    assert said.code == Exit.BUDGET
    assert "1 row is left" in said.out
    assert "No run has used an API key" in say("status").out
    shop.run_folder.parent.joinpath("shots-sandbox", "sandbox-account.db").unlink()
    assert say(*words).code == Exit.OK


def test_a_priority_is_one_of_three(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run("--priority", "urgent").code == Exit.USAGE
    assert shop.run("--priority", "high").code == Exit.OK
