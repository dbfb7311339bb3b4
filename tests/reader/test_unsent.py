"""Columns that are not sent and seem to say something about the clip are warned of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from seedance_batch.core.manifest import Severity
from seedance_batch.reader.read import read_manifest
from seedance_batch.reader.source import ReadOptions


def warned(folder: Path, heading: str, values: Sequence[str], **options: str) -> list[str]:
    """What is said of a column of that heading."""
    lines = [f'"a lake, number {n}","{value}"' for n, value in enumerate(values)]
    path = folder / "shots.csv"
    path.write_text("\n".join([f"prompt,{heading}", *lines]), encoding="utf-8")
    found = read_manifest(path, ReadOptions(overrides=options)).findings
    return [str(f) for f in found if f.severity is Severity.WARNING]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("aspect_ratio", ["9:16", "9:16"]),
        ("aspect_ratio", ["16x9", "", "vertical"]),
        ("aspect_ratio", ["2.39:1", "4:5"]),
        ("aspect_ratio", ["16 : 9", "9 / 16"]),
        ("resolution", ["1080p", "720"]),
        ("resolution", ["1920x1080", "4K"]),
        ("resolution", ["Full HD", "HD"]),
        ("duration", ["5s", "10 sec"]),
        ("duration", ["12", "8", "12"]),
        ("duration", ["0:05", "0:08"]),
        ("duration", ["4-5 s", "6 Sekunden"]),
        ("model", ["Seedance 1.0 Pro", "Seedance 2.0"]),
        ("first_frame_url", ["plates/a b.jpg", "C.PNG"]),
    ],
)
def test_a_column_is_known_by_its_values_whatever_its_heading(
    tmp_path: Path, field: str, values: list[str]
) -> None:
    (said,) = warned(tmp_path, "Deliver as", values)

    assert said.startswith("shots.csv:1:Deliver as: is not sent, but seems to contain")
    assert said.endswith(f"(rename it, or use --map {field}='Deliver as')")


@pytest.mark.parametrize(
    "values",
    [
        ["1.1", "1.2", "2.1"],
        ["4", "4", "5", "6"],
        ["00:00:05", "00:00:09", "00:00:12"],
        ["1/2", "2/2"],
        ["10:30", "14:00"],
        ["16:9 and 9:16", "9:16"],
        ["", ""],
        ["5", "30"],
    ],
)
def test_numbers_of_shots_scenes_and_time_codes_are_left_in_peace(
    tmp_path: Path, values: list[str]
) -> None:
    assert warned(tmp_path, "Deliver as", values) == []


def test_nothing_is_said_of_what_a_flag_sets_for_every_row(tmp_path: Path) -> None:
    assert warned(tmp_path, "Format", ["9:16", "1:1"], aspect_ratio="1:1") == []


def test_a_column_of_the_right_name_that_is_empty_says_nothing(tmp_path: Path) -> None:
    (said,) = warned(tmp_path, "aspect_ratio,Format", ['","9:16', '","1:1'])

    assert "--map aspect_ratio=Format" in said


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("table", "offered"),
    [
        ("Shot no.,prompt\n1.1,a lake\n1.2,a sea\n", "'Shot no.'"),
        ("Due date,Clip,prompt\n1 May,hero,a lake\n2 May,end,a sea\n", "Clip"),
        ("Shot no.,prompt\n1.1,a lake\n1.1,a sea\n", None),
        ("Shot no.,prompt\n1.1,a lake\n,a sea\n", None),
        ("Due date,prompt\n1 May,a lake\n2 May,a sea\n", None),
        ("Shot no.,id,prompt\n1.1,a,a lake\n1.2,,a sea\n", None),
        ("Shot no.,prompt\n1.1,a lake\n", None),
    ],
)
def test_a_column_that_would_serve_as_ids_is_offered(
    tmp_path: Path, table: str, offered: str | None
) -> None:
    (tmp_path / "shots.csv").write_text(table)
    said = read_manifest(tmp_path / "shots.csv").source.get("ids")

    way = f"none; --map id={offered} names the rows by that column"
    assert said == (offered and way)
