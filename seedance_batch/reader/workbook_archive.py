"""Workbooks as archives of XML: no bombs, no document types, every part whole before it is used."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final
from xml.parsers import expat

from seedance_batch.reader.workbook_process import DAMAGED

MOST_UNPACKED: Final = 1 << 30
"""Bytes of XML in a workbook; a sheet of 100,000 long prompts has a fifth of that."""
MOST_RATIO: Final = 300
"""Unpacked to packed; sheets of equal rows reach about 50, one repeated byte 1,000."""
_RATIO_MATTERS_FROM: Final = 100 << 20
_CHUNK: Final = 1 << 20


class WorkbookFault(Exception):
    """Why a workbook is not read, in words for its user."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


def opened_archive(data: bytes) -> zipfile.ZipFile:
    """A workbook's archive, every XML part of which can be unpacked. Raises `WorkbookFault`."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        names = [info for info in archive.infolist() if info.filename.endswith((".xml", ".rels"))]
        unpacked = 0
        for info in names:
            unpacked += _unpacked_size(archive, info, MOST_UNPACKED - unpacked)
    except _ZIP_FAULTS:
        raise WorkbookFault(DAMAGED) from None
    if unpacked > _RATIO_MATTERS_FROM and unpacked > MOST_RATIO * len(data):
        raise WorkbookFault(_bomb(unpacked))
    return archive


_ZIP_FAULTS: Final = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
    *(OSError, ValueError, OverflowError),
)


def _unpacked_size(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowed: int) -> int:
    """Unpacks a part and throws it away: what its header says proves nothing."""
    size = 0
    for chunk in _chunks(archive, info.filename):
        size += len(chunk)
        if size > allowed:
            raise WorkbookFault(_bomb(size))
    return size


def _bomb(size: int) -> str:
    return f"unpacks to more than {size >> 20:,} MiB: that is no manifest"


def _chunks(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    with archive.open(name) as part:
        while chunk := part.read(_CHUNK):
            yield chunk


Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]
Text = Callable[[str], None]


def walk(
    archive: zipfile.ZipFile,
    name: str,
    start: Start,
    end: End | None = None,
    text: Text | None = None,
) -> None:
    """Hand a part's elements and texts to handlers. Raises `WorkbookFault`."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    if end is not None:
        parser.EndElementHandler = end
    if text is not None:
        parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        for chunk in _chunks(archive, name):
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except KeyError:
        raise WorkbookFault(DAMAGED) from None
    except (expat.ExpatError, LookupError, *_ZIP_FAULTS):  # Lookup: an odd encoding
        raise WorkbookFault(DAMAGED) from None


def _refuse_doctype(*_: object) -> None:
    raise WorkbookFault("holds a document type: no spreadsheet program writes one")
