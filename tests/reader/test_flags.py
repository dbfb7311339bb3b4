"""What flags change in every row: what is sent, never who a row is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from seedance_batch.core.manifest import Manifest
from seedance_batch.core.model import Allow
from seedance_batch.errors import UsageError
from seedance_batch.reader.read import grouped, read_manifest
from seedance_batch.reader.source import ReadOptions

SHOTS = "id,prompt,duration,resolution\nhero,A lamp wakes,5,720p\n,A cat walks,,\n,A cat walks,,\n"


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    path = tmp_path / "shots.csv"
    path.write_text(SHOTS, encoding="utf-8")
    return path


def keys(manifest: Manifest) -> list[str]:
    return [job.key for job in manifest.jobs]


def test_set_changes_what_is_sent_and_no_key(shots: Path) -> None:
    plain = read_manifest(shots)
    draft = read_manifest(shots, ReadOptions(overrides={"resolution": "480p", "duration": "4.0"}))

    assert {(j.input.resolution, j.input.duration) for j in draft.jobs} == {("480p", 4)}
    assert keys(draft) == keys(plain)
    assert {job.content for job in draft.jobs}.isdisjoint(job.content for job in plain.jobs)
    assert [job.row.cells for job in draft.jobs] == [job.row.cells for job in plain.jobs]


def test_set_to_what_the_rows_say_changes_nothing(shots: Path) -> None:
    options = ReadOptions(overrides={"generate_audio": "yes"}, model=" seedance-2.0 ")
    again = read_manifest(shots, options)

    assert [job.content for job in again.jobs] == [job.content for job in read_manifest(shots).jobs]
    assert {job.model for job in again.jobs} == {"seedance-2.0"}


def test_an_empty_set_takes_a_field_away(shots: Path) -> None:
    first = read_manifest(shots, ReadOptions(overrides={"duration": ""})).jobs[0]

    assert "duration" not in first.input.model_fields_set
    assert first.key == "hero"


def test_what_a_flag_sets_is_checked_like_a_cell(shots: Path) -> None:
    overrides = {"duration": "3", "ratio": "1:1", "id": "x", "resolution": "720i", "promt": "abc"}

    assert grouped(read_manifest(shots, ReadOptions(overrides=overrides)).problems) == [
        "--set:ratio: is not an input field; did you mean aspect_ratio?",
        "--set:id: is each row's own",
        "--set:resolution: ‘720i’ is not one of 480p, 720p, 1080p",
        "--set:promt: is not an input field; did you mean prompt?",
        "shots.csv:2:duration and lines 3, 4: ‘3’ is not 4 to 15 (whole seconds)",
    ]


def test_a_flag_mends_a_cell_that_could_not_be_sent(tmp_path: Path) -> None:
    path = tmp_path / "shots.csv"
    path.write_text("prompt,resolution,first_frame_url\nA lamp wakes,4k,none.png\n")
    assert len(read_manifest(path).problems) == 2

    mended = read_manifest(
        path, ReadOptions(overrides={"resolution": "480p", "first_frame_url": ""})
    )

    assert mended.problems == ()
    assert mended.jobs[0].media == ()


def test_a_flag_may_name_a_file(tmp_path: Path) -> None:
    Image.new("RGB", (640, 360)).save(tmp_path / "a.png")
    path = tmp_path / "shots.csv"
    path.write_text("prompt\nA lamp wakes\n")

    (framed,) = read_manifest(path, ReadOptions(overrides={"first_frame_url": "a.png"})).jobs
    (shown,) = read_manifest(
        path, ReadOptions(overrides={"reference_image_urls": "a.png|a.png"})
    ).jobs

    assert framed.input.first_frame_url == framed.media[0].token
    assert shown.input.reference_image_urls == (framed.media[0].token,) * 2


def test_an_open_question_is_let_through_by_name(tmp_path: Path) -> None:
    path = tmp_path / "shots.csv"
    path.write_text("prompt,resolution\nA lamp wakes,4k\n")

    assert len(read_manifest(path).problems) == 1
    assert read_manifest(path, ReadOptions(allow=Allow(resolution_4k=True))).problems == ()


def test_keys_do_not_depend_on_where_a_row_stands(shots: Path) -> None:
    before = {job.key: job.content for job in read_manifest(shots).jobs}
    head, *rows = SHOTS.splitlines(keepends=True)
    shots.write_text(head + "new,Another one,,\n" + "".join(reversed(rows)), encoding="utf-8")

    after = {job.key: job.content for job in read_manifest(shots).jobs}
    assert after.items() >= before.items()


def test_standard_input_is_a_manifest_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SHOTS.encode())))
    manifest = read_manifest("-")

    assert (manifest.path, manifest.name, len(manifest.jobs)) == ("-", "stdin", 3)
    assert manifest.jobs[1].row.place.file == "stdin"


def test_a_file_that_is_not_there_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no none\.csv"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="directory"):
        read_manifest(tmp_path)
    with pytest.raises(UsageError, match="not a file name"):
        read_manifest("a\0b.csv")


def test_findings_are_told_to_programs_as_well(tmp_path: Path) -> None:
    path = tmp_path / "shots.csv"
    path.write_text("prompt,Seconds\nA lamp wakes,3\n")

    assert [json.loads(json.dumps(each.as_json())) for each in read_manifest(path).findings] == [
        {
            "severity": "problem",
            "code": "cell",
            "place": "shots.csv:2:Seconds",
            "file": "shots.csv",
            "sheet": None,
            "line": 2,
            "row": 1,
            "column": "Seconds",
            "message": "‘3’ is not 4 to 15 (whole seconds)",
        }
    ]


def test_no_secret_is_shown_in_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "shots.csv"
    signed = "https://example.com/a b.png?X-Amz-Signature=canary"
    uri = "data:image/png;base64," + "canary" * 50 + "!"
    path.write_text(f'prompt,first_frame_url\nA lamp wakes,{signed}\nA cat walks,"{uri}"\n')
    lines = grouped(read_manifest(path).problems)

    assert len(lines) == 2
    assert "canary" not in "".join(lines)


def test_importing_the_reader_is_quick() -> None:
    heavy = "{'pandas', 'python_calamine', 'yaml', 'av', 'PIL', 'pyarrow'}"
    code = f"import sys, seedance_batch.reader.read; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert found.stdout == "[]\n"
