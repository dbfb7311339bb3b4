"""A saved plan is executed as approved, or not at all; its own execution is no drift."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.attempt import Attempt, ErrorClass, Kind, Phase
from seedance_batch.core.manifest import Job
from seedance_batch.core.plan import make_plan
from seedance_batch.core.pricing import PriceTable
from seedance_batch.core.saved_plan import SavedPlan, approved, drift, from_json, to_json
from seedance_batch.core.steps import Action, Plan, RerunChoice
from seedance_batch.errors import UsageError
from tests.core.plan_builders import attempt, job, prices

ROWS = [job("a", 1), job("b", 2, prompt="a wolf"), job("c", 3, prompt="an owl")]
RERUN = RerunChoice()
TABLE = prices()

HERE = "https://api.example.com"


def plan(
    jobs: Sequence[Job], attempts: Sequence[Attempt], table: PriceTable | None = TABLE, **more: Any
) -> Plan:
    return make_plan(jobs, attempts, table=table, **more)


def save(found: Plan) -> SavedPlan:
    return from_json(json.loads(json.dumps(to_json(found, {"set seed": "7"}, origin=HERE))))


def made(of: Job, phase: Phase, **more: Any) -> Attempt:
    return attempt(of, phase, id=of.row.number, **more)


def test_a_plan_survives_being_written_down() -> None:
    found = plan(
        ROWS, [made(ROWS[0], Phase.IN_FLIGHT), attempt(job("x", seed=1), Phase.DONE, id=9)]
    )
    saved = save(found)
    assert saved.flags == {"set seed": "7"}
    assert saved.keys == {"a", "b", "c"}
    assert saved.rows_digest == found.rows_digest
    assert [(s.action, s.key, s.number, s.continues, s.cost) for s in saved.steps] == [
        (Action.IN_FLIGHT, "a", 2, 1, None),
        (Action.NEW, "b", 1, None, Decimal("0.50")),
        (Action.NEW, "c", 1, None, Decimal("0.50")),
        (Action.REMOVED, "x", 2, 1, None),
    ]
    assert drift(saved, found, HERE) == []


def test_the_json_says_what_people_are_told() -> None:
    document = to_json(plan(ROWS, [made(ROWS[0], Phase.DONE)]), origin=HERE)
    assert document["new_cost_usd"] == "1.00"
    assert document["totals"]["new"] == {"rows": 2, "seconds": 10, "cost_usd": "1.00"}
    assert document["totals"]["done"] == {"rows": 1, "seconds": 5, "cost_usd": None}
    assert document["money"]["settled_usd"] == "0.50"
    assert document["prices"]["source"] == "https://api.example/api/pricing"
    assert document["steps"][1]["row"] == 2
    assert to_json(plan(ROWS, [], table=None), origin=HERE)["prices"] is None


def test_secrets_in_words_from_elsewhere_are_not_written_down() -> None:
    words = "see https://cdn.example/x?sig=abc and sk-abcdef0123456789"
    failed = made(ROWS[0], Phase.FAILED, error_message=words)
    text = json.dumps(to_json(plan(ROWS, [failed]), origin=HERE))
    assert "abc" not in text


def _without(name: str) -> dict[str, Any]:
    document = to_json(plan(ROWS, []), origin=HERE)
    del document[name]
    return document


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"format": "something"},
        to_json(plan(ROWS, []), origin=HERE) | {"version": 2},
        to_json(plan(ROWS, []), origin=HERE) | {"kind": "poster"},
        to_json(plan(ROWS, []), origin=HERE) | {"flags": None},
        to_json(plan(ROWS, []), origin=HERE) | {"steps": [{}]},
        to_json(plan(ROWS, []), origin=HERE) | {"steps": 7},
        _without("steps"),
        _without("rows_digest"),
    ],
)
def test_what_is_no_saved_plan_is_refused(document: object) -> None:
    with pytest.raises(UsageError):
        from_json(document)


def test_a_price_that_is_no_number_is_refused() -> None:
    document = to_json(plan(ROWS, []), origin=HERE)
    document["steps"][0]["cost_usd"] = "cheap"
    with pytest.raises(UsageError, match="damaged"):
        from_json(document)


# ── what is no drift ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("phase", sorted(Phase))
@pytest.mark.parametrize("rerun", [None, RERUN])
def test_executing_a_plan_is_no_drift_and_buys_nothing_beyond_it(
    phase: Phase, rerun: RerunChoice | None
) -> None:
    before = [made(row, Phase.FAILED, number=1) for row in ROWS] if rerun else []
    first = plan(ROWS, before, rerun=rerun)
    saved = save(first)
    number = 2 if rerun else 1
    begun = attempt(ROWS[0], phase, id=7, number=number)
    now = plan(ROWS, [*before, begun], rerun=rerun, selected=saved.keys)
    assert drift(saved, now, HERE) == []
    left = approved(saved, now)
    waiting = {"a", "b", "c"} if phase is Phase.PLANNED else {"b", "c"}
    assert {(s.key, s.number) for s in left.new} == {(key, number) for key in waiting}


def test_a_plan_carried_out_has_the_same_fingerprint() -> None:
    first = plan(ROWS, [])
    done = [made(row, Phase.DONE) for row in ROWS]
    assert first.fingerprint == plan(ROWS, done).fingerprint
    assert first.fingerprint == plan(ROWS[::-1], done[:1]).fingerprint
    assert first.fingerprint == plan(ROWS, [made(ROWS[0], Phase.PLANNED)]).fingerprint


def test_another_price_content_row_or_attempt_has_another_fingerprint() -> None:
    others = [
        plan(ROWS, []),
        plan(ROWS, [], table=prices(base_usd_value="0.11")),
        plan(ROWS, [], table=None),
        plan(ROWS[:2], []),
        plan([job("a", 1, duration=6), *ROWS[1:]], []),
        plan(ROWS, [made(ROWS[0], Phase.DONE, cost="0.51")]),
        plan(ROWS, [], kind=Kind.DRAFT),
    ]
    assert len({found.fingerprint for found in others}) == len(others)


def test_progress_of_what_was_under_way_is_no_drift() -> None:
    saved = save(plan(ROWS, [made(ROWS[0], Phase.IN_FLIGHT)], rerun=RERUN))
    for phase in (Phase.DOWNLOADING, Phase.DONE, Phase.FAILED, Phase.AMBIGUOUS, Phase.EXPIRED):
        now = plan(ROWS, [made(ROWS[0], phase)], rerun=RERUN)
        assert drift(saved, now, HERE) == []
        assert "a" not in {step.key for step in approved(saved, now).new}


def test_an_attempt_that_was_turned_away_goes_on_under_the_plan() -> None:
    saved = save(plan(ROWS, [made(ROWS[0], Phase.SUBMITTING)]))
    now = plan(ROWS, [made(ROWS[0], Phase.PLANNED)])
    assert drift(saved, now, HERE) == []
    assert {step.key for step in approved(saved, now).new} == {"a", "b", "c"}


def test_a_failure_after_the_approval_is_not_made_again_under_it() -> None:
    saved = save(plan(ROWS, [made(ROWS[0], Phase.IN_FLIGHT)]))
    now = plan(ROWS, [made(ROWS[0], Phase.FAILED)], rerun=RERUN)
    assert now.steps[0].action is Action.RERUN
    left = approved(saved, now).steps[0]
    assert (left.action, left.cost) == (Action.BLOCKED, None)
    assert left.reason.startswith("not in the saved plan")


def test_rows_outside_the_plan_are_not_bought_under_it() -> None:
    saved = save(plan(ROWS, [], selected={"a"}))
    assert [step.key for step in approved(saved, plan(ROWS, [])).new] == ["a"]


def test_rows_that_had_left_the_manifest_do_not_matter() -> None:
    gone = attempt(job("x", seed=1), Phase.IN_FLIGHT, id=9)
    saved = save(plan(ROWS, [gone]))
    assert drift(saved, plan(ROWS, [], selected=saved.keys), HERE) == []


def test_an_edit_that_waited_for_its_former_content_is_not_bought_once_that_was_turned_away() -> (
    None
):
    """The plan showed the resend of the former content, and not the edit."""
    former = attempt(job("a", prompt="a red cat"), Phase.SUBMITTING)
    saved = save(plan(ROWS[:1], [former]))
    assert saved.steps[0].action is Action.SETTLE
    now = plan(ROWS[:1], [replace(former, state=replace(former.state, phase=Phase.PLANNED))])
    assert now.new
    assert not approved(saved, now).new


# ── what is drift ───────────────────────────────────────────────────────────────────────────────


def reasons(saved: Plan, now: Plan) -> str:
    return "; ".join(drift(save(saved), now, HERE))


def test_a_yes_to_the_sandbox_is_none_to_real_money() -> None:
    saved = save(plan(ROWS, []))
    assert drift(saved, plan(ROWS, []), "https://api.hiapi.ai") == [
        f"the plan is for {HERE}, not for https://api.hiapi.ai"
    ]


def test_another_kind_is_drift() -> None:
    assert "draft" in reasons(plan(ROWS, []), plan(ROWS, [], kind=Kind.DRAFT))


def test_an_edited_row_is_drift() -> None:
    edited = [job("a", 1, duration=6), *ROWS[1:]]
    assert reasons(plan(ROWS, []), plan(edited, [])) == "a: was edited"


def test_a_row_that_is_gone_is_drift() -> None:
    assert reasons(plan(ROWS, []), plan(ROWS[1:], [])) == "a: left the manifest"
    gone = attempt(ROWS[0], Phase.DONE)
    assert reasons(plan(ROWS, [gone]), plan(ROWS[1:], [gone])) == "a: left the manifest"


def test_an_added_row_is_drift_also_where_the_plan_was_for_some_rows() -> None:
    more = [*ROWS, job("d", 4, seed=4)]
    some = plan(ROWS, [], selected={"a"})
    assert "rows outside the plan were added" in reasons(some, plan(more, [], selected={"a"}))
    assert "rows outside the plan were added" in reasons(
        plan(ROWS, []), plan(more, [], selected={"a", "b", "c"})
    )


def test_rows_in_another_order_are_no_drift() -> None:
    assert reasons(plan(ROWS, []), plan(ROWS[::-1], [])) == ""


@pytest.mark.parametrize("table", [prices(base_usd_value="0.20"), None])
def test_another_price_is_drift(table: PriceTable | None) -> None:
    found = drift(save(plan(ROWS, [])), plan(ROWS, [], table=table), HERE)
    assert len(found) == 3
    assert found[0].startswith("a: the price was $0.50, now it is")


@pytest.mark.parametrize(
    "unsent", [attempt(ROWS[0], Phase.PLANNED), attempt(ROWS[0], Phase.DONE, kind=Kind.DRAFT)]
)
def test_another_price_for_what_is_not_sent_for_this_plan_is_drift(unsent: Attempt) -> None:
    now = plan(ROWS[:1], [unsent], table=None)
    assert "price" in reasons(plan(ROWS[:1], []), now)


def test_another_price_for_what_is_already_sent_is_no_drift() -> None:
    now = plan(ROWS[:1], [made(ROWS[0], Phase.IN_FLIGHT)], table=None)
    assert reasons(plan(ROWS[:1], []), now) == ""


def test_an_unknown_price_that_stays_unknown_is_no_drift() -> None:
    assert reasons(plan(ROWS, [], table=None), plan(ROWS, [], table=None)) == ""


def test_a_foreign_attempt_is_drift() -> None:
    saved = plan(ROWS, [made(ROWS[0], Phase.DONE)])
    other = attempt(ROWS[0], Phase.DONE, id=8, number=2)
    now = plan(ROWS, [made(ROWS[0], Phase.DONE), other])
    assert reasons(saved, now) == "a: has an attempt that this plan did not make"


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.PLANNED}))
def test_a_row_whose_attempt_is_not_known_any_more_is_drift_and_is_not_bought(phase: Phase) -> None:
    saved = save(plan(ROWS, [made(ROWS[0], phase)]))
    now = plan(ROWS, [], selected=saved.keys)
    (reason,) = drift(saved, now, HERE)
    assert reason == f"a: was {saved.steps[0].action}, now it is new (not sent yet)"
    assert {step.key for step in approved(saved, now).new} == {"b", "c"}


def test_a_plan_for_one_run_folder_is_none_for_another() -> None:
    document = to_json(plan(ROWS, []), origin=HERE, folder="one")
    saved = from_json(document)
    assert drift(saved, plan(ROWS, []), HERE, "one") == []
    for folder in ("two", None):
        assert "another run folder" in drift(saved, plan(ROWS, []), HERE, folder)[0]
    fresh = from_json(to_json(plan(ROWS, []), origin=HERE))  # no folder yet, so any new one will do
    assert drift(fresh, plan(ROWS, []), HERE, "two") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("action", "new"), ("cost_usd", "0.01"), ("number", 7), ("content", "f" * 64), ("id", "z")],
)
def test_a_plan_that_was_edited_by_hand_is_drift(name: str, value: object) -> None:
    found = plan(ROWS, [made(ROWS[0], Phase.DONE)])
    document = json.loads(json.dumps(to_json(found, origin=HERE)))
    assert drift(from_json(document), found, HERE) == []
    document["steps"][0][name] = value
    assert drift(from_json(document), found, HERE) == ["the plan was edited after it was saved"]


def test_a_plan_that_only_looks_otherwise_holds() -> None:
    document = to_json(plan(ROWS, []), origin=HERE)
    laid_out = json.loads(json.dumps(document, sort_keys=True, indent=8))
    assert drift(from_json(laid_out), plan(ROWS, []), HERE) == []
    del document["digest"]  # as an earlier version wrote it
    del document["folder"]
    assert drift(from_json(document), plan(ROWS, []), HERE, "one") == []


def test_an_attempt_after_the_plans_own_is_drift() -> None:
    attempts = [attempt(ROWS[0], Phase.FAILED, id=n, number=n) for n in (1, 2)]
    assert "did not make" in reasons(plan(ROWS, []), plan(ROWS, attempts))


def test_an_attempt_at_other_content_in_between_is_drift() -> None:
    other = attempt(job("a", seed=9), Phase.DONE)
    assert "now it is changed" in reasons(plan(ROWS, []), plan(ROWS, [other]))


def test_a_row_that_no_longer_needs_its_money_is_drift() -> None:
    clip = attempt(replace(ROWS[0], key="x"), Phase.DONE, id=9)
    assert "a: was new, now it is moved" in reasons(plan(ROWS, []), plan(ROWS, [clip]))


@given(
    st.lists(st.sampled_from([None, *Phase]), min_size=3, max_size=3),
    st.lists(st.sampled_from([None, *Phase]), min_size=3, max_size=3),
    st.sampled_from([None, RERUN, RerunChoice(frozenset(ErrorClass), force=True)]),
)
def test_a_plan_in_any_state_of_execution_buys_each_approved_attempt_once(
    before: list[Phase | None], during: list[Phase | None], rerun: RerunChoice | None
) -> None:
    start = [made(row, phase) for row, phase in zip(ROWS, before, strict=True) if phase]
    first = plan(ROWS, start, rerun=rerun)
    saved = save(first)
    bought = {step.key: step for step in first.new}
    attempts = {(a.intent.key, a.intent.number): a for a in start}
    for row, phase in zip(ROWS, during, strict=True):
        if phase and (step := bought.get(row.key)):
            began = attempt(row, phase, id=10 + row.row.number, number=step.number)
            attempts[row.key, step.number] = began
    now = plan(ROWS, list(attempts.values()), rerun=rerun, selected=saved.keys)
    assert drift(saved, now, HERE) == []
    left = {(step.key, step.number) for step in approved(saved, now).new}
    assert left == {
        (step.key, step.number)
        for step in first.new
        if (began_ := attempts.get((step.key, step.number))) is None
        or began_.state.phase is Phase.PLANNED
    }
