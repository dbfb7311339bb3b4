"""Manifests as people, models and spreadsheet programs write them: read right, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedance_batch.core.manifest import Manifest, Severity
from seedance_batch.reader.read import grouped, read_manifest
from seedance_batch.reader.source import ReadOptions


def read(folder: Path, content: str | bytes, name: str = "shots.csv", **options: str) -> Manifest:
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return read_manifest(folder / name, ReadOptions(**options))  # type: ignore[arg-type]


def told(manifest: Manifest, severity: Severity) -> list[str]:
    return grouped(found for found in manifest.findings if found.severity is severity)


def problems(manifest: Manifest) -> list[str]:
    return told(manifest, Severity.PROBLEM)


def warnings(manifest: Manifest) -> list[str]:
    return told(manifest, Severity.WARNING)


def receipts(manifest: Manifest) -> list[str]:
    return told(manifest, Severity.RECEIPT)


def prompts(manifest: Manifest) -> list[str]:
    return [job.input.prompt for job in manifest.jobs]


# ── YAML takes `` #7`` for a comment ────────────────────────────────────────────────────────────

JERSEY = "Close-up of jersey #7 walking in rain"


@pytest.mark.parametrize(
    ("content", "line", "left_out"),
    [
        (f"rows:\n  - prompt: {JERSEY}\n", 2, "#7 walking in rain"),
        (f"rows:\r\n  - prompt: {JERSEY}\r\n", 2, "#7 walking in rain"),
        ("- prompt: 🚀 one\n    two #9\n  note: x\n", 1, "#9"),
        ("- prompt: A cat walks # take two\n", 1, "# take two"),
        ('- prompt: "A cat" #2 walks\n', 1, "#2 walks"),
        ("- prompt: &scene A cat\n", 1, "&scene"),
        (f"defaults:\n  prompt: {JERSEY}\nrows: [{{id: a}}]\n", 2, "#7 walking in rain"),
        (f"- Prompt: {JERSEY}\n", 1, "#7 walking in rain"),
        (f"matrix:\n  prompt:\n    - {JERSEY}\n", 3, "#7 walking in rain"),
        ("prompt_template: A {colour} cat #2\nrows: [{colour: red}]\n", 1, "#2"),
        (
            "prompt_template: A {colour} cat\nrows:\n  - {id: a, colour: red}\n"
            "  - id: b\n    colour: dark #ff00aa\n",
            *(5, "#ff00aa"),
        ),
    ],
)
def test_a_prompt_of_which_yaml_leaves_out_a_part_is_a_problem(
    tmp_path: Path, content: str, line: int, left_out: str
) -> None:
    (said, *_) = problems(read(tmp_path, content, "shots.yaml"))
    assert said.startswith(f"shots.yaml:{line}:")
    assert f"YAML leaves out ‘{left_out}" in said


def test_what_is_no_comment_or_surely_one_is_read_as_it_was(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        "# the first scene\n"
        f"- prompt: {JERSEY!r}\n"
        "- prompt: Music in C#minor\n"
        '- prompt: "A cat walks"  # take two\n'
        "  duration: 5  # five\n"
        "- prompt: >-  # folded\n"
        "    Colour #ff00aa\n"
        "    # is no comment here\n",
        "shots.yaml",
    )
    assert not problems(manifest)
    assert not warnings(manifest)
    assert prompts(manifest) == [
        *(JERSEY, "Music in C#minor", "A cat walks", "Colour #ff00aa # is no comment here"),
    ]


def test_another_text_of_which_yaml_leaves_out_a_part_is_warned_of(tmp_path: Path) -> None:
    manifest = read(tmp_path, "- id: shot #3\n  prompt: A cat walks\n", "shots.yaml")
    assert [said.partition(" here")[0] for said in warnings(manifest)] == [
        "shots.yaml:1:id: YAML leaves out ‘#3’"
    ]
