"""Texts that were only saved otherwise: the same words are the same order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.attempt import Kind, Phase
from seedance_batch.core.decide import difference
from seedance_batch.core.manifest import Job
from seedance_batch.core.plan import as_ordered, draft_job, make_plan
from seedance_batch.core.steps import Action
from tests.core.plan_builders import attempt, job, prices

TEXT = "Wide shot of the harbour.\nThe camera pushes in slowly."
RESAVED = (
    TEXT.replace("\n", "\r\n"),
    TEXT.replace("\n", "\r"),
    f"{TEXT} ",
    f"{TEXT}\n",
    f"{TEXT}\t\r\n\r\n",
    f" {TEXT}",
    TEXT.replace("\n", "  \n"),
    TEXT.replace("\n", "\u00a0\r\n"),
    f'"{TEXT}"',
)


def action(jobs: list[Job], done: list[Job], kind: Kind = Kind.FINAL) -> list[Action]:
    """What a run would do to these jobs, where those are done."""
    made = [attempt(of, Phase.DONE, id=n, kind=kind) for n, of in enumerate(done, 1)]
    found = as_ordered(jobs, made)
    asked = found if kind is Kind.FINAL else tuple(map(draft_job, found))
    return [step.action for step in make_plan(asked, made, table=prices(), kind=kind).steps]


@pytest.mark.parametrize("resaved", RESAVED)
def test_a_text_that_was_only_saved_otherwise_is_not_bought_again(resaved: str) -> None:
    assert action([job(prompt=resaved)], [job(prompt=TEXT)]) == [Action.DONE]
    assert action([job(prompt=TEXT)], [job(prompt=resaved)]) == [Action.DONE]


@pytest.mark.parametrize("resaved", RESAVED)
def test_nor_is_a_row_without_an_id_whose_key_follows_its_text(resaved: str) -> None:
    now, before = job("r-1", prompt=resaved), job("r-2", prompt=TEXT)
    assert action([now], [before]) == [Action.MOVED]


@pytest.mark.parametrize("resaved", RESAVED)
def test_nor_is_its_draft(resaved: str) -> None:
    before = draft_job(job(prompt=TEXT))
    assert action([job(prompt=resaved)], [before], Kind.DRAFT) == [Action.DONE]


LINES = st.text(st.sampled_from("ab é日 \t"), min_size=1, max_size=6)
ENDS = st.sampled_from(["\n", "\r\n", "\r", " \n", "\t\r\n"])


@given(lines=st.lists(LINES, min_size=1, max_size=4), data=st.data())
def test_line_ends_never_buy_a_row_again(lines: list[str], data: st.DataObject) -> None:
    def saved() -> Job:
        ends = [data.draw(ENDS) for _ in lines]
        return job(prompt="A cat" + "".join(map("".join, zip(lines, ends, strict=True))))

    assert action([saved()], [saved()]) == [Action.DONE]


def test_another_word_is_another_order() -> None:
    assert action([job(prompt=TEXT.replace("slowly", "fast"))], [job(prompt=TEXT)]) == [
        Action.CHANGED
    ]
    assert action([job(prompt=f"{TEXT}\r\n", duration=8)], [job(prompt=TEXT)]) == [Action.CHANGED]


def test_where_both_spellings_were_bought_each_row_keeps_its_own() -> None:
    rows = [job("a", prompt=TEXT), job("b", prompt=f"{TEXT} ")]
    assert action(rows, rows) == [Action.DONE, Action.DONE]


def test_a_new_row_whose_words_are_another_rows_is_new() -> None:
    rows = [job("a", prompt=TEXT), job("b", prompt=f"{TEXT} ")]
    assert action(rows, rows[:1]) == [Action.DONE, Action.NEW]


def test_an_edit_of_another_field_is_all_that_the_plan_names() -> None:
    made = attempt(job(prompt=TEXT), Phase.DONE)
    (now,) = as_ordered([job(prompt=TEXT.replace("\n", "\r\n"), duration=8)], [made])
    (step,) = make_plan([now], [made], table=prices()).steps
    assert step.reason == "duration 5 → 8"


def test_a_manifest_that_nothing_was_ordered_of_stays_as_it_is() -> None:
    rows = (job(prompt=f"{TEXT}\r\n"),)
    assert as_ordered(rows, ()) == rows
    other = attempt(replace(job("z"), model="other"), Phase.DONE)
    assert as_ordered(rows, [other]) == rows


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a red fox", "a red fox at night", "‘…red fox’ → ‘…red fox at night’"),
        (
            "one two three four five six",
            "one two 3 four five six",
            "‘one two three four five…’ → ‘one two 3 four five…’",
        ),
        ("a  cat", "a cat", "only in white space"),
        ("雨の中を猫が歩く", "雨の中を犬が歩く", "‘…中を猫が歩…’ → ‘…中を犬が歩…’"),
        ("a cat", "", "‘a cat’ → ‘’"),
        ("cat cat", "cat cat cat", "‘cat cat’ → ‘cat cat cat’"),
    ],
)
def test_a_difference_is_shown_with_a_few_words_around(old: str, new: str, said: str) -> None:
    assert difference(old, new) == said
