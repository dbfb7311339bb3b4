"""A selection names exactly the rows that were meant, or says why it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.attempt import ErrorClass, Phase
from seedance_batch.core.outcome import Outcome, Status
from seedance_batch.core.select import Selection, select
from seedance_batch.core.text import comma_parts, with_commas
from seedance_batch.errors import EmptySelection, UsageError
from tests.core.plan_builders import attempt, job

ROWS = [
    job(
        key,
        number,
        cells={"client": client, "Shot name": f"shot {number}", "status": "mine"},
        duration=3 + number,
    )
    for number, (key, client) in enumerate(
        [("a", "Acme"), ("b", "Bo"), ("c", "Acme"), ("d", "Bo"), ("e", "")], start=1
    )
]
PLAIN = [job("a", 1), job("b", 2)]


def chosen(**wanted: object) -> str:
    return "".join(select(ROWS, [], Selection(**wanted)))  # type: ignore[arg-type]


def test_without_a_wish_every_row_is_chosen() -> None:
    assert chosen() == "abcde"


@pytest.mark.parametrize(
    ("rows", "keys"),
    [
        ("1", "a"),
        ("5", "e"),
        ("2-4", "bcd"),
        ("1,3-4", "acd"),
        (" 4 - 5 , 1 ", "ade"),
        ("4-", "de"),
        ("-2", "ab"),
        ("4-99", "de"),
        ("2,2,2", "b"),
    ],
)
def test_rows_are_numbers_and_ranges_in_manifest_order(rows: str, keys: str) -> None:
    assert chosen(rows=rows) == keys


@pytest.mark.parametrize("rows", ["", "-", "a", "1,,2", "4-2", "0", "0-3", "6", "1-2-3", "1.5"])
def test_rows_that_make_no_sense_are_refused(rows: str) -> None:
    with pytest.raises(UsageError, match="--rows"):
        chosen(rows=rows)


def test_a_row_number_is_the_manifests_also_where_rows_are_missing() -> None:
    assert select([job("x", 7), job("y", 9)], [], Selection(rows="8-9")) == ("y",)


@given(st.lists(st.text("ab,\"' ", min_size=1).filter(lambda each: each.strip() == each)))
def test_ids_with_commas_and_quotes_are_read_as_they_were_listed(ids: list[str]) -> None:
    assert comma_parts(with_commas(ids)) == ids


def test_a_list_of_ids_is_read_as_people_type_it() -> None:
    assert comma_parts(' a, b ,, "c, at dusk",it\'s,') == ["a", "b", "c, at dusk", "it's"]


def test_ids_come_in_manifest_order() -> None:
    assert chosen(ids=["d", "a"]) == "ad"
    assert chosen(from_ids=["e"], ids=["e", "a"]) == "e"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"ids": ["shot"]}, "--ids: no row has the id shot; did you mean shots?"),
        ({"ids": ["x", "a"]}, "--ids: no row has the id x"),
        ({"from_ids": ["x", "y", "z"]}, r"--from: no row has the id x \(and 2 more\)"),
    ],
)
def test_an_id_that_is_not_there_is_an_error(wanted: dict[str, list[str]], message: str) -> None:
    rows = [*ROWS, job("shots", 6)]
    with pytest.raises(UsageError, match=message):
        select(rows, [], Selection(**wanted))  # type: ignore[arg-type]


def test_where_sees_the_persons_columns_and_hiapis_fields() -> None:
    assert chosen(where="client == 'Acme' and duration > 4") == "c"
    assert chosen(where="Shot_name == 'shot 2'") == "b"
    assert chosen(where="id in ('a', 'e') and resolution == '720p' and generate_audio") == "ae"
    assert chosen(where="model == 'seedance-2-0' and aspect_ratio == '16:9'") == "abcde"
    assert chosen(where="prompt like '%fox%' and seed is null and client != ''") == "abcd"


def test_a_heading_that_is_another_name_of_a_field_means_the_field() -> None:
    short = job("a", 1, cells={"Länge": "5 s"}, duration=5)
    long = job("b", 2, cells={"Länge": "8"}, duration=8)
    wanted = Selection(where="Länge > 5")
    assert select([short, long], [], wanted, {"Länge": "duration"}) == ("b",)


def test_a_heading_that_is_a_name_comes_before_one_that_is_made_into_it() -> None:
    rows = [job("a", 1, cells={"x_y": "1", "x y": "2"}), job("b", 2, cells={"x y": "1"})]
    assert select(rows, [], Selection(where="x_y == '1'")) == ("a",)


def test_a_heading_in_brackets_is_that_very_column() -> None:
    rows = [
        job("a", 1, cells={"Scene no.": "4", "Scene-no ": "5"}),
        job("b", 2, cells={"Scene no.": "5", "Scene-no ": "4"}),
    ]
    assert select(rows, [], Selection(where="[Scene no.] == '4'")) == ("a",)
    assert select(rows, [], Selection(where="[Scene no.] in ('5', '6')")) == ("b",)
    with pytest.raises(UsageError) as refused:
        select(rows, [], Selection(where="[Scene nr.] == '4'"))
    assert "[Scene no.], " in (refused.value.hint or "")
    assert "Scene_no" not in (refused.value.hint or "")


def test_where_sees_how_rows_stand() -> None:
    failed = attempt(PLAIN[1], Phase.FAILED, error=ErrorClass.REFUSED)
    standing = [
        Outcome("a", Status.DONE, None, attempt(PLAIN[0], Phase.DONE)),
        Outcome("b", Status.FAILED, None, failed),
    ]
    rows = [*PLAIN, job("c", 3)]

    def where(text: str) -> tuple[str, ...]:
        return select(rows, standing, Selection(where=text))

    assert where("status == 'failed'") == ("b",)
    assert where("status == 'new'") == ("c",)
    assert where("error_class == 'refused'") == ("b",)
    assert where("error_class is null") == ("a", "c")
    assert where("sb_status == 'done' and sb_error_class is null") == ("a",)


def test_a_column_called_status_is_the_persons_and_ours_has_its_other_name() -> None:
    assert chosen(where="status == 'mine' and sb_status == 'new'") == "abcde"


def test_an_unknown_column_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean client"):
        chosen(where="cliemt == 'Acme'")


def test_a_limit_takes_the_first_rows() -> None:
    assert chosen(limit=2) == "ab"
    assert chosen(limit=99) == "abcde"
    assert chosen(limit=1, where="client == 'Bo'") == "b"


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    rows = [job(f"r{n}", n) for n in range(1, 101)]
    first = select(rows, [], Selection(sample=10, sample_seed=1))
    assert first == select(rows, [], Selection(sample=10, sample_seed=1))
    assert set(first) == set(select(rows[::-1], [], Selection(sample=10, sample_seed=1)))
    assert first != select(rows, [], Selection(sample=10, sample_seed=2))
    assert len(select(rows, [], Selection(sample=10, limit=3))) == 3


@given(st.integers(1, 30), st.integers(), st.integers(1, 20))
def test_a_sample_has_its_size_and_keeps_the_order(size: int, seed: int, count: int) -> None:
    rows = [job(f"r{n:02}", n) for n in range(1, count + 1)]
    keys = select(rows, [], Selection(sample=size, sample_seed=seed))
    assert len(keys) == min(size, count)
    assert list(keys) == sorted(keys)


@pytest.mark.parametrize("wanted", [{"limit": 0}, {"limit": -1}, {"sample": 0}])
def test_less_than_one_row_cannot_be_asked_for(wanted: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        select(ROWS, [], Selection(**wanted))


@pytest.mark.parametrize(
    "wanted", [{"where": "client == 'Nobody'"}, {"ids": []}, {"rows": "1", "ids": ["b"]}]
)
def test_an_empty_selection_is_an_error_with_a_hint(wanted: dict[str, object]) -> None:
    with pytest.raises(EmptySelection) as empty:
        chosen(**wanted)
    assert empty.value.message == "The selection matches none of 5 rows."
    assert empty.value.hint
