"""What was spent, what fits under a cap, and what drafts would cost instead."""

from __future__ import annotations

from decimal import Decimal

import pytest

from seedance_batch.core.attempt import Attempt, ErrorClass, Phase
from seedance_batch.core.manifest import content_hash
from seedance_batch.core.outcome import Spending, Sum
from seedance_batch.core.plan import draft_job, make_plan, side_by_side
from seedance_batch.core.steps import budget_problem, fitting, total
from tests.core.plan_builders import attempt, job, prices

FOX = job("a")
ROWS = [FOX, job("b", 2, prompt="a wolf", duration=10)]
"""$0.50 and $1.00."""
HALF = Sum(1, Decimal("0.50"))


@pytest.mark.parametrize(
    ("made", "spending"),
    [
        (attempt(FOX, Phase.PLANNED), Spending()),
        (attempt(FOX, Phase.SUBMITTING), Spending(reserved=HALF)),
        (attempt(FOX, Phase.IN_FLIGHT), Spending(reserved=HALF)),
        (attempt(FOX, Phase.AMBIGUOUS), Spending(reserved=HALF)),
        (attempt(FOX, Phase.DOWNLOADING), Spending(settled=HALF)),
        (attempt(FOX, Phase.DONE), Spending(settled=HALF)),
        (attempt(FOX, Phase.EXPIRED), Spending(settled=HALF)),
        (attempt(FOX, Phase.MEDIA_MISMATCH), Spending(settled=HALF)),
        (attempt(FOX, Phase.FAILED), Spending(unknown=HALF)),
        (attempt(FOX, Phase.FAILED, error=ErrorClass.INVALID, task_id=None), Spending()),
        (attempt(FOX, Phase.DONE, cost=None), Spending(settled=Sum(attempts=1, unpriced=1))),
        (attempt(FOX, Phase.PLANNED, cost=None), Spending()),
    ],
)
def test_money_is_settled_reserved_or_of_unknown_charge(made: Attempt, spending: Spending) -> None:
    assert Spending.of([made]) == spending


@pytest.mark.parametrize(
    ("spent", "cap", "rows", "cost"),
    [
        (None, None, 2, "1.50"),
        (None, "1.50", 2, "1.50"),
        (None, "1.49", 1, "0.50"),
        (None, "0.49", 0, "0"),
        ("0.50", "1.00", 1, "0.50"),
        ("0.50", "0.99", 0, "0"),
        ("?", "9.00", 0, "0"),
    ],
)
def test_what_fits_under_a_cap_is_the_first_rows_up_to_the_one_that_does_not(
    spent: str | None, cap: str | None, rows: int, cost: str
) -> None:
    before = attempt(job("gone", seed=1), Phase.DONE, cost=None if spent == "?" else spent)
    plan = make_plan(ROWS, [before] if spent else [], table=prices())
    found = total(fitting(plan, None if cap is None else Decimal(cap)))
    assert (found.rows, found.cost) == (rows, Decimal(cost))


def test_everything_that_may_have_been_charged_is_committed() -> None:
    phases = (Phase.DONE, Phase.FAILED, Phase.IN_FLIGHT, Phase.PLANNED)
    attempts = [attempt(FOX, phase, id=n) for n, phase in enumerate(phases)]
    assert Spending.of(attempts).committed == Decimal("1.50")
    assert Spending.of([*attempts, attempt(FOX, Phase.DONE, cost=None)]).committed is None


@pytest.mark.parametrize(
    ("spent", "cap", "per_row", "why"),
    [
        (None, None, None, None),
        (None, "1.50", None, None),
        (None, "1.49", None, "the plan costs $1.50; the cap is $1.49"),
        ("0.50", "2.00", None, None),
        (
            "0.51",
            "2.00",
            None,
            "the plan costs $1.50, on top of $0.51 already spent or reserved; the cap is $2.00",
        ),
        ("?", "9.00", None, "1 earlier attempt has no known price"),
        ("?", None, "9.00", None),
        (None, None, "1.00", None),
        (None, None, "0.99", "over the cap of $0.99 for one row: b at $1.00"),
        (None, "9", "0.10", "over the cap of $0.10 for one row: a at $0.50 and 1 more"),
    ],
)
def test_a_plan_fits_under_its_caps_or_says_why_not(
    spent: str | None, cap: str | None, per_row: str | None, why: str | None
) -> None:
    before = attempt(job("gone", seed=1), Phase.DONE, cost=None if spent == "?" else spent)
    plan = make_plan(ROWS, [before] if spent else [], table=prices())
    caps = [None if text is None else Decimal(text) for text in (cap, per_row)]
    assert budget_problem(plan, *caps) == why


def test_with_a_cap_an_unknown_price_does_not_fit() -> None:
    plan = make_plan(ROWS, [], table=None)
    assert budget_problem(plan, None) is None
    for caps in ((Decimal(99), None), (None, Decimal(99))):
        assert "no known price" in str(budget_problem(plan, *caps))


def test_a_plan_that_buys_nothing_fits_under_any_cap() -> None:
    done = [attempt(FOX, Phase.DONE, cost="50")]
    assert budget_problem(make_plan([FOX], done, table=None), Decimal(1)) is None


def test_a_draft_is_the_same_row_small_short_and_silent() -> None:
    draft = draft_job(job("a", duration=12, resolution="1080p", seed=3))
    sent = draft.input.wire()
    assert (sent["resolution"], sent["duration"], sent["generate_audio"]) == ("480p", 4, False)
    assert (draft.key, sent["seed"], sent["prompt"]) == ("a", 3, "a red fox")
    assert draft.content == content_hash(draft.model, draft.input)


def test_drafts_and_finals_are_priced_side_by_side() -> None:
    found = side_by_side(ROWS, prices())
    assert (found.draft.rows, found.draft.seconds, found.draft.cost) == (2, 8, Decimal("0.80"))
    assert (found.final.rows, found.final.seconds, found.final.cost) == (2, 15, Decimal("1.50"))
    assert side_by_side(ROWS, None).draft.cost is None
