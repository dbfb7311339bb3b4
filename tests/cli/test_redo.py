"""``rerun --from picks.csv``: a wish is for one row and one take of it, and buys one more."""

from __future__ import annotations

import contextlib
import json
import shlex
import sqlite3
from typing import Any

import pytest

from seedance_batch.core.attempt import Kind
from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, Shop, say
from tests.service import write_rows


def picks(shop: Shop, *lines: dict[str, Any], name: str = "picks.csv") -> str:
    """A list of picks with these lines."""
    path = shop.folder / name
    write_rows(path, lines)
    return str(path)


def redo(key: str, take: str = "final 1", note: str = "") -> dict[str, str]:
    """A line as the review page writes it."""
    return {"id": key, "mark": "redo", "note": note, "take": take}


def bought(shop: Shop, count: int) -> Shop:
    """A shop whose rows are done."""
    shop.fill(count)
    assert shop.run().code == Exit.OK
    return shop


def again(shop: Shop, path: str, *flags: str) -> Exit:
    """Give the command once more."""
    return Exit(shop.run("--from", path, *flags, command="rerun").code)


@pytest.mark.more
def test_however_the_list_was_saved_since_it_buys_one_more_take(shop: Shop) -> None:
    bought(shop, 2)
    for path in (
        picks(shop, redo("shot1")),
        picks(shop, redo("shot1", note="warmer"), name="with a note.csv"),
        picks(shop, {"take": "final 1", "note": "", "mark": "redo", "id": "shot1"}, name="b.csv"),
    ):
        assert again(shop, path) is Exit.OK
        text = (shop.folder / "picks.csv").read_text()
        (shop.folder / "picks.csv").write_text(text.replace("\n", "\r\n") + "\r\n")
        assert again(shop, str(shop.folder / "picks.csv")) is Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_a_wish_for_the_new_take_is_another_one(shop: Shop) -> None:
    bought(shop, 1)
    for number in (1, 2, 3):
        path = picks(shop, redo("shot1", f"final {number}"))
        assert again(shop, path) is Exit.OK
        assert again(shop, path) is Exit.OK
        assert len(shop.tasks()) == 1 + number


def test_a_list_without_takes_means_the_take_that_was_shown_when_it_was_first_used(
    shop: Shop,
) -> None:
    bought(shop, 2)
    plain = {"id": "shot1", "mark": "redo", "note": ""}
    for line in (plain, plain, plain | {"note": "warmer"}, plain):
        assert again(shop, picks(shop, line)) is Exit.OK
    said = shop.plan("--from", picks(shop, plain), "--dry-run", command="rerun")
    assert "1 row marked redo already has a new take." in said.out
    assert again(shop, picks(shop, plain, plain | {"id": "shot2"})) is Exit.OK
    assert [a.intent.number for a in shop.attempts()] == [1, 1, 2, 2]
    assert again(shop, picks(shop, redo("shot1", "final 2"))) is Exit.OK
    assert again(shop, picks(shop, plain)) is Exit.OK
    assert len(shop.tasks()) == 5


@pytest.mark.more
def test_what_an_earlier_version_noted_of_a_list_holds(shop: Shop) -> None:
    bought(shop, 1)
    plain = picks(shop, {"id": "shot1", "mark": "redo"})
    assert again(shop, plain) is Exit.OK
    noted = {f"redone.{Kind.FINAL}": "{}", "redo." + "a" * 64: json.dumps({"shot1": 2})}
    with contextlib.closing(sqlite3.connect(shop.run_folder / "journal.db")) as journal, journal:
        journal.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", noted.items())
    assert again(shop, plain) is Exit.OK
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_a_take_that_is_refused_is_no_success_and_is_bought_again_by_force_alone(
    shop: Shop,
) -> None:
    bought(shop, 1)
    path = picks(shop, redo("shot1"))
    with shop.service.having(faults={"moderation": ["boat"]}):
        for _ in range(3):
            said = shop.run("--from", path, command="rerun")
            assert said.code == Exit.SOME_FAILED
            assert "--force" in said.out
            assert "shot1 refused" in said.out
        assert len(shop.tasks()) == 2
        assert shop.statuses() == ["done"]
    hint = shlex.split(said.out.splitlines()[-1].rpartition("seedance-batch ")[2])
    assert say(*hint, "--yes", *QUICK).code == Exit.OK
    assert len(shop.tasks()) == 3
    assert again(shop, path, "--force") is Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_a_take_that_failed_for_a_passing_reason_is_no_success_and_is_made_by_the_same_command(
    shop: Shop,
) -> None:
    bought(shop, 1)
    path = picks(shop, redo("shot1"))
    with shop.service.having(faults={"tasks": {"TASK_TIMEOUT": 1.0}}):
        said = shop.run("--from", path, command="rerun")
    assert said.code == Exit.SOME_FAILED
    assert len(shop.tasks()) == 2
    assert say(*said.hint, "--yes", *QUICK).code == Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_a_paid_take_that_is_not_what_was_asked_for_is_no_success_and_is_not_bought_again(
    shop: Shop,
) -> None:
    bought(shop, 1)
    path = picks(shop, redo("shot1"))
    with shop.service.having(faults={"outputs": {"other_size": 1.0}}):
        assert again(shop, path) is Exit.SOME_FAILED
        assert again(shop, path) is Exit.SOME_FAILED
    assert len(shop.tasks()) == 2


def test_a_take_that_is_still_being_made_is_waited_for_and_never_bought_beside(shop: Shop) -> None:
    bought(shop, 1)
    path = picks(shop, redo("shot1"))
    with shop.service.having(generation_time="60"):
        assert again(shop, path, "--wait", "0.5") is Exit.UNFINISHED
        assert again(shop, path, "--wait", "0.5") is Exit.UNFINISHED
    assert len(shop.tasks()) == 2


@pytest.mark.slow
def test_drafts_and_finals_of_one_list_are_each_made_by_their_own_command(shop: Shop) -> None:
    bought(shop, 2)
    assert shop.run("--draft").code == Exit.OK
    both = picks(shop, redo("shot1"), redo("shot2", "draft 1"))
    said = shop.run("--from", both, command="rerun")
    assert said.code == Exit.SOME_FAILED
    assert "shot2 marked redo as a draft: rerun --draft" in said.out
    assert again(shop, both, "--draft") is Exit.SOME_FAILED
    assert len(shop.tasks()) == 6
    said = shop.run("--from", picks(shop, redo("shot2", "draft 1")), command="rerun")
    assert said.code == Exit.USAGE
    assert "--draft" in said.hint
    assert len(shop.tasks()) == 6


@pytest.mark.more
def test_a_take_that_the_folder_does_not_have_is_not_made_again(shop: Shop) -> None:
    bought(shop, 1)
    said = shop.run("--from", picks(shop, redo("shot1", "final 7")), command="rerun")
    assert said.code == Exit.SOME_FAILED
    assert "final 7, which this folder does not have" in said.out
    said = shop.run("--from", picks(shop, redo("shot1", "take 7")), command="rerun")
    assert said.code == Exit.USAGE
    assert "such as final 1 or draft 2" in said.err
    assert len(shop.tasks()) == 1
