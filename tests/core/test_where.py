"""``--where`` is SQL's WHERE over a manifest's rows, and can do nothing else."""

from __future__ import annotations

import sqlite3
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.select import LONGEST_CONDITION, SqlColumn, as_name, as_written, matching
from seedance_batch.errors import UsageError

COLUMNS = {
    "client": SqlColumn(["Acme", "Bo", ""]),
    "Scene no.": SqlColumn(["4", "05", "10"]),
    "Price (€)": SqlColumn(["9.50", "", "100"]),
    "Notes": SqlColumn(["7", "tbd", "n/a"]),
    "Größe": SqlColumn(["XL", "xl", "S"]),
    "case": SqlColumn(["a", "b", "c"]),
    "id": SqlColumn(["1", "01", "1.0"], is_text=True),
    "prompt": SqlColumn(["a cat on a mat", "it's a dog", "100"], is_text=True),
    "duration": SqlColumn([10, 5, 4]),
    "seed": SqlColumn([None, 7, 0]),
    "generate_audio": SqlColumn([True, False, None]),
}


def rows(condition: str) -> list[int]:
    return sorted(matching(condition, COLUMNS))


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("client = 'Acme'", [0]),
        ("client == 'Acme' and duration > 4", [0]),
        ("client <> 'Acme' or duration = 10", [0, 1, 2]),
        ("client = ''", [2]),
        ("client != ''", [0, 1]),
        ("client in ('Acme', 'Bo')", [0, 1]),
        ('client = "Acme"', [0]),
        ("client like 'a%'", [0]),
        ("not client = 'Bo'", [0, 2]),
        ("4 < duration and duration <= 10", [0, 1]),
        ("duration between 4 and 5", [1, 2]),
        ("seed is null", [0]),
        ("seed > 3 or seed <= 3", [1, 2]),
        ("generate_audio", [0]),
        ("generate_audio = false", [1]),
        ("generate_audio == True", [0]),
        ("prompt like '%cat%' or prompt = 'it''s a dog'", [0, 1]),
        ("length(prompt) < 5", [2]),
        ("upper(client) = 'BO'", [1]),
        ("lower(größe) = 'xl'", [0, 1]),
        ("Client = 'Acme'", [0]),
        ("[case] = 'b'", [1]),
        ("case when duration > 5 then true else false end", [0]),
        ("duration % 2 = 0", [0, 2]),
        ("(client = 'Bo' or client = '') and not (duration < 5)", [1]),
    ],
)
def test_a_condition_is_sqls(condition: str, found: list[int]) -> None:
    assert rows(condition) == found


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("[Scene no.] == '4'", [0]),
        ("[Scene no.] = 5", [1]),
        ("[Scene no.] > 4", [1, 2]),
        ("[ scene NO. ] in ('4', '10')", [0, 2]),
        ("Scene_no_ >= 10", [2]),
        ("[Price (€)] > 20", [2]),
        ("[Price (€)] < 20", [0]),
        ("[Price (€)] is null", [1]),
        ("Notes = '7'", [0]),
        ("Notes > 'o'", [1]),
    ],
)
def test_a_persons_column_compares_as_numbers_where_all_of_it_is_numbers(
    condition: str, found: list[int]
) -> None:
    assert rows(condition) == found


def test_an_id_is_a_text_also_where_it_looks_like_a_number() -> None:
    assert rows("id = '1'") == [0]
    assert rows("id in ('01', '1.0')") == [1, 2]


def test_a_number_too_long_to_be_one_stays_a_text() -> None:
    columns = {"code": SqlColumn(["12345678901234567890", "12345678901234567891"])}
    assert matching("code = '12345678901234567891'", columns) == {1}


