"""Rows that are left out, and rows that are wanted several times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xlsxwriter

from seedance_batch.core.columns import RESULT_COLUMNS
from seedance_batch.core.manifest import Manifest, Severity
from seedance_batch.reader import expansion
from seedance_batch.reader.read import read_manifest
from seedance_batch.reader.source import ReadOptions


def read(folder: Path, text: str, name: str = "shots.csv") -> Manifest:
    (folder / name).write_text(text, encoding="utf-8")
    return read_manifest(folder / name)


def keys(manifest: Manifest) -> list[str]:
    return [job.key for job in manifest.jobs]


# ── skip ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", ["yes", "x", "TRUE", "1", "ja", "✓", "hold", "Skip", "是"])
def test_a_row_that_says_skip_is_left_out_and_counted(tmp_path: Path, word: str) -> None:
    found = read(tmp_path, f"id,prompt,skip\na,a calm lake,\nb,a calm sea,{word}\nc,a fox,no\n")

    assert keys(found) == ["a", "c"]
    assert found.findings == ()
    assert found.source["left out"] == "1 row by the column ‘skip’"


def test_a_word_that_says_neither_stops_the_whole(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, "id,Skip?,prompt\na,later,a calm lake\n").problems

    assert str(problem).startswith(
        "shots.csv:2:Skip?: ‘later’ does not say whether to skip the row: write yes or no"
    )


def test_problems_of_rows_that_are_skipped_are_none(tmp_path: Path) -> None:
    found = read(tmp_path, "id,prompt,duration,skip\na,a lake,4,\nb,,99,yes\na,a sea,4,yes\n")

    assert keys(found) == ["a"]
    assert found.problems == ()


def test_every_row_may_be_skipped(tmp_path: Path) -> None:
    found = read(tmp_path, "prompt,skip\na calm lake,x\n")

    assert (found.jobs, found.problems) == ((), ())


# ── variants ────────────────────────────────────────────────────────────────────────────────────


def test_takes_of_a_row_have_ids_and_seeds_as_those_of_yaml(tmp_path: Path) -> None:
    rows = "rows: [{id: a, prompt: a calm lake, seed: 7}, {id: b, prompt: a calm sea}]\n"
    yaml = read(tmp_path, f"variants: 3\n{rows}", "all.yaml")
    table = read(tmp_path, "id,prompt,seed,variants\na,a calm lake,7,3\nb,a calm sea,,3\n")

    assert [(j.key, j.content) for j in table.jobs] == [(j.key, j.content) for j in yaml.jobs]
    assert keys(table) == ["a", "a-2", "a-3", "b", "b-2", "b-3"]
    assert table.findings == ()


def test_more_takes_of_a_row_without_an_id_leave_the_others_who_they_are(tmp_path: Path) -> None:
    two = keys(read(tmp_path, "prompt,variants\na calm lake,2\na calm sea,\n"))
    three = keys(read(tmp_path, "prompt,variants\na calm lake,3\na calm sea,1\n"))

    assert set(two) < set(three)
    assert len(three) == 4


def test_an_id_column_that_is_mapped_numbers_its_takes(tmp_path: Path) -> None:
    (tmp_path / "shots.csv").write_text("Shot,prompt,variants\n1,a calm lake,2\n2,a calm sea,\n")
    found = read_manifest(tmp_path / "shots.csv", ReadOptions(column_map={"id": "Shot"}))

    assert keys(found) == ["1", "1-2", "2"]


def test_a_row_of_yaml_may_say_it_for_itself(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "variants: 2\nrows:\n- {id: a, prompt: a lake, variants: 3}\n- {id: b, prompt: a sea}\n"
        "- {id: c, prompt: a fox, skip: yes}\n",
        "shots.yaml",
    )

    assert keys(found) == ["a", "a-2", "a-3", "b", "b-2"]
    assert found.problems == ()


@pytest.mark.parametrize("text", ["0", "two", "1001", "-1", "2.5"])
def test_what_is_no_number_of_takes_is_a_problem(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, f"id,prompt,variants\na,a calm lake,2\nb,a calm sea,{text}\n")

    assert [str(p).split(" (")[0] for p in found.problems] == [
        f"shots.csv:3:variants: ‘{text}’ is not a number of takes from 1 to 1,000"
    ]


@pytest.mark.parametrize("text", ["0", "x2", "2x", "2 takes", "-1", "2,000"])
def test_a_column_whose_only_number_of_takes_cannot_be_read_is_no_column_of_names(
    tmp_path: Path, text: str
) -> None:
    (problem,) = read(tmp_path, f'id,prompt,variants\na,a calm lake,"{text}"\n').problems

    assert f"‘{text}’ is not a number of takes" in str(problem)


def test_numbers_that_a_data_frame_wrote_count_takes_and_seeds(tmp_path: Path) -> None:
    found = read(tmp_path, "id,prompt,variants,seed\na,a calm lake,2.0,7.0\nb,a calm sea,,\n")

    assert keys(found) == ["a", "a-2", "b"]
    assert [job.input.seed for job in found.jobs] == [7, 8, None]


def test_a_column_of_names_that_is_called_variants_is_the_persons_own(tmp_path: Path) -> None:
    found = read(tmp_path, "id,prompt,Variants\na,a calm lake,A/B\nb,a calm sea,\n")

    assert keys(found) == ["a", "b"]
    assert found.problems == ()


def test_too_many_takes_are_refused_before_they_are_made(tmp_path: Path) -> None:
    lines = "".join(f"a lake {n},1000\n" for n in range(101))
    (problem,) = read(tmp_path, f"prompt,variants\n{lines}").problems

    assert "variants make 101,000 rows; the limit is 100,000" in str(problem)


def test_a_long_manifest_without_takes_is_no_matter_of_that_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "MOST_ROWS", 3)
    lines = "".join(f"a lake {n}\n" for n in range(5))

    assert read(tmp_path, f"prompt\n{lines}").problems == ()


def test_rows_of_json_are_repeated_and_left_out_as_well(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "a calm lake", "variants": 2},
        {"id": "b", "prompt": "a calm sea", "skip": True},
    ]
    assert keys(read(tmp_path, json.dumps(rows), "shots.json")) == ["a", "a-2"]


def test_a_sheet_of_ours_is_not_multiplied_again(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        f"id,prompt,variants,{','.join(RESULT_COLUMNS)}\n"
        "a,a calm lake,2,1,a,failed\na-2,a calm lake,2,2,a-2,failed\n",
        "failed.csv",
    )
    assert found.source["own sheet"]
    assert keys(found) == ["a", "a-2"]


# ── hidden rows ─────────────────────────────────────────────────────────────────────────────────


def test_only_what_the_filter_shows_is_taken_where_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "shots.xlsx"
    with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
        sheet = book.add_worksheet("Shots")
        rows = (
            ("id", "prompt", "variants"),
            ("a", "a lake", ""),
            ("b", "a sea", "9"),
            ("c", "a fox", "2"),
        )
        for line, cells in enumerate(rows):
            sheet.write_row(line, 0, cells)
        sheet.set_row(2, None, None, {"hidden": True})

    shown = read_manifest(path, ReadOptions(visible=True))
    assert keys(shown) == ["a", "c", "c-2"]
    assert shown.findings == ()
    assert shown.source["left out"] == "1 row hidden in the workbook"

    (warning, *_) = (f for f in read_manifest(path).findings if f.severity is Severity.WARNING)
    assert str(warning) == (
        "shots.xlsx!Shots!3: is hidden in the workbook, but is sent like any other row "
        "(--visible leaves it out)"
    )


def test_a_table_that_cannot_hide_rows_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "shots.csv").write_text("prompt\na calm lake\n")
    found = read_manifest(tmp_path / "shots.csv", ReadOptions(visible=True))

    assert "--visible leaves none out" in str(found.findings[-1])


def test_what_a_workbook_does_not_show_is_sent_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "shots.xlsx"
    with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
        sheet = book.add_worksheet("Shots")
        for line, cells in enumerate([("prompt", "seconds", "note"), ("a lake", "9", "x")]):
            sheet.write_row(line, 0, cells)
        sheet.write_row(2, 0, ("a sea", "9", "y"))
        sheet.set_row(2, 0)
        sheet.set_column(1, 2, None, None, {"hidden": True})

    found = [str(f) for f in read_manifest(path).findings if f.severity is Severity.WARNING]
    assert found == [
        "shots.xlsx!Shots!3: is hidden in the workbook, but is sent like any other row "
        "(--visible leaves it out)",
        "shots.xlsx!Shots!B1: is hidden in the workbook, and is sent as the duration",
    ]
