"""Starter manifests: three rows that can be rehearsed at once, and replaced one by one."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seedance_batch.errors import UsageError
from seedance_batch.model import (
    LONGEST_CLIP,
    LONGEST_PROMPT,
    SHORTEST_CLIP,
    SHORTEST_PROMPT,
    AspectRatio,
    Resolution,
)
from seedance_batch.publish import replacing
from seedance_batch.schema import NOTES

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

COLUMNS: Final = (
    *("id", "prompt", "aspect_ratio", "duration", "resolution"),
    *("first_frame_url", "last_frame_url", "reference_image_urls", "generate_audio", "note"),
)
"""The starter's columns; the last one is the person's own."""

ROWS: Final[tuple[dict[str, str | int | bool], ...]] = (
    {
        "id": "harbour-dawn",
        "prompt": "Dawn over a small harbour, boats rocking gently. Slow push-in, soft haze.",
        "aspect_ratio": "16:9",
        "duration": 4,
        "resolution": "480p",
        "generate_audio": True,
        "note": "columns with other names are yours",
    },
    {
        "id": "market-story",
        "prompt": 'Handheld through a night market: lanterns, a cook laughs and says "One more?"',
        "aspect_ratio": "9:16",
        "duration": 5,
        "resolution": "480p",
        "generate_audio": True,
        "note": "for stories",
    },
    {
        "id": "logo-loop",
        "prompt": "Paper cut-outs of waves fold and unfold in a calm loop, pastel colours.",
        "aspect_ratio": "1:1",
        "duration": 4,
        "resolution": "480p",
        "generate_audio": False,
        "note": "",
    },
)


def write_starter(path: Path) -> None:
    """Write a starter manifest in the format of ``path``'s ending.

    Raises `UsageError` where that is none of .csv, .yaml and .xlsx, or cannot be written.
    """
    write = _WRITERS.get(path.suffix.casefold())
    if write is None:
        raise UsageError(
            f"{path.name} ends in none of .csv, .yaml and .xlsx",
            hint="seedance-batch init shots.xlsx",
        )
    try:
        with replacing(path) as temporary:
            write(temporary, path.name)
    except OSError as error:
        raise UsageError(f"cannot write {str(path)!r}: {error.strerror}") from None


def _write_csv(path: Path, _: str) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in ROWS)
    # With a mark, so that Excel reads it as UTF-8 too.
    path.write_bytes(text.getvalue().encode("utf-8-sig"))


def _plain(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_YAML_HEAD: Final = """\
# A manifest for seedance-batch. Try it without money:
#   seedance-batch run {name} --sandbox
# Every field: seedance-batch schema
defaults:
  resolution: 480p
  duration: 4
  aspect_ratio: 16:9

rows:
"""


def _write_yaml(path: Path, name: str) -> None:
    lines = [_YAML_HEAD.format(name=shlex.quote(name))]
    for row in ROWS:
        shared = {"resolution": "480p", "duration": 4, "aspect_ratio": "16:9"}
        own = {k: v for k, v in row.items() if v != "" and shared.get(k) != v}
        for number, (key, value) in enumerate(own.items()):
            start = "  - " if number == 0 else "    "
            lines.append(f"{start}{key}: {_yaml_text(key, value)}\n")
        lines.append("\n")
    path.write_text("".join(lines).rstrip("\n") + "\n", encoding="utf-8")


def _yaml_text(key: str, value: str | int | bool) -> str:
    return f"|-\n      {value}" if key == "prompt" else _plain(value)


# ── the workbook ────────────────────────────────────────────────────────────────────────────────

_ROWS_PREPARED: Final = 1_000
_WIDTHS: Final = {"id": 18, "prompt": 80, "note": 34}
"""In characters. The starter's prompts fit on one line: a row without a height of its own grows
when a person types, and some programs do not measure it before."""


def _write_xlsx(path: Path, _: str) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
        sheet = book.add_worksheet("Shots")
        head = book.add_format({"bold": True, "bg_color": "#E8E4DA", "bottom": 1, "valign": "top"})
        text = book.add_format({"num_format": "@", "valign": "top"})
        wrapped = book.add_format({"num_format": "@", "valign": "top", "text_wrap": True})
        number = book.add_format({"num_format": "0", "valign": "top", "align": "left"})
        for position, name in enumerate(COLUMNS):
            kind = {"prompt": wrapped, "duration": number}.get(name, text)
            sheet.set_column(position, position, _WIDTHS.get(name, 22), kind)
            sheet.write_string(0, position, name, head)
            if note := NOTES.get(name):
                sheet.write_comment(0, position, note, {"x_scale": 2, "author": ""})
            _limit(sheet, position, name)
        for line, row in enumerate(ROWS, 1):
            _write_row(sheet, line, row)
        sheet.freeze_panes(1, 1)


def _write_row(sheet: Worksheet, line: int, row: dict[str, str | int | bool]) -> None:
    for position, name in enumerate(COLUMNS):
        value = row.get(name, "")
        if name == "duration":
            sheet.write_number(line, position, int(value))
        elif value != "":
            sheet.write_string(line, position, _plain(value))


def _limit(sheet: Worksheet, position: int, name: str) -> None:
    """Drop-downs and limits where the person types; they warn before the reader has to."""
    rule = _rules().get(name)
    if rule is not None:
        sheet.data_validation(1, position, _ROWS_PREPARED, position, rule)


def _rules() -> dict[str, dict[str, Any]]:
    def one_of(*values: str) -> dict[str, Any]:
        return {
            "validate": "list",
            "source": list(values),
            "error_title": "Not one of the choices",
            "error_message": f"Choose one of {', '.join(values)}.",
        }

    return {
        "aspect_ratio": one_of(*(ratio.value for ratio in AspectRatio)),
        "resolution": one_of(*(r.value for r in Resolution if r is not Resolution.K4)),
        "generate_audio": one_of("true", "false"),
        "duration": {
            "validate": "integer",
            "criteria": "between",
            "minimum": SHORTEST_CLIP,
            "maximum": LONGEST_CLIP,
            "error_title": "Whole seconds",
            "error_message": f"A clip lasts {SHORTEST_CLIP} to {LONGEST_CLIP} whole seconds.",
        },
        "prompt": {
            "validate": "length",
            "criteria": "between",
            "minimum": SHORTEST_PROMPT,
            "maximum": LONGEST_PROMPT,
            "error_title": "Length of the prompt",
            "error_message": f"A prompt has {SHORTEST_PROMPT} to {LONGEST_PROMPT:,} characters.",
        },
    }


_WRITERS: Final[dict[str, Callable[[Path, str], None]]] = {
    ".csv": _write_csv,
    ".yaml": _write_yaml,
    ".yml": _write_yaml,
    ".xlsx": _write_xlsx,
}
