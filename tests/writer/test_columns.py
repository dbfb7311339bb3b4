"""Our block of columns: laid out beside the person's, and found again in a header."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.columns import INPUT_COLUMNS, RESULT_COLUMNS, our_columns, result_columns


def header(person: list[str]) -> list[str]:
    return [*person, *(heading for _, heading in result_columns(person))]


def test_the_block_is_the_documented_one_where_nothing_clashes() -> None:
    assert [*zip(RESULT_COLUMNS, RESULT_COLUMNS, strict=True)] == result_columns(["shot", "prompt"])


def test_an_input_that_the_person_has_gets_no_second_column() -> None:
    names = [name for name, _ in result_columns(["ID", "prompt", "duration"])]
    assert [n for n in RESULT_COLUMNS if n not in {"id", "duration"}] == names


def test_an_input_under_another_heading_gets_no_second_column_either() -> None:
    names = [name for name, _ in result_columns(["prompt", "seconds"], {"duration"})]
    assert "duration" not in names


@pytest.mark.parametrize("heading", ["status", "Status", " STATUS ", "message", "row"])
def test_a_persons_column_keeps_its_name_and_ours_gets_the_prefix(heading: str) -> None:
    name = heading.strip().lower()
    assert (name, f"sb_{name}") in result_columns([heading])


def test_a_prefix_that_is_taken_is_set_again() -> None:
    assert ("status", "sb_sb_status") in result_columns(["status", "sb_status"])


def test_headings_are_compared_composed() -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    assert result_columns([decomposed]) == result_columns(["é"])


def test_a_persons_column_with_one_of_our_names_is_not_taken_for_ours() -> None:
    columns = header(["status", "id", "row", "prompt"])
    assert set(our_columns(columns)) == set(range(4, len(columns)))


def test_our_block_is_known_after_columns_were_deleted_and_added() -> None:
    columns = header(["status", "prompt"])
    columns = [c for c in columns if c not in {"sb_status", "video_url", "sha256"}]
    columns.insert(10, "my note")
    found = our_columns([*columns, "another note"])
    assert "status" not in found.values()
    assert {"my note", "another note", "status", "prompt"} == {
        c for i, c in enumerate([*columns, "another note"]) if i not in found
    }


def test_a_sheet_from_before_a_column_was_added_is_still_known() -> None:
    earlier = [n for n in RESULT_COLUMNS if n not in {"kind", "row_cost_usd"}]
    columns = ["kind", "prompt", "row_cost_usd", *earlier]
    assert set(our_columns(columns)) == set(range(3, len(columns)))


def test_an_input_moved_out_of_our_block_is_the_persons() -> None:
    columns = [c for c in header(["prompt"]) if c != "duration"]
    found = our_columns(["duration", *columns])
    assert 0 not in found


@pytest.mark.parametrize(
    "columns",
    [[], ["prompt"], ["id", "status", "duration", "message"], list(INPUT_COLUMNS), ["row"] * 40],
)
def test_other_manifests_are_not_ours(columns: list[str]) -> None:
    assert not our_columns(columns)


@given(st.lists(st.sampled_from([*RESULT_COLUMNS, "sb_row", "sb_status", "sb_duration", "prompt"])))
def test_the_block_is_found_whatever_the_person_has(person: list[str]) -> None:
    block = result_columns(person)
    columns = [*person, *(heading for _, heading in block)]
    assert [name for name, _ in block] == [
        name for i, name in our_columns(columns).items() if i >= len(person)
    ]
    assert len(block) == len(our_columns(columns))
