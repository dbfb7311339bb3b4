"""A starter manifest can be run at once, and helps whoever fills it in."""

from __future__ import annotations

import stat
from pathlib import Path

import openpyxl
import pytest

from seedance_batch.errors import UsageError
from seedance_batch.reader import read
from seedance_batch.starter import COLUMNS, write_starter


@pytest.mark.parametrize("name", ["shots.csv", "shots.yaml", "shots.yml", "Shots.XLSX"])
def test_a_starter_has_three_rows_and_no_problem(tmp_path: Path, name: str) -> None:
    write_starter(tmp_path / name)
    manifest = read(tmp_path / name)

    assert manifest.findings == ()
    assert [job.key for job in manifest.jobs] == ["harbour-dawn", "market-story", "logo-loop"]
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644


def test_the_starters_of_all_formats_order_the_same(tmp_path: Path) -> None:
    contents = []
    for name in ("a.csv", "a.yaml", "a.xlsx"):
        write_starter(tmp_path / name)
        contents.append([job.content for job in read(tmp_path / name).jobs])

    assert contents[0] == contents[1] == contents[2]


def test_the_workbook_guides_the_hand(tmp_path: Path) -> None:
    write_starter(tmp_path / "shots.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "shots.xlsx")["Shots"]
    rules = {str(rule.sqref): rule for rule in sheet.data_validations.dataValidation}
    kinds = {
        letter_of(name): rules[f"{letter_of(name)}2:{letter_of(name)}1001"].type
        for name in ("aspect_ratio", "resolution", "generate_audio", "duration", "prompt")
    }

    assert set(kinds.values()) == {"list", "whole", "textLength"}
    assert "21:9" in rules[f"{letter_of('aspect_ratio')}2:{letter_of('aspect_ratio')}1001"].formula1
    assert sheet[f"{letter_of('aspect_ratio')}2"].number_format == "@"
    assert all(sheet[f"{letter_of(name)}1"].comment for name in COLUMNS if name != "note")
    assert sheet.freeze_panes == "B2"


def letter_of(name: str) -> str:
    return "ABCDEFGHIJ"[COLUMNS.index(name)]


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none of \.csv, \.yaml and \.xlsx"):
        write_starter(tmp_path / "shots.docx")
    with pytest.raises(UsageError, match="cannot write"):
        write_starter(tmp_path / "none" / "shots.csv")
    assert list(tmp_path.iterdir()) == []
