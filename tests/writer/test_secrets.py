"""Canaries in everything the service says: no sheet shows one, but for the clip's own URL."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.core.outcome import outcomes
from seedance_batch.writer.files import write_sheets

from .samples import attempt, row, source

CANARY = "CANARY0123456789"
SPOKEN = [
    f"key sk-{CANARY} was refused",
    f"key hi-sk-{CANARY} was refused",
    f"signed with whsec_{CANARY}",
    f"Authorization: Bearer {CANARY}",
    f"GET https://cdn.example/a.mp4?sign={CANARY} gave 403",
    f"first_frame_url data:image/png;base64,{CANARY}== is too large",
    f"https://user:{CANARY}@proxy.example:8080 is down",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [row(number) for number in range(1, len(SPOKEN) + 1)]
    found = outcomes(
        rows,
        [
            attempt(
                of,
                Phase.FAILED,
                error_code=words if of.number % 2 else None,
                error_message=words,
                video_url=f"https://cdn.example/{of.key}.mp4?sign=OF-THE-CLIP",
                last_frame_url=f"https://cdn.example/{of.key}.png?sign={CANARY}",
            )
            for of, words in zip(rows, SPOKEN, strict=True)
        ],
    )
    prices = f"https://api.example/api/pricing?key={CANARY}"
    more = source(tmp_path, found)
    write_sheets(
        type(more)(
            **{name: getattr(more, name) for name in more.__slots__} | {"prices_note": prices}
        )
    )
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    """Every file's text, workbooks unpacked."""
    texts = {}
    for path in folder.iterdir():
        if path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as book:
                for part in book.namelist():
                    texts[f"{path.name}/{part}"] = book.read(part).decode("utf-8", "replace")
        else:
            texts[path.name] = path.read_text("utf-8")
    return texts


def test_no_sheet_holds_a_secret(folder: Path) -> None:
    assert not [name for name, text in contents(folder).items() if CANARY in text]


def test_signed_urls_stand_in_their_own_column_only(folder: Path) -> None:
    for name, text in contents(folder).items():
        if name.endswith((".csv", ".jsonl")):
            per_line = [len(re.findall("OF-THE-CLIP", line)) for line in text.splitlines()]
            assert max(per_line) == 1
    assert "OF-THE-CLIP" not in contents(folder)["summary.json"]
