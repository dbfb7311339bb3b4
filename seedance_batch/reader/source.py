"""A manifest's bytes, what format they are in, and what loading them gathers on the way."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from seedance_batch.errors import UsageError
from seedance_batch.manifest import Place
from seedance_batch.media_type import HEAD_SIZE, content_of
from seedance_batch.nearby import absent
from seedance_batch.reader.noted import Noted
from seedance_batch.reader.options import ReadOptions

STDIN: Final = "-"


class Format(StrEnum):
    """What a manifest may be written in; the values are shown to people."""

    CSV = "CSV"
    YAML = "YAML"
    JSONL = "JSONL"
    JSON = "JSON"
    XLSX = "XLSX"
    XLS = "XLS"
    ODS = "ODS"
    PARQUET = "Parquet"


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its bytes, the name that findings show, and the folder that it lies in."""

    data: bytes
    file: str
    folder: Path

    @property
    def place(self) -> Place:
        """The file as a whole."""
        return Place(self.file)


@dataclass(frozen=True, slots=True)
class Loading:
    """What every loader is handed: the flags, where to note things, and what to tell people."""

    options: ReadOptions
    noted: Noted
    about: dict[str, str] = field(default_factory=dict)
    """How the file was read; becomes `Manifest.source`."""
    including: tuple[Path, ...] = ()
    """The files that are being read, outermost first: an include must not close a ring."""


def opened(path: str | Path, *, included: bool = False) -> Source:
    """The file's bytes, or those of standard input for ``-``.

    Raises `UsageError` where it cannot be opened; save for a file that is ``included`` by
    another, with what may have been meant.
    """
    if str(path) == STDIN:
        return Source(sys.stdin.buffer.read(), "stdin", Path.cwd())
    given = Path(path)
    try:
        data = given.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and not included:
            sentence, hint = absent(given)
            raise UsageError(sentence, hint=hint) from None
        why = error.strerror if isinstance(error, OSError) else "this is no file name"
        raise UsageError(f"cannot open {str(path)!r}: {why}") from None
    return Source(data, given.name, Path(path).absolute().parent)


_ENDINGS: Final = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".tab": Format.CSV,
    ".txt": Format.CSV,
    ".yaml": Format.YAML,
    ".yml": Format.YAML,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
}
_YAML_START: Final = re.compile(
    rb"\s*(?:#[^\n]*\n\s*|---[^\n]*\n\s*|%[^\n]*\n\s*)*"
    rb"(?:- |-\n|(?:defaults|rows|matrix|variants|include|prompt_template)\s*:(?:\s|$))"
)


def format_of(data: bytes, file: str) -> Format | None:
    """What the bytes are; a name's ending decides between texts only. None for no manifest."""
    if (binary := _binary_format(data)) is not None:
        return binary
    if data[:4] in {b"PK\x03\x04", b"%PDF"} or data.lstrip()[:1] == b"<":
        return None
    if data[:1] > b"\x7f" and content_of(data[:HEAD_SIZE]):
        return None
    ending = Path(file).suffix.casefold()
    return _ENDINGS.get(ending) or _text_format(data)


_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def _binary_format(data: bytes) -> Format | None:
    if data[:4] == b"PAR1":
        return Format.PARQUET
    if data[:8] == _OLE:
        return Format.XLS
    if data[:4] != b"PK\x03\x04":
        return None
    if data[30:38] == b"mimetype" and b"opendocument.spreadsheet" in data[38:120]:
        return Format.ODS
    if b"xl/" in data[-65_536:] or b"xl/" in data[:4_096]:
        return Format.XLSX
    return Format.ODS if b"content.xml" in data[-65_536:] else None


def _text_format(data: bytes) -> Format:
    start = data[:4_096].removeprefix(b"\xef\xbb\xbf")
    if start.lstrip()[:1] == b"{":
        return Format.JSONL
    if start.lstrip()[:1] == b"[":
        return Format.JSON
    return Format.YAML if _YAML_START.match(start) else Format.CSV
