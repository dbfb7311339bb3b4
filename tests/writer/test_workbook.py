"""The workbook: types, links, pictures, takes and summary, as other programs read them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote

import pandas
import pytest
from openpyxl import load_workbook
from openpyxl.worksheet.worksheet import Worksheet

from seedance_batch.clips.stills import poster, poster_name
from seedance_batch.core.columns import RESULT_COLUMNS, was_altered
from seedance_batch.core.outcome import Outcome, outcomes
from seedance_batch.reader.read import read_manifest
from seedance_batch.reader.source import ReadOptions
from seedance_batch.writer.files import write_sheets
from seedance_batch.writer.xlsx import MOST_POSTERS

from .office import converted
from .samples import PERSON, add_clips, attempt, clip, every_status, row, source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with every status, whose clips are there."""
    folder = tmp_path_factory.mktemp("run")
    found = every_status()
    add_clips(folder, found)
    write_sheets(source(folder, found))
    return folder


@pytest.fixture(scope="module")
def sheet(folder: Path) -> Worksheet:
    return load_workbook(folder / "results.xlsx")["results"]


def column(sheet: Worksheet, heading: str) -> list[object]:
    index = [cell.value for cell in sheet[1]].index(heading)
    return [line[index] for line in sheet.iter_rows(min_row=2)]


def values(sheet: Worksheet, heading: str) -> list[object]:
    return [cell.value for cell in column(sheet, heading)]


def written(folder: Path, found: list[Outcome], **more: object) -> Worksheet:
    write_sheets(source(folder, found, **more), only={"results.xlsx"})
    return load_workbook(folder / "results.xlsx")["results"]


def test_the_first_sheet_is_the_manifest_and_ours_follow(folder: Path, sheet: Worksheet) -> None:
    assert ["results", "takes", "summary"] == load_workbook(folder / "results.xlsx").sheetnames
    assert [*PERSON, *RESULT_COLUMNS] == [cell.value for cell in sheet[1]]


def test_the_failed_workbook_has_its_rows_only(folder: Path) -> None:
    book = load_workbook(folder / "failed.xlsx")
    assert ["failed"] == book.sheetnames
    assert ["failed", "ambiguous", "expired", "media_mismatch"] == values(book["failed"], "status")


def test_the_header_is_frozen_and_filters_cover_every_line(sheet: Worksheet) -> None:
    assert "B2" == sheet.freeze_panes
    assert f"A1:AF{sheet.max_row}" == sheet.auto_filter.ref


def test_pandas_reads_numbers_as_numbers_and_texts_as_texts(folder: Path) -> None:
    frame = pandas.read_excel(folder / "results.xlsx", engine="openpyxl")
    done = frame[frame["status"] == "done"].iloc[0]
    assert (6.0, 3, 5, 0.7125, 123456, 5.042) == tuple(
        done[c] for c in ("row", "attempts", "duration", "est_cost_usd", "bytes", "got_duration")
    )
    assert ("16:9", "720p", "2026-05-28T20:26:40Z") == tuple(
        done[c] for c in ("aspect_ratio", "resolution", "submitted_at")
    )
    assert ["results", "takes", "summary"] == list(
        pandas.read_excel(folder / "results.xlsx", sheet_name=None, engine="calamine")
    )


def test_a_persons_cells_stay_text_also_when_they_are_edited(tmp_path: Path) -> None:
    cells = {"shot": "007", "ratio": "16:9", "date": "2026-01-02", "formula": "=A1", "big": "1e9"}
    sheet = written(tmp_path, outcomes([row(1, **cells)], []), columns=list(cells))
    theirs = list(sheet[2])[: len(cells)]
    assert list(cells.values()) == [cell.value for cell in theirs]
    assert {("s", "@")} == {(cell.data_type, cell.number_format) for cell in theirs}
    assert "@" == sheet.column_dimensions["A"].number_format  # for the rows that they add


