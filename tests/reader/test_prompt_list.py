"""A text file with one prompt a line is a manifest; a table saved as text stays a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedance_batch.core.manifest import Manifest
from seedance_batch.reader.read import read_manifest


def read(folder: Path, text: str) -> Manifest:
    (folder / "prompts.txt").write_bytes(text.encode())
    return read_manifest(folder / "prompts.txt")


def prompts(manifest: Manifest) -> list[tuple[int | None, str]]:
    return [(job.row.place.line, job.input.prompt) for job in manifest.jobs]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("head", ["", "\ufeff", "prompt\n"])
def test_each_line_is_a_prompt(tmp_path: Path, end: str, head: str) -> None:
    found = read(tmp_path, head + end.join(["A cat walks, slowly", "", "A dog; runs", ""]))

    first = 2 if "prompt" in head else 1
    assert prompts(found) == [(first, "A cat walks, slowly"), (first + 2, "A dog; runs")]
    assert found.findings == ()


def test_marks_of_a_list_are_left_out_where_each_line_has_one(tmp_path: Path) -> None:
    found = read(tmp_path, "1. A cat walks\n2. A dog runs\n")

    assert [text for _, text in prompts(found)] == ["A cat walks", "A dog runs"]
    assert "is left out" in str(found.findings[0])
    assert prompts(read(tmp_path, "3. act begins\nA dog runs\n"))[0][1] == "3. act begins"


def test_comments_are_left_out_with_a_warning(tmp_path: Path) -> None:
    found = read(tmp_path, "# day one\nA cat walks\n")

    assert prompts(found) == [(2, "A cat walks")]
    assert [str(f) for f in found.findings] == [
        "prompts.txt:1: begins with # and is left out as a comment"
    ]


def test_a_sentence_that_is_broken_over_lines_is_warned_of(tmp_path: Path) -> None:
    found = read(tmp_path, "A cat walks through\nthe rain.\nA dog runs\n")

    assert [str(f) for f in found.findings] == [
        "prompts.txt:2: seems to continue the line above, but is a prompt of its own"
    ]
    assert read(tmp_path, "a cat walks\na dog runs\n").findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "id\tprompt\na\tA cat walks\n",
        "id,prompt,duration\na,A cat walks,5\n",
        "Shot text\tLen\nA cat walks\t5\n",
        "Text;Sek\nA cat walks;5\nA dog runs;6\n",
        "sep=;\nid;prompt\na;A cat walks\n",
    ],
)
def test_a_table_that_was_saved_as_text_is_read_as_one(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)

    assert found.source["format"] == "CSV"
    assert found.problems or [text for _, text in prompts(found)] == ["A cat walks"]


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ('{"prompt": "A cat walks"}\n{"prompt": "A dog runs"}\n', "JSONL"),
        ('[\n  {"prompt": "A cat walks"},\n  {"prompt": "A dog runs"}\n]\n', "JSON"),
        ("rows:\n- prompt: A cat walks\n- prompt: A dog runs\n", "YAML"),
        ("- id: a\n  prompt: A cat walks\n- prompt: A dog runs\n", "YAML"),
    ],
)
def test_what_a_program_wrote_and_was_saved_as_text_is_no_list_of_prompts(
    tmp_path: Path, text: str, read_as: str
) -> None:
    found = read(tmp_path, text)

    assert found.source["format"] == read_as
    assert [prompt for _, prompt in prompts(found)] == ["A cat walks", "A dog runs"]


@pytest.mark.parametrize("first", ["[Shot 1] A cat walks", "{slow} A cat walks", "Rows of trees"])
def test_a_prompt_may_begin_with_a_bracket(tmp_path: Path, first: str) -> None:
    assert [text for _, text in prompts(read(tmp_path, f"{first}\nA dog runs\n"))] == [
        *(first, "A dog runs")
    ]


def test_names_of_scenes_in_a_list_are_warned_of_and_totals_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, "Scene 1:\nA cat walks\nTotal\n")

    assert [text for _, text in prompts(found)] == ["Scene 1:", "A cat walks"]
    assert "looks like a scene name" in str(found.findings[0])
