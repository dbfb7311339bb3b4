"""What stands in the sheets, in which order, whatever the person's columns hold."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl import load_workbook
from pyarrow import parquet

from seedance_batch.core.attempt import Kind, Phase
from seedance_batch.core.columns import RESULT_COLUMNS, unguarded
from seedance_batch.core.outcome import Outcome, outcomes, spent_in_words, tally
from seedance_batch.page.page import page_rows
from seedance_batch.writer import files
from seedance_batch.writer.files import SHEETS, write_sheets

from .samples import PERSON, add_clips, attempt, clip, every_status, row, source


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *lines = csv.reader(file)
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_columns_have_types_and_are_kept_up_to_date_once_they_are_there(tmp_path: Path) -> None:
    found = outcomes([row(1), row(2)], [attempt(row(1))])
    write_sheets(source(tmp_path, found))
    assert not (tmp_path / "results.parquet").exists()
    write_sheets(source(tmp_path, found, columnar=True))
    (line, other) = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    plain = read_jsonl(tmp_path / "results.jsonl")[0]
    assert list(line) == list(plain)
    assert (line["row"], line["bytes"], line["attempts"]) == (1, plain["bytes"], 1)
    assert line["est_cost_usd"] == Decimal(plain["est_cost_usd"])
    assert line["submitted_at"] == datetime.fromisoformat(plain["submitted_at"])
    assert other["submitted_at"] is None
    write_sheets(source(tmp_path, found[:1]))
    assert parquet.read_table(tmp_path / "results.parquet").num_rows == 1


def test_columns_that_cannot_be_written_any_more_are_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_sheets(source(tmp_path, outcomes([row(1)], []), columnar=True))
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    again = source(tmp_path, outcomes([row(1)], []), written=written.hashes, columnar=True)
    assert "results.parquet" not in write_sheets(again).files
    assert not list(tmp_path.glob("*.parquet"))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def lines_of(folder: Path, found: list[Outcome], **more: Any) -> list[dict[str, Any]]:
    write_sheets(source(folder, found, **more), only={"results.jsonl"})
    return read_jsonl(folder / "results.jsonl")


def test_every_sheet_is_written_and_named(tmp_path: Path) -> None:
    written = write_sheets(source(tmp_path, every_status(), columnar=True))
    assert list(SHEETS) == list(written.files) == list(written.hashes)
    assert set(SHEETS) == {path.name for path in tmp_path.iterdir()}
    assert () == written.kept == written.siblings == written.notes


def test_only_the_sheets_asked_for_are_written(tmp_path: Path) -> None:
    write_sheets(source(tmp_path, every_status()), only={"results.csv"})
    assert ["results.csv"] == [path.name for path in tmp_path.iterdir()]


def test_the_persons_columns_come_first_then_ours_in_order(tmp_path: Path) -> None:
    write_sheets(source(tmp_path, every_status()))
    for lines in (read_csv(tmp_path / "results.csv"), read_jsonl(tmp_path / "results.jsonl")):
        assert [*PERSON, *RESULT_COLUMNS] == list(lines[0])


def test_rows_keep_manifest_order_and_removed_ones_come_last(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, every_status())
    assert [*range(1, 11), None] == [line["row"] for line in lines]
    assert ("removed", "old-shot") == (lines[-1]["status"], lines[-1]["id"])


def test_a_done_row_says_everything_about_its_clip(tmp_path: Path) -> None:
    of = row(1)
    [line] = lines_of(tmp_path, outcomes([of], [attempt(of)]))
    assert {
        "shot": "1",
        "prompt": "A cat, take 1",
        "client": "Acme",
        "row": 1,
        "id": "shot-01",
        "status": "done",
        "error_class": None,
        "reason": None,
        "message": None,
        "next_step": "",
        "attempts": 1,
        "task_id": "tk-hiapi-shot-01",
        "model": "seedance-2-0",
        "resolution": "720p",
        "duration": 5,
        "aspect_ratio": "16:9",
        "kind": "final",
        "est_cost_usd": "0.7125",
        "row_cost_usd": "0.7125",
        "charged": "yes",
        "video_file": "videos/shot-01.mp4",
        "last_frame_file": None,
        "video_url": "https://cdn.example/shot-01.mp4?sign=a1b2&expires=9",
        "url_expires_at": "2026-05-29T20:26:40Z",
        "media_ok": "yes",
        "got_duration": 5.042,
        "got_resolution": "1280x720",
        "bytes": 123456,
        "sha256": clip(of).sha256,
        "submitted_at": "2026-05-28T20:26:40Z",
        "finished_at": "2026-05-28T20:28:50Z",
        "made_from": None,
    } == line


def test_a_failed_row_says_why_and_what_next(tmp_path: Path) -> None:
    of = row(1)
    [line] = lines_of(tmp_path, outcomes([of], [attempt(of, Phase.FAILED)]))
    assert ("refused", "prompt") == (line["error_class"], line["reason"])
    assert "TASK_FAILED: the prompt was refused by moderation" == line["message"]
    assert "change the prompt, then run" == line["next_step"]
    assert "unknown" == line["charged"]


def test_the_line_shows_the_final_clip_and_the_rows_own_inputs_not_the_drafts(
    tmp_path: Path,
) -> None:
    of = row(1)
    draft = attempt(of, kind=Kind.DRAFT)
    [line] = lines_of(tmp_path, outcomes([of], [draft]))
    assert ("drafts/shot-01.mp4", "draft", "720p", 5) == (
        line["video_file"],
        line["kind"],
        line["resolution"],
        line["duration"],
    )
    final = attempt(of, number=2)
    [line] = lines_of(tmp_path, outcomes([of], [draft, final]))
    assert ("videos/shot-01.mp4", "final", 2) == (
        line["video_file"],
        line["kind"],
        line["attempts"],
    )


def test_the_rows_costs_add_up_to_what_status_summary_and_page_say(tmp_path: Path) -> None:
    edited, rerun, dear = row(1), row(2), row(3)
    found = outcomes(
        [replace(edited, content="as edited"), rerun, dear],
        [
            attempt(edited, kind=Kind.DRAFT, number=3, id=1, est_cost=Decimal("0.19")),
            attempt(edited, id=2),
            attempt(replace(edited, content="as edited"), Phase.IN_FLIGHT, number=2, id=3),
            attempt(rerun, Phase.FAILED, id=4),
            attempt(rerun, number=2, id=5),
            attempt(dear, est_cost=None, id=6),
            attempt(dear, Phase.PLANNED, number=2, id=7),
            attempt(row(9, key="old"), id=8),
        ],
    )
    lines = lines_of(tmp_path, found)
    costs = [line["row_cost_usd"] for line in lines]
    assert ["1.6150", "1.4250", None, "0.7125"] == costs
    total = sum(Decimal(cost) for cost in costs if cost)
    sums = tally(found)
    assert total == sum(part.amount for part in sums.money.parts.values())
    assert float(total) == sum(card.spent for card in page_rows(PERSON, found, {}))
    assert "$2.33 settled, earlier failed attempts: $0 to $0.71, $0.71 reserved" in spent_in_words(
        sums
    )
    write_sheets(source(tmp_path, found), only={"results.xlsx"})
    summary = load_workbook(tmp_path / "results.xlsx")["summary"].iter_rows(values_only=True)
    [(_, attempts, amount, _)] = [line for line in summary if line[0] == "total"]
    assert (7, float(total)) == (attempts, amount)


def test_a_price_is_plain_and_an_unknown_one_is_empty(tmp_path: Path) -> None:
    of, other = row(1), row(2)
    found = outcomes(
        [of, other], [attempt(of, est_cost=Decimal("1E-7")), attempt(other, est_cost=None)]
    )
    write_sheets(source(tmp_path, found))
    assert ["0.0000001", ""] == [r["est_cost_usd"] for r in read_csv(tmp_path / "results.csv")]


def test_inputs_that_the_person_has_are_theirs_alone(tmp_path: Path) -> None:
    of = row(1, id="a", prompt="A cat", Duration="", seconds="5")
    [line] = lines_of(tmp_path, outcomes([of], []), columns=list(of.cells))
    assert ("a", "") == (line["id"], line["Duration"])
    assert "duration" not in line


def test_a_removed_row_is_told_by_what_was_asked_for(tmp_path: Path) -> None:
    old = row(9, key="old", id="old", prompt="A dog", resolution="720p", note="mine")
    found = outcomes([], [attempt(old)])
    [line] = lines_of(tmp_path, found, columns=["id", "prompt", "resolution", "note"])
    assert ["old", "A dog", "720p", ""] == [line[c] for c in ("id", "prompt", "resolution", "note")]


def test_an_error_page_becomes_one_short_line(tmp_path: Path) -> None:
    of = row(1)
    page = "<html>\r\n\t<b>502</b>\x1b[31m \x00" + "x" * 9_000
    [line] = lines_of(tmp_path, outcomes([of], [attempt(of, Phase.FAILED, error_message=page)]))
    assert line["message"].startswith(r"TASK_FAILED: <html> <b>502</b>\x1b[31m \x00xxx")
    assert 1_001 == len(line["message"])


def test_failed_sheets_hold_only_rows_that_need_a_person(tmp_path: Path) -> None:
    write_sheets(source(tmp_path, every_status()))
    statuses = [line["status"] for line in read_csv(tmp_path / "failed.csv")]
    assert ["failed", "ambiguous", "expired", "media_mismatch"] == statuses


def test_failed_sheets_go_when_nothing_needs_a_person(tmp_path: Path) -> None:
    written = write_sheets(source(tmp_path, every_status()))
    done = outcomes([row(1)], [attempt(row(1))])
    written = write_sheets(source(tmp_path, done, written=written.hashes))
    assert {"results.csv", "results.xlsx", "results.jsonl", "summary.json"} == {
        path.name for path in tmp_path.iterdir()
    }
    assert () == written.kept


def test_summary_json_counts_rows_money_and_files(tmp_path: Path) -> None:
    found = every_status()
    write_sheets(source(tmp_path, found, columnar=True))
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert (2, "storyboard", 10, 5) == (
        summary["version"],
        summary["manifest"],
        summary["rows"],
        summary["exit_code"],
    )
    assert {"new": 2, "done": 1, "removed": 1}.items() <= summary["statuses"].items()
    money = {"settled_usd": "3.7625", "settled_attempts": 6, "unpriced_attempts": 0}
    assert money.items() <= summary["money"].items()
    assert {name: name for name in SHEETS if name != "summary.json"} == summary["files"]


def test_the_commands_own_exit_code_stands_in_the_summary(tmp_path: Path) -> None:
    write_sheets(source(tmp_path, [], exit_code=6))
    assert 6 == json.loads((tmp_path / "summary.json").read_text("utf-8"))["exit_code"]


def test_the_same_outcomes_give_the_same_bytes(tmp_path: Path) -> None:
    found = every_status()
    add_clips(tmp_path, found)
    first = write_sheets(source(tmp_path, found))
    for path in first.files.values():
        path.unlink()
    assert first.hashes == write_sheets(source(tmp_path, found)).hashes


CELLS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("'=+-@\t\r\n\",; a", max_size=9)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    columns = draw(st.lists(CELLS, min_size=1, max_size=5, unique=True))
    rows = draw(st.lists(st.lists(CELLS, min_size=len(columns), max_size=len(columns)), max_size=5))
    return columns, rows


@given(tables())
@example((["status", "row", "sb_row", "=x"], [["'=a", '"', "\r", "\x00"]]))
def test_the_persons_columns_come_back_byte_for_byte(
    table: tuple[list[str], list[list[str]]],
) -> None:
    columns, rows = table
    found = outcomes(
        [
            replace(row(n), cells=dict(zip(columns, cells, strict=True)))
            for n, cells in enumerate(rows, 1)
        ],
        [],
    )
    width = len(columns)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_sheets(source(folder, found, columns=columns), only={"results.csv", "results.jsonl"})
        lines = read_jsonl(folder / "results.jsonl")
        with (folder / "results.csv").open(encoding="utf-8-sig", newline="") as file:
            sheet = [[unguarded(cell) for cell in line[:width]] for line in csv.reader(file)]
    assert rows == [list(line.values())[:width] for line in lines]
    assert [columns, *rows] == sheet


@pytest.mark.parametrize("half", ["\ud800", "a\udfffb"])
def test_half_a_surrogate_pair_is_lossless_in_jsonl_and_shown_elsewhere(
    tmp_path: Path, half: str
) -> None:
    found = outcomes([row(1, prompt=half)], [])
    write_sheets(source(tmp_path, found, columns=["prompt"]))
    assert half == read_jsonl(tmp_path / "results.jsonl")[0]["prompt"]
    shown = half.encode("utf-8", "backslashreplace").decode()
    assert shown == read_csv(tmp_path / "results.csv")[0]["prompt"]