def test_a_persons_number_is_a_number_only_where_it_reads_back_as_the_same_text(
    tmp_path: Path,
) -> None:
    numbers = ["5", "0", "-3", "0.5", "12.75", "-0.25", "12345678901"]
    texts = ["007", "1e5", "5.0", "0.50", "-0", "+1", "1,5", ".5", "5.", "٣", " 5", "123456789012"]
    texts += ["0.0000001", "1_000", "inf", "nan", "0x10"]
    cells = {f"c{at}": text for at, text in enumerate(numbers + texts)}
    sheet = written(tmp_path, outcomes([row(1, **cells)], []), columns=list(cells))
    kinds = [cell.data_type for cell in sheet[2]][: len(cells)]
    assert ["n"] * len(numbers) + ["s"] * len(texts) == kinds
    read_back = read_manifest(tmp_path / "results.xlsx", ReadOptions(column_map={"prompt": "c7"}))
    assert cells == dict(read_back.jobs[0].row.cells)


def test_numbers_among_texts_stay_text_so_that_the_column_sorts(tmp_path: Path) -> None:
    rows = [row(n, scene=scene, take=take) for n, (scene, take) in enumerate(SCENES, 1)]
    sheet = written(tmp_path, outcomes(rows, []), columns=["scene", "take"])
    assert [scene for scene, _ in SCENES] == values(sheet, "scene")
    assert [1, None, 12] == values(sheet, "take")


SCENES = (("090", "1"), ("100", ""), ("110", "12"))


def test_columns_for_scripts_are_folded_away_and_come_back_with_a_click(sheet: Worksheet) -> None:
    headings = [str(cell.value) for cell in sheet[1]]
    grouped = [d for d in sheet.column_dimensions.values() if d.hidden]
    assert {1} == {group.outlineLevel for group in grouped}
    folded = {heading for d in grouped for heading in headings[d.min - 1 : d.max]}
    assert {"task_id", "video_url", "url_expires_at", "bytes", "sha256"} <= folded
    assert not folded & {*PERSON, "status", "message", "kind", "row_cost_usd", "video_file"}


def test_a_printed_sheet_is_one_page_wide_with_its_headings_on_every_page(sheet: Worksheet) -> None:
    setup = sheet.page_setup
    assert sheet.sheet_properties.pageSetUpPr.fitToPage
    assert ("landscape", 1, 0) == (setup.orientation, setup.fitToWidth or 1, setup.fitToHeight)
    assert "$1:$1" == sheet.print_title_rows


def test_money_is_a_number_with_its_currency(sheet: Worksheet) -> None:
    cell = column(sheet, "est_cost_usd")[1]
    assert 0.7125 == cell.value
    assert cell.number_format.startswith("$")


def test_statuses_differ_in_colour_and_troubled_ones_are_bold(sheet: Worksheet) -> None:
    looks = {cell.value: (cell.fill.fgColor.rgb, cell.font.b) for cell in column(sheet, "status")}
    assert 3 <= len({colour for colour, _ in looks.values()} - {"00000000"})
    assert {"failed", "ambiguous", "expired", "media_mismatch"} == {
        status for status, (_, bold) in looks.items() if bold
    }


def test_links_lead_from_the_sheet_to_the_clips(folder: Path, sheet: Worksheet) -> None:
    linked = [cell for cell in column(sheet, "video_file") if cell.hyperlink]
    assert 3 == len(linked)
    for cell in linked:
        target = unquote(cell.hyperlink.target).replace("\\", "/")
        assert cell.value == target
        assert (folder / target).is_file()


def test_links_survive_awkward_names(tmp_path: Path) -> None:
    of = row(1)
    name = "videos/100% é #1 [北] {x} %20.mp4"
    made = attempt(of, clip=clip(of).__class__(name, 1, "0" * 64, 5.0, 64, 64, True))
    sheet = written(tmp_path, outcomes([of], [made]))
    [cell] = column(sheet, "video_file")
    assert name == cell.value
    assert name == unquote(cell.hyperlink.target).replace("\\", "/")


def test_clips_show_their_poster(folder: Path, sheet: Worksheet) -> None:
    at = list(RESULT_COLUMNS).index("video_file") + len(PERSON)
    lines = [image.anchor._from.row for image in sheet._images]
    assert {at} == {image.anchor._from.col for image in sheet._images}
    assert ["done", "media_mismatch", "removed"] == [
        values(sheet, "status")[line - 1] for line in lines
    ]
    assert 3 == len(list((folder / "posters").iterdir()))


