"""Whatever a table is written in, the same rows come back: prompts, content and keys."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seedance_batch.core.manifest import Manifest
from seedance_batch.reader.read import grouped, read_frame, read_manifest
from tests.reader.sheets import is_prompt

from .sheets import WRITERS

# What all formats can hold: no control characters but tab and line feed (XML 1.0), no surrogates.
LETTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff\ufeff")
TEXTS = st.text(
    st.one_of(LETTERS, st.sampled_from("\t\n \"',;|={}@-+ünï雨🪔")), min_size=3, max_size=60
)


PROMPTS = TEXTS.filter(is_prompt)
URLS = st.sampled_from(
    ["https://example.com/a.png", "https://example.com/b,c.png?x=1", "asset://7"]
)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, str]]:
    """Valid rows as texts, with a column of the person's own."""
    count = draw(st.integers(1, 6))
    ids = draw(
        st.lists(
            st.from_regex(r"[A-Za-z0-9_-]{2,12}", fullmatch=True),
            min_size=count,
            max_size=count,
            unique=True,
        )
    )
    return [
        {
            "shot": draw(st.one_of(st.just(""), TEXTS)),
            "id": draw(st.sampled_from([row_id, ""])),
            "prompt": draw(PROMPTS),
            "aspect_ratio": draw(st.sampled_from(["", "16:9", "1:1", "adaptive"])),
            "duration": draw(st.sampled_from(["", "4", "15"])),
            "generate_audio": draw(st.sampled_from(["", "true", "false"])),
            "reference_image_urls": "|".join(draw(st.lists(URLS, max_size=3))),
            "seed": draw(st.sampled_from(["", "0", "2147483647"])),
        }
        for row_id in ids
    ]


def orders(manifest: Manifest) -> list[tuple[str, str, str]]:
    assert not manifest.problems, grouped(manifest.problems)
    return [(job.key, job.content, job.input.prompt) for job in manifest.jobs]


LINE_END_FIRST = {
    "shot": "\n\t00",
    "id": "",
    "prompt": "\n\n\tA lamp",
    "aspect_ratio": "",
    "duration": "",
    "generate_audio": "",
    "reference_image_urls": "",
    "seed": "",
}


@given(rows=tables())
@example(rows=[LINE_END_FIRST])
@settings(max_examples=25)
def test_a_table_reads_the_same_from_every_format(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, write in WRITERS.items():
            path = Path(folder) / name
            write(path, rows)
            found[name] = read_manifest(path)
    expected = orders(found["a.csv"])

    assert [prompt for _, _, prompt in expected] == [row["prompt"] for row in rows]
    for name, manifest in found.items():
        assert orders(manifest) == expected, name
        shots = [job.row.cells.get("shot", "") for job in manifest.jobs]
        assert shots == [row["shot"] for row in rows], name


@given(rows=tables())
@settings(max_examples=15)
def test_a_data_frame_reads_like_the_csv_that_it_came_from(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shots.csv"
        WRITERS["a.csv"](path, rows)
        from_file = read_manifest(path)

    assert orders(read_frame(pandas.DataFrame(rows), "shots")) == orders(from_file)


def test_a_frame_may_hold_what_frames_hold() -> None:
    frame = pandas.DataFrame(
        {
            "prompt": ["A lamp wakes", "A cat walks", "A dog sleeps"],
            "duration": [5.0, None, 4.0],
            "generate_audio": [True, False, None],
            "reference_image_urls": [["https://example.com/a.png"], None, ()],
            "due": pandas.to_datetime(["2026-03-05 00:00", None, "2026-03-06 07:08"]),
            "seed": pandas.array([7, None, 8], dtype="Int64"),
        }
    )
    manifest = read_frame(frame, "shots")

    assert manifest.findings == ()
    assert [job.input.duration for job in manifest.jobs] == [5, 5, 4]
    assert [job.input.generate_audio for job in manifest.jobs] == [True, False, True]
    assert [job.input.seed for job in manifest.jobs] == [7, None, 8]
    assert [job.row.cells["due"] for job in manifest.jobs] == [
        "2026-03-05",
        "",
        "2026-03-06 07:08:00",
    ]
    assert manifest.name == "shots"


def test_problems_of_a_frame_name_its_rows_as_a_sheet_would() -> None:
    frame = pandas.DataFrame({"prompt": ["A lamp wakes", ""], "duration": [3, 4]})

    assert grouped(read_frame(frame, "shots").problems) == [
        "shots:2:duration: ‘3’ is not 4 to 15 (whole seconds)",
        "shots:3:prompt: is empty: fill it, or delete the row",
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_inside_a_prompt_stay_as_they_are(tmp_path: Path, line_end: str) -> None:
    path = tmp_path / "shots.csv"
    path.write_bytes(f'prompt{line_end}"one{line_end}two"{line_end}'.encode())

    assert [job.input.prompt for job in read_manifest(path).jobs] == [f"one{line_end}two"]