# ── what is refused, and where ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("cleint = 'a'", "character 1: there is no column cleint; did you mean client?"),
        ("   cleint = 'a'", "character 4: there is no column cleint"),
        ("client = 'a' and xyzzy = 1", "character 18: there is no column xyzzy"),
        ("[Scene nr.] = 4", "character 1: there is no column Scene nr.; did you mean [Scene no.]?"),
        ("Notes > 5", "Notes is compared with a number, but row 2 of the manifest has 'tbd'"),
        ("client = 'a' and 5 <= [Notes]", "has 'tbd' there"),
        ("seed = None", "character 8: write None as null, as in: seed is null"),
        ("client = 'a", 'character 10: "\'" is not understood here'),
        ("[Scene no. = 4", "character 1: '[' is not understood here"),
        ("client = 'a'; drop table rows", "character 13: ';' is not understood here"),
        ("duration >", "not an SQL condition: duration >"),
        ("", "not an SQL condition"),
    ],
)
def test_a_mistake_is_named_with_its_place(condition: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        rows(condition)
    assert message in refused.value.message
    assert refused.value.hint


HOSTILE = [
    "__import__('os').system('touch pwned')",
    "load_extension('pwned')",
    "writefile('pwned', 'x')",
    "readfile('/etc/passwd') != ''",
    "randomblob(1000000000) = 1",
    "zeroblob(1000000000) = 1",
    "printf('%1000000000d', 1) = ''",
    "sqlite_version() = '3'",
    "random() > 0",
    "1) union select 1 --",
    "1) union select 1 /*",
    "(select count(*) from rows) > 1",
    "exists (select 1)",
    "(with recursive r(x) as (select 1 union all select x + 1 from r) select max(x) from r) > 1",
    "attach 'pwned' as p",
    "1; attach 'pwned' as p",
    "pragma writable_schema = 1",
    "sqlite_master = 1",
    "rowid = 1",
    "position = 1",
    "c0 = 'Acme'",
    "rows = 1",
    "? = 1",
    ":name = 1",
    "@name = 1",
    "$name = 1",
    "`client` = 'Acme'",
    "client -> '$' = 1",
    "x'00' = 1",
    "0x10 = 16",
    "1e999 > 0",
    "cast(client as integer) = 0",
    "client collate reverse = 'a'",
    "client match 'a'",
    "client regexp 'a'",
    "raise(fail, 'x')",
    "\0",
    "client = '\ud800'",
    "(" * 900 + "1",
    "a" * (LONGEST_CONDITION + 1),
]


@pytest.mark.parametrize("condition", HOSTILE)
def test_a_hostile_condition_is_refused(condition: str) -> None:
    with pytest.raises(UsageError):
        rows(condition)


@given(st.text(alphabet=string.printable, max_size=60) | st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(condition: str) -> None:
    try:
        found = matching(condition, COLUMNS)
    except UsageError:
        return
    assert found <= {0, 1, 2}


CELLS = st.fixed_dictionaries(
    {
        "client": st.sampled_from(["a", "b"]),
        "duration": st.integers(1, 5),
        "generate_audio": st.booleans(),
        "seed": st.integers(0, 3),
    }
)
CONDITIONS = st.recursive(
    st.sampled_from(["client == 'a'", "duration > 3", "generate_audio", "seed in (1, 2)"]),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not {}".format, inner),
    ),
    max_leaves=8,
)


@given(CONDITIONS, st.lists(CELLS, min_size=1, max_size=4))
def test_where_all_is_filled_conditions_mean_what_python_means(
    condition: str, given_rows: list[dict[str, object]]
) -> None:
    columns = {name: SqlColumn([row[name] for row in given_rows]) for name in given_rows[0]}  # type: ignore[misc]
    expected = {
        at
        for at, row in enumerate(given_rows)
        if eval(condition, {"__builtins__": {}}, row)  # noqa: S307 - texts made above
    }
    assert matching(condition, columns) == expected


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("client", "client"),
        (" Client name ", "Client_name"),
        ("2nd take", "_2nd_take"),
        ("cost ($)", "cost____"),
        ("客户", "客户"),
        ("ﬁlm", "film"),
        ("", "_"),
    ],
)
def test_every_column_can_be_written_as_one_word(heading: str, name: str) -> None:
    assert as_name(heading) == name


def test_a_column_named_like_a_word_of_sql_is_shown_in_brackets() -> None:
    assert [as_written(name) for name in ("client", "case", "Scene no.")] == [
        "client",
        "[case]",
        "[Scene no.]",
    ]


def test_two_columns_that_differ_in_capitals_are_two() -> None:
    columns = {"Take": SqlColumn(["1", "2"]), "take": SqlColumn(["2", "1"])}
    assert matching("Take = 1", columns) == {0}
    assert matching("take = 1", columns) == {1}


def test_this_sqlite_knows_true_and_false() -> None:
    assert sqlite3.sqlite_version_info >= (3, 23)