def test_a_damaged_clip_costs_its_picture_and_nothing_else(tmp_path: Path) -> None:
    found = outcomes([row(1)], [attempt(row(1))])
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/shot-01.mp4").write_bytes(b"not a film")
    sheet = written(tmp_path, found)
    assert ["videos/shot-01.mp4"] == values(sheet, "video_file")
    assert not sheet._images


def test_a_poster_is_made_once_and_again_for_another_clip_of_the_name(tmp_path: Path) -> None:
    found = outcomes([row(1)], [attempt(row(1))])
    add_clips(tmp_path, found)
    first = poster(tmp_path, clip(row(1)))
    assert first is not None
    stamp = first.stat().st_mtime_ns
    assert first == poster(tmp_path, clip(row(1)))
    assert stamp == first.stat().st_mtime_ns
    other = clip(row(1)).__class__("videos/shot-01.mp4", 1, "f" * 64, 5.0, 64, 64, True)
    assert poster_name(other) != poster_name(clip(row(1)))


def test_a_long_table_gets_no_pictures(tmp_path: Path) -> None:
    rows = [row(number) for number in range(1, MOST_POSTERS + 2)]
    found = outcomes(rows, [attempt(rows[0])])
    add_clips(tmp_path, found[:1])
    assert not written(tmp_path, found)._images


def test_takes_have_a_line_per_attempt_and_say_which_is_shown(folder: Path) -> None:
    takes = pandas.read_excel(folder / "results.xlsx", sheet_name="takes", engine="calamine")
    names = ["kind", "attempt", "status", "resolution", "shown"]
    lines = takes[takes["id"] == "shot-06"][names].fillna("").values.tolist()
    assert [
        ["final", 3, "failed", "720p", ""],
        ["final", 1, "done", "720p", "yes"],
        ["draft", 7, "done", "480p", ""],
    ] == lines
    assert 12 == len(takes)


def test_the_summary_adds_up(folder: Path) -> None:
    page = load_workbook(folder / "results.xlsx")["summary"]
    facts = {line[0]: line[1:] for line in page.iter_rows(values_only=True) if line[0]}
    money = json.loads((folder / "summary.json").read_text("utf-8"))["money"]
    assert str(folder) == facts["run folder"][0]
    assert "sandbox prices of 2026-05-28, no real money" == facts["prices"][0]
    assert (2, 10) == (facts["new"][0], facts["rows in the manifest"][0])
    for surety in ("settled", "reserved", "unknown"):
        assert Decimal(money[f"{surety}_usd"]) == Decimal(str(facts[surety][1]))


def test_a_text_too_long_for_a_cell_is_cut_with_a_mark(tmp_path: Path) -> None:
    text = "😀" * 20_000
    sheet = written(tmp_path, outcomes([row(1, prompt=text)], []), columns=["prompt"])
    cell = str(sheet["A2"].value)
    assert was_altered(cell)
    assert cell.startswith("😀" * 16_000)


def test_control_characters_are_spelled_as_workbooks_spell_them(tmp_path: Path) -> None:
    sheet = written(tmp_path, outcomes([row(1, prompt="a\x00b\x1b\r\n")], []), columns=["prompt"])
    assert "a_x0000_b_x001B__x000D_\n" == sheet["A2"].value


def test_a_table_too_wide_for_a_workbook_is_told_and_the_rest_is_written(tmp_path: Path) -> None:
    columns = [f"c{number}" for number in range(16_384)]
    done = write_sheets(source(tmp_path, outcomes([row(1, c1="x")], []), columns=columns))
    assert ("results.xlsx was not written: the table is too large for a workbook",) == done.notes
    assert {"results.csv", "results.jsonl", "summary.json"} == set(done.files)


def test_libreoffice_opens_it_with_types_and_links(folder: Path, tmp_path: Path) -> None:
    document = converted(folder / "results.xlsx", "fods", tmp_path / "office")
    assert "table:formula" not in document
    assert 'xlink:href="videos/shot-06.mp4"' in document or "/videos/shot-06.mp4" in document
    assert 'office:value="0.7125"' in document
    assert document.count("<draw:image") == 3
