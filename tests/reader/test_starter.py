"""A starter manifest can be run at once, and helps whoever fills it in."""

from __future__ import annotations

import stat
from pathlib import Path

import openpyxl
import pytest
from PIL import Image

from seedance_batch.cli.starter import write_starter
from seedance_batch.errors import UsageError
from seedance_batch.reader.read import read_manifest
from seedance_batch.reader.source import ReadOptions


@pytest.mark.parametrize("name", ["shots.csv", "shots.yaml", "shots.yml", "Shots.XLSX"])
def test_a_starter_has_three_rows_and_no_problem(tmp_path: Path, name: str) -> None:
    write_starter(tmp_path / name)
    manifest = read_manifest(tmp_path / name)

    assert manifest.findings == ()
    assert [job.key for job in manifest.jobs] == ["harbour-dawn", "market-story", "logo-loop"]
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o644


def test_the_starters_of_all_formats_order_the_same(tmp_path: Path) -> None:
    contents = []
    for name in ("a.csv", "a.yaml", "a.xlsx"):
        write_starter(tmp_path / name)
        contents.append([job.content for job in read_manifest(tmp_path / name).jobs])

    assert contents[0] == contents[1] == contents[2]


def test_the_workbook_guides_the_hand(tmp_path: Path) -> None:
    write_starter(tmp_path / "shots.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "shots.xlsx")["Shots"]
    heads = {cell.value: cell for cell in sheet[1]}
    rules = {str(rule.sqref): rule for rule in sheet.data_validations.dataValidation}
    of = {name: rules.get(f"{h.column_letter}2:{h.column_letter}1001") for name, h in heads.items()}

    assert {name: rule.type for name, rule in of.items() if rule} == {
        "prompt": "textLength",
        "aspect_ratio": "list",
        "duration": "whole",
        "resolution": "list",
        "generate_audio": "list",
    }
    assert "21:9" in of["aspect_ratio"].formula1
    assert sheet[f"{heads['aspect_ratio'].column_letter}2"].number_format == "@"
    assert [name for name, head in heads.items() if not head.comment] == ["note"]
    assert sheet.freeze_panes == "B2"


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.csv, \.yaml or \.xlsx"):
        write_starter(tmp_path / "shots.docx")
    with pytest.raises(UsageError, match="cannot write"):
        write_starter(tmp_path / "none" / "shots.csv")
    assert list(tmp_path.iterdir()) == []


# ── from pictures ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    sizes = {"shot 10.jpg": (1920, 1080), "shot 2.png": (720, 1280), "Ä.webp": (1000, 700)}
    for name, size in sizes.items():
        Image.new("RGB", size, "red").save(folder / name)
    (folder / "shot 2.jpg").write_bytes((folder / "shot 10.jpg").read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes((folder / "shot 2.png").read_bytes())
    return folder


@pytest.mark.parametrize("name", ["shots.csv", "shots.yaml", "shots.xlsx"])
def test_a_folder_of_pictures_gives_a_row_for_each(tmp_path: Path, frames: Path, name: str) -> None:
    assert write_starter(tmp_path / name, frames) == 4
    filled = {"prompt": "a calm lake"}
    manifest = read_manifest(tmp_path / name, ReadOptions(overrides=filled))

    assert [(job.key, job.input.aspect_ratio) for job in manifest.jobs] == [
        ("shot 2-png", "9:16"),
        ("shot 10", "16:9"),
        ("Ä", "adaptive"),
    ]
    assert all(job.input.first_frame_url for job in manifest.jobs)
    (damaged,) = manifest.problems
    assert "‘frames/shot 2.jpg’ is a damaged image" in str(damaged)


def test_its_prompts_are_to_be_written_before_anything_is_bought(
    tmp_path: Path, frames: Path
) -> None:
    write_starter(tmp_path / "shots.csv", frames)

    empty = [p for p in read_manifest(tmp_path / "shots.csv").problems if "is empty" in p.message]
    assert len(empty) == 4


def test_pictures_that_rows_could_not_name_are_refused(tmp_path: Path, frames: Path) -> None:
    (tmp_path / "inside").mkdir()
    with pytest.raises(UsageError, match="outside the manifest's folder"):
        write_starter(tmp_path / "inside" / "shots.csv", frames)
    with pytest.raises(UsageError, match="contains no picture"):
        write_starter(tmp_path / "shots.csv", tmp_path / "inside")
