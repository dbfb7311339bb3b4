"""picks.csv: what the page exports and what spreadsheet programs make of it; else every problem."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.attempt import Kind, TakeName
from seedance_batch.core.columns import guarded
from seedance_batch.errors import ManifestError, UsageError
from seedance_batch.page.marks import Mark, Pick, kept_takes, parse_picks, picked, read_picks

EXPECTED = [
    Pick("dawn", Mark.KEEP, ""),
    Pick("lamp", Mark.REDO, 'warmer, "please"\nand slower'),
    Pick("夜读", None, "ask"),
]
TEXT = 'id,mark,note\r\ndawn,keep,\r\nlamp,redo,"warmer, ""please""\nand slower"\r\n夜读,,ask\r\n'


def problems(text: str) -> list[str]:
    return [str(each) for each in parse_picks(text.encode(), "picks.csv")[1]]


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE
        + TEXT.replace(",", "\t").replace("warmer\t", "warmer,").encode("utf-16-be"),
        TEXT.replace(",", ";").replace("warmer;", "warmer,").encode(),
        TEXT.replace("\r\n", "\n").encode(),
        TEXT.replace("id,mark", " ID ,Mark").replace("keep", " Keep ").encode(),
        ("\r\n" + TEXT + ",,\r\n\r\n").encode(),
    ],
)
def test_every_usual_spelling_of_the_file_is_the_same_choice(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "picks.csv"
    path.write_bytes(data)
    assert EXPECTED == read_picks(path)


def test_columns_may_stand_in_any_order_with_others_beside_them() -> None:
    text = "note;who;mark;id\nx;me;reject;a\n;;keep;b\n"
    expected = [Pick("a", Mark.REJECT, "x"), Pick("b", Mark.KEEP, "")]
    assert (expected, []) == parse_picks(text.encode(), "picks.csv")
    assert [Pick("a", Mark.KEEP, "")] == parse_picks(b"id,mark\na,keep", "picks.csv")[0]


@pytest.mark.parametrize(
    ("text", "take"),
    [
        ("final 2", TakeName(Kind.FINAL, 2)),
        (" Draft 11 ", TakeName(Kind.DRAFT, 11)),
        ("draft1", TakeName(Kind.DRAFT, 1)),
        ("", None),
        ("  ", None),
    ],
)
def test_a_line_says_of_which_take_its_mark_was_made(text: str, take: TakeName | None) -> None:
    assert [Pick("a", Mark.REDO, "", take)] == parse_picks(
        f"id,mark,note,take\na,redo,,{text}\n".encode(), "picks.csv"
    )[0]


def test_each_take_of_a_row_has_a_line_of_its_own() -> None:
    lines = "a,keep,final 1\na,reject,final 2\nb,redo,draft 1\nc,reject,final 1\n"
    found, wrong = parse_picks(f"id,mark,take\n{lines}".encode(), "picks.csv")
    assert [] == wrong
    assert {"a": {TakeName(Kind.FINAL, 1)}} == kept_takes(found)
    assert ["a"] == picked(found, {Mark.KEEP}, Path("picks.csv"))
    assert ["b"] == picked(found, None, Path("picks.csv")), "the last take of a row says it"
    for twice in ("a,keep,final 1\na,redo,final 1\n", "a,keep,final 1\na,redo,\n"):
        assert ["picks.csv:3:id: 'a' is already in line 2"] == problems(f"id,mark,take\n{twice}")


@pytest.mark.parametrize("text", ["2", "final 0", "final -1", "final two", "take 1", "final 1 2"])
def test_what_is_no_take_is_a_problem_with_its_place(text: str) -> None:
    assert [f"picks.csv:2:take: {text!r} is not a take such as final 1 or draft 2"] == problems(
        f"id,mark,take\na,redo,{text}\n"
    )


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), unique_by=lambda pair: pair[0]))
def test_what_is_guarded_on_the_way_out_comes_back_exactly(pairs: list[tuple[str, str]]) -> None:
    pairs = [pair for pair in pairs if "".join(pair).isprintable()]
    out = io.StringIO(newline="")
    sheet = csv.writer(out, quoting=csv.QUOTE_ALL)
    sheet.writerow(["id", "mark", "note"])
    sheet.writerows([guarded(id), "keep", guarded(note)] for id, note in pairs)
    expected = [Pick(id, Mark.KEEP, note) for id, note in pairs]
    assert (expected, []) == parse_picks(out.getvalue().encode(), "picks.csv")


def test_every_problem_is_named_with_its_place() -> None:
    text = "id,mark,note\na,keep,\n,redo,x\nb,maybe,\na,reject,\n"
    assert [
        "picks.csv:3:id: is empty",
        "picks.csv:4:mark: 'maybe' is not one of keep, reject, redo",
        "picks.csv:5:id: 'a' is already in line 2",
    ] == problems(text)


def test_a_line_is_counted_where_it_begins_also_after_a_note_of_several() -> None:
    assert ["picks.csv:4:mark: 'x' is not one of keep, reject, redo"] == problems(
        'id,mark,note\na,keep,"1\n2"\nb,x,\n'
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\r\n,,\r\n", "is empty"),
        (b"name,choice\na,keep\n", "picks.csv:1: has no column id and no mark"),
        (b"id,note\na,keep\n", "picks.csv:1: has no column mark"),
        (b"id,mark\n\xe9,keep\n", "is not UTF-8"),
        (b"\xff\xfea", "is not UTF-8"),
        (b'id,mark\n"a,keep\n', "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_no_list_of_picks_says_why(data: bytes, words: str) -> None:
    found, wrong = parse_picks(data, "picks.csv")
    assert [] == found
    assert words in str(wrong[0])


def test_one_error_carries_all_problems_and_leads_back_to_the_page(tmp_path: Path) -> None:
    path = tmp_path / "picks.csv"
    path.write_text("id,mark\n,keep\nb,x\n")
    with pytest.raises(ManifestError, match="2 problems") as caught:
        read_picks(path)
    assert 2 == len(caught.value.problems)
    assert "report" in str(caught.value.hint)


def test_a_missing_file_is_an_error_of_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=os.strerror(errno.ENOENT)):
        read_picks(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_picks(tmp_path)


def test_a_note_of_any_length_is_read() -> None:
    long = "x" * 200_000
    assert [Pick("a", Mark.KEEP, long)] == parse_picks(
        f"id,mark,note\na,keep,{long}".encode(), "p"
    )[0]


@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_the_reading(data: bytes) -> None:
    parse_picks(data, "picks.csv")


@given(st.text(alphabet='id,mark\n\r";\t\x00=keep\ufeff', max_size=60))
def test_no_text_at_all_breaks_the_reading(text: str) -> None:
    parse_picks(("id,mark\n" + text).encode(), "picks.csv")
