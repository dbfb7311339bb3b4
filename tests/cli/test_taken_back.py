"""Rows that are deleted or edited while their create has no answer: not bought without a word."""

from __future__ import annotations

from decimal import Decimal

import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.errors import Exit
from tests.cli.shop import QUICK, ROW_COST, Said, Shop, say, shot
from tests.cli.test_consent import terminal

NEVER_ARRIVES = {"create": {"reset": 1.0}}
ANSWER_LOST = {"create": {"reset_after": 1.0}}


def cut_short(shop: Shop, faults: dict[str, object]) -> None:
    """Three rows of which no create was answered."""
    shop.fill(3)
    with shop.service.having(faults=faults):
        assert shop.run("--wait", "0.6").code == Exit.UNFINISHED
    assert {a.state.phase for a in shop.attempts()} == {Phase.SUBMITTING}


def unasked(shop: Shop, *flags: str) -> Said:
    """A run without a yes, and without a terminal."""
    return say("run", str(shop.manifest), "--api-url", shop.service.api_url, *QUICK, *flags)


def edited(number: int) -> dict[str, object]:
    """A row that asks for something else by now."""
    return shot(number, prompt=f"another boat, number {number}")


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    "rows", [[shot(1)], [shot(1), edited(2), edited(3)]], ids=["deleted", "edited"]
)
def test_what_was_taken_back_is_shown_with_its_cost_and_not_bought_without_a_yes(
    shop: Shop, rows: list[dict[str, object]]
) -> None:
    cut_short(shop, NEVER_ARRIVES)
    shop.write(*rows)
    plan = shop.plan()
    assert "? unanswered      2 rows" in plan.out
    assert (
        "2 rows were sent and got no answer, and the manifest no longer asks for this" in plan.out
    )
    assert f"costs up to ${2 * ROW_COST:.2f}" in plan.out
    said = unasked(shop)
    assert said.code == Exit.UNFINISHED
    assert shop.prompts() == [shot(1)["prompt"]]  # agreed to before, and asked for still
    assert "not sent again without your yes" in said.out
    assert "--yes" in said.hint
    assert unasked(shop).code == Exit.UNFINISHED
    assert len(shop.tasks()) == 1


@pytest.mark.more
def test_at_a_terminal_the_question_names_them_and_a_no_leaves_them(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(shop, NEVER_ARRIVES)
    shop.write(shot(1))
    with terminal(monkeypatch, "n\n"):
        said = unasked(shop)
    assert "Send again 2 unanswered rows for up to $0.38?" in said.err
    assert said.code == Exit.UNFINISHED
    assert len(shop.tasks()) == 1
    with terminal(monkeypatch, "y\n"):
        assert unasked(shop).code == Exit.OK
    assert len(shop.tasks()) == 3


def test_with_a_yes_a_lost_answer_brings_the_clip_that_was_paid_for_and_nothing_more(
    shop: Shop,
) -> None:
    cut_short(shop, ANSWER_LOST)
    assert len(shop.tasks()) == 3
    shop.write(shot(1), shot(3))
    assert unasked(shop).code == Exit.UNFINISHED
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 3
    assert {a.state.phase for a in shop.attempts()} == {Phase.DONE}


def test_a_refused_resend_of_what_was_taken_back_is_the_end_of_it(shop: Shop) -> None:
    cut_short(shop, NEVER_ARRIVES)
    shop.write(shot(1))
    with shop.service.having(balance=str(_spent(shop))):
        assert shop.run().code == Exit.ACCOUNT
    assert shop.tasks() == []


def _spent(shop: Shop) -> Decimal:
    return Decimal(str(shop.service.ledger()["counters"]["charged_total"]))


@pytest.mark.more
def test_a_place_that_is_left_alone_stops_nobody(shop: Shop) -> None:
    cut_short(shop, NEVER_ARRIVES)
    shop.write(shot(4))
    plan = shop.run("--save", "plan.json", "--dry-run")
    assert plan.code == Exit.OK
    shop.write(shot(4), shot(5))
    assert unasked(shop, "-j", "1", "--rows", "1").code == Exit.USAGE
    said = shop.run("-j", "1", "--rows", "2")
    assert said.code == Exit.OK  # of the chosen row
    assert shop.prompts() == [shot(5)["prompt"]]


@pytest.mark.more
def test_a_saved_plan_is_a_yes_to_the_resends_that_it_shows_and_to_no_others(shop: Shop) -> None:
    cut_short(shop, ANSWER_LOST)
    shop.write(shot(1), edited(2))
    assert shop.plan("--rows", "1", "--save", "one.json").code == Exit.OK
    assert shop.plan("--save", "all.json").code == Exit.OK
    run = ["run", str(shop.manifest), "--api-url", shop.service.api_url, *QUICK]
    assert say(*run, "--plan", "one.json").code == Exit.OK
    phases = [a.state.phase for a in shop.attempts()]
    assert phases == [Phase.DONE, Phase.SUBMITTING, Phase.SUBMITTING]
    assert say(*run, "--plan", "all.json").code == Exit.UNFINISHED  # the edit waits for a yes
    assert {a.state.phase for a in shop.attempts()} == {Phase.DONE}
    assert len(shop.tasks()) == 3


@pytest.mark.more
def test_drafts_that_were_taken_back_are_not_bought_by_a_run_of_finals(shop: Shop) -> None:
    shop.fill(2)
    with shop.service.having(faults=NEVER_ARRIVES):
        assert shop.run("--draft", "--wait", "0.6").code == Exit.UNFINISHED
    shop.write(edited(1))
    assert shop.run().code in {Exit.OK, Exit.UNFINISHED}
    assert shop.prompts() == [edited(1)["prompt"]]
    assert [task["input"]["duration"] for task in shop.tasks()] == [4]
    assert "? unanswered      2 rows" in shop.plan("--draft").out


@pytest.mark.more
def test_what_was_turned_away_is_dropped_with_its_row_and_new_money_with_an_edit(
    shop: Shop,
) -> None:
    shop.fill(3)
    with shop.service.having(balance=str(_spent(shop))):
        assert shop.run().code == Exit.ACCOUNT
    assert {a.state.phase for a in shop.attempts()} <= {Phase.PLANNED}
    shop.write(shot(1), edited(2))
    assert "new money       2 rows" in shop.plan().out
    assert unasked(shop).code == Exit.USAGE
    assert shop.tasks() == []
    assert shop.run("--rows", "2").code == Exit.OK
    assert shop.prompts() == [edited(2)["prompt"]]
