"""A sheet that is edited in one cell and fed back is that one change, and nothing else."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from openpyxl import load_workbook

from seedance_batch.batch.batch import row_record
from seedance_batch.core.attempt import Phase
from seedance_batch.core.manifest import Manifest
from seedance_batch.core.outcome import outcomes
from seedance_batch.reader.read import read_manifest
from seedance_batch.reader.source import ReadOptions
from seedance_batch.writer.files import write_sheets

from .samples import attempt, row, source

MANIFESTS = {
    "plain.csv": (
        "shot,prompt,status,duration,note\r\n"
        "1,A cat on a roof,mine,5,=1+1\r\n"
        '2,"- a dog\r\nruns, ""fast""",,4,-3.5\r\n'
        "3,'=quoted by hand,,6,'=x\r\n"
        "4,清晨的茶园，薄雾,open,,@you\r\n"
        "5,A cat on a roof,again,5,\r\n"
    ),
    "ids.csv": (
        "row,id,seconds,ratio,prompt,generate_audio,seed\r\n"
        "a,one,5,16:9,A cat on a roof,false,7\r\n"
        "b,two,4,9:16,A dog,true,\r\n"
        "c,three,15,1:1,=SUM(A1:A9) on a board,no,9\r\n"
        "d,four,6,21:9,A bird,,\r\n"
        "e,five,6,4:3,A fish,,\r\n"
    ),
    "defaults.yaml": (
        "defaults: {generate_audio: false, resolution: 480p, duration: 4}\n"
        "rows:\n"
        "  - {shot: 007, prompt: 'A cat on a roof'}\n"
        "  - {shot: 008, prompt: 'A dog', aspect_ratio: 9:16}\n"
        '  - {shot: 009, prompt: "one\\n\\nthree\\t", duration: 6}\n'
        "  - {shot: 010, prompt: 'A bird', client: Acme}\n"
        "  - {shot: 011, prompt: 'A fish', seed: 3}\n"
    ),
}


@pytest.fixture(params=MANIFESTS)
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Manifest:
    path = tmp_path / request.param
    path.write_bytes(MANIFESTS[request.param].encode())
    return good(path)


@pytest.fixture
def folder(tmp_path: Path, manifest: Manifest) -> Path:
    """Its run folder: the second and the fourth row failed, and a row was removed."""
    folder = tmp_path / "run"
    folder.mkdir()
    rows = [row_record(job) for job in manifest.jobs]
    phases = [Phase.DONE, Phase.FAILED, Phase.DONE, Phase.FAILED, Phase.IN_FLIGHT]
    attempts = [attempt(of, phase) for of, phase in zip(rows, phases, strict=True)]
    found = outcomes(rows, [*attempts, attempt(row(50, key="removed"))])
    write_sheets(
        source(
            folder,
            found,
            columns=manifest.columns,
            given_inputs=manifest.given_inputs,
            columnar=True,
        )
    )
    return folder


def good(path: Path) -> Manifest:
    manifest = read_manifest(path, ReadOptions())
    assert () == manifest.problems
    return manifest


def orders(manifest: Manifest) -> dict[str, str]:
    """Row key → content hash: what would be new money where it differs."""
    return {job.key: job.content for job in manifest.jobs}


def edit(path: Path, line: int, heading: str, text: str) -> None:
    """Change one cell, as a spreadsheet program would."""
    if path.suffix == ".xlsx":
        book = load_workbook(path)
        sheet = book.worksheets[0]
        headings = [cell.value for cell in sheet[1]]
        sheet.cell(line + 1, headings.index(heading) + 1).value = text
        book.save(path)
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    lines[line][lines[0].index(heading)] = text
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(lines)


RESULTS = ["results.csv", "results.xlsx", "results.jsonl", "results.parquet"]
FAILED = ["failed.csv", "failed.xlsx"]


@pytest.mark.parametrize("name", RESULTS)
def test_results_fed_back_are_the_same_orders_and_columns(
    manifest: Manifest, folder: Path, name: str
) -> None:
    again = good(folder / name)
    assert orders(manifest) == orders(again)
    assert manifest.columns == again.columns
    assert [job.row.cells for job in manifest.jobs] == [job.row.cells for job in again.jobs]


@pytest.mark.parametrize("name", ["results.csv", "results.xlsx"])
@pytest.mark.parametrize("heading", ["prompt", "aspect_ratio"])
def test_one_edited_cell_is_one_changed_order(
    manifest: Manifest, folder: Path, name: str, heading: str
) -> None:
    if heading == "aspect_ratio" and "ratio" in manifest.columns:
        heading = "ratio"
    edit(folder / name, 3, heading, "3:4")
    before, after = orders(manifest), orders(good(folder / name))
    keys = list(before)
    assert keys == list(after)
    assert [keys[2]] == [key for key in keys if before[key] != after[key]]


@pytest.mark.parametrize("name", FAILED)
def test_an_edited_failed_sheet_is_its_rows_with_one_change(
    manifest: Manifest, folder: Path, name: str
) -> None:
    edit(folder / name, 2, "prompt", "A better one")
    before, after = orders(manifest), orders(good(folder / name))
    keys = list(before)
    assert [keys[1], keys[3]] == list(after)
    assert [keys[3]] == [key for key in after if before[key] != after[key]]


def test_a_cell_that_a_workbook_could_not_hold_is_never_taken_for_the_input(tmp_path: Path) -> None:
    found = outcomes([row(1, prompt="<r>\n</r>")], [])
    write_sheets(source(tmp_path, found, columns=["prompt"]))
    assert read_manifest(tmp_path / "results.xlsx").problems
    assert not read_manifest(tmp_path / "results.csv").problems
