"""Starter manifests: three rows that can be rehearsed at once, and replaced one by one."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable
from importlib import resources
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
    # As Excel wants it: with a mark, or it would not read it as UTF-8.
    path.write_text(_template("starter.csv"), encoding="utf-8-sig", newline="\r\n")


def _write_yaml(path: Path, name: str) -> None:
    text = _template("starter.yaml").replace("NAME", shlex.quote(name), 1)
    path.write_text(text, encoding="utf-8")


def _template(name: str) -> str:
    return resources.files("seedance_batch").joinpath("templates", name).read_text("utf-8")


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
        columns, *rows = csv.reader(_template("starter.csv").splitlines())
        for position, name in enumerate(columns):
            kind = {"prompt": wrapped, "duration": number}.get(name, text)
            sheet.set_column(position, position, _WIDTHS.get(name, 22), kind)
            sheet.write_string(0, position, name, head)
            if note := NOTES.get(name):
                sheet.write_comment(0, position, note, {"x_scale": 2, "author": ""})
            _limit(sheet, position, name)
        for line, row in enumerate(rows, 1):
            for position, (name, value) in enumerate(zip(columns, row, strict=True)):
                if name == "duration":
                    sheet.write_number(line, position, int(value))
                elif value:
                    sheet.write_string(line, position, value)
        sheet.freeze_panes(1, 1)


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
