"""Text manifests: bytes into text, CSV and its cousins, and lists with one prompt a line."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from typing import Final

from seedance_batch.core.manifest import Place
from seedance_batch.core.text import some
from seedance_batch.reader.cells import HEADINGS_BELOW, Table, Value, is_blank, quoted
from seedance_batch.reader.headings import field_of, heading_index
from seedance_batch.reader.source import DELIMITERS, LIST_ENDING, Loading, Source

# ── Bytes of a text manifest into text: UTF-8 and UTF-16 are recognised, others must be named ─────


_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with BOM"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
CANDIDATES: Final = (
    *("gb18030", "big5", "cp950", "shift_jis", "cp932", "euc_kr", "cp949"),
    *("cp1252", "cp1251", "cp1250", "cp850", "mac_roman"),
)
"""What spreadsheets without UTF-8 are mostly written in, by country; of two that read the same, the
better known one first."""
_SHOWN: Final = 4
"""Readings that are shown, the likeliest first."""
_FEW: Final = 5
"""Bytes that may be wrong in a text which is UTF-8 all the same."""
_LOOKED_AT: Final = 1 << 20
_WEIGHED: Final = 1 << 13
"""Bytes from the first odd line on, by which the readings are ranked."""
_CELL_ENDS: Final = re.compile(rb"[\r\n\t,;\"]")


def decoded(source: Source, loading: Loading) -> str | None:
    """The file's text; None, with a problem noted, where its encoding is not known for sure."""
    asked = loading.options.encoding
    if asked:
        return _as_asked(source, asked, loading)
    for mark, codec, label in _MARKS:
        if source.data.startswith(mark):
            return _strictly(source, codec, label, loading)
    if (utf16 := _utf16_without_mark(source.data)) is not None:
        return _strictly(source, utf16, "UTF-16 without BOM", loading)
    try:
        text = source.data.decode()
    except UnicodeDecodeError as error:
        if not _tell_stray_bytes(source, loading):
            _ask(source, error.start, loading)
        return None
    loading.about["encoding"] = "UTF-8"
    return text


def _as_asked(source: Source, name: str, loading: Loading) -> str | None:
    try:
        codec = codecs.lookup(name).name
        if not isinstance("".encode(codec), bytes):
            raise LookupError
    except (LookupError, ValueError, TypeError, AttributeError):
        loading.noted.problem(source.place, f"--encoding {quoted(name)} is not a text encoding")
        return None
    marked = codec == "utf-8" and source.data.startswith(codecs.BOM_UTF8)
    return _strictly(source, "utf-8-sig" if marked else codec, name, loading)


def _strictly(source: Source, codec: str, label: str, loading: Loading) -> str | None:
    try:
        text = source.data.decode(codec)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = source.data.count(b"\n", 0, start) + 1
        loading.noted.problem(source.place, f"is not {label} at line {line} (byte {start:,})")
        return None
    loading.about["encoding"] = label
    return text.removeprefix("\ufeff")


def _utf16_without_mark(data: bytes) -> str | None:
    """UTF-16 by its zero bytes: in Latin text every other byte is one."""
    head = data[:512]
    if len(head) < 4 or len(data) % 2:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > len(head) // 4 and not even:
        return "utf-16-le"
    return "utf-16-be" if even > len(head) // 4 and not odd else None


def _tell_stray_bytes(source: Source, loading: Loading) -> bool:
    """Name the bytes that are wrong in a text which is UTF-8 else; False where it is not."""
    text = source.data.decode(errors="surrogateescape")
    strays = [match.start() for match in _STRAY.finditer(text)]
    sound = sum(1 for _ in _FOREIGN.finditer(text))
    if len(strays) > _FEW or sound < 2 * len(strays):
        return False
    for at in strays:
        place = Place(source.file, line=text.count("\n", 0, at) + 1)
        before = _ENDS.split(text[max(0, at - _AROUND) : at])[-1]
        after = _ENDS.split(text[at + 1 : at + _AROUND])[0]
        seen = _STRAY.sub("�", f"{before}�{after}")
        loading.noted.problem(
            place,
            f"contains the byte 0x{ord(text[at]) - 0xDC00:02X}, but the rest is UTF-8: "
            f"{quoted(seen)}; type that character again and save as UTF-8",
        )
    return True


_STRAY: Final = re.compile("[\udc80-\udcff]")
_FOREIGN: Final = re.compile("[^\\x00-\\x7f\udc80-\udcff]")
_ENDS: Final = re.compile(r"[\r\n\t,;\"]")
_AROUND: Final = 16


def _ask(source: Source, position: int, loading: Loading) -> None:
    """Show the first cell that is not UTF-8 under each encoding that the file could be in."""
    line = source.data.count(b"\n", 0, position) + 1
    cell = _cell_around(source.data, position)
    readings: dict[str, str] = {}
    for name in _by_plausibility(source.data[:_LOOKED_AT], position):
        readings.setdefault(cell.decode(name, errors="replace"), name)
    likely = list(readings.items())[:_SHOWN]
    shown = ", ".join(f"{quoted(text, 50)} in {name}" for text, name in likely)
    is_csv = loading.about.get("format") == "CSV"
    loading.noted.problem(
        source.place,
        "is not UTF-8, and its encoding is unknown; "
        + (f"line {line} would read {shown}; " if shown else f"see line {line}; ")
        + "name its encoding: --encoding …; "
        + ("or save it as “CSV UTF-8”, or give the .xlsx" if is_csv else "or save it as UTF-8"),
    )


def _by_plausibility(data: bytes, position: int) -> list[str]:
    """The candidates that the bytes can be read in, the likeliest text first."""
    begins = data.rfind(b"\n", 0, position) + 1
    names = [name for name in CANDIDATES if _can_be(data, name)]
    part = data[begins : begins + _WEIGHED]
    return sorted(names, key=lambda name: oddity(part.decode(name, errors="replace")))


def _cell_around(data: bytes, position: int) -> bytes:
    before = [match.end() for match in _CELL_ENDS.finditer(data, max(0, position - 60), position)]
    start = before[-1] if before else max(0, position - 60)
    after = _CELL_ENDS.search(data, position)
    return data[start : min(after.start() if after else len(data), start + 120)]


def _can_be(data: bytes, name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)().decode(data)
    except UnicodeError:
        return False
    return True


# ── How odd a text looks: ranks the readings of bytes whose encoding nobody named ─────────────────


_EAST: Final = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_LATIN: Final = "\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_CYRILLIC: Final = "\u0400-\u04ff"
_PLAIN: Final = frozenset(
    "‘’‚“”„‹›«»–—…•·°€£©®™×¡¿、。，！？：；（）《》「」『』【】～・ー\u3000\u00a0"
)
"""Signs that people type."""
_RARE: Final = 3.0
"""As odd as three letters in strange company."""

_STRANGE: Final = (
    rf"(?<=[A-Za-z])[{_EAST}]|[{_EAST}](?=[A-Za-z])"  # 鋎 among the letters of a German word
    r"|(?<=[\u4e00-\u9fff]) [\u4e00-\u9fff]"  # Chinese has no spaces between words
    rf"|(?<=[A-Za-z{_LATIN}])[{_CYRILLIC}]|[{_CYRILLIC}](?=[A-Za-z{_LATIN}])"
    rf"|(?<![{_CYRILLIC}])[{_CYRILLIC}](?![{_CYRILLIC}])"  # seldom a word of its own
    rf"|(?<=[{_LATIN}])[{_LATIN}]"  # Latin words have one letter with a mark, seldom two in a row
    rf"|(?<=[a-zß-öø-ÿ])[À-ÖØ-Þ]"  # a capital inside a word
    rf"|(?<=[а-яё])[А-ЯЁ]"
)
"""Compiled where an encoding has to be guessed: ranges as large take 5 ms."""


def oddity(text: str) -> float:
    """0 for a text that somebody may have written, higher the odder: per letter beyond ASCII."""
    foreign = [letter for letter in text if letter > "\x7f"]
    if not foreign:
        return 0.0
    strange = sum(1 for _ in re.finditer(_STRANGE, text))
    return (strange + sum(map(_rareness, foreign))) / len(foreign)


def _rareness(letter: str) -> float:
    if letter in _PLAIN or re.match(rf"[{_CYRILLIC}\uac00-\ud7af\u3040-\u30ff]", letter):
        return 0.0
    if re.match(f"[{_LATIN}]", letter):
        return 0.0 if letter in _OFTEN else 0.5
    return 0.0 if _is_common_han(letter) else _RARE


_OFTEN: Final = frozenset("äöüÄÖÜßýéèêëàâáãåçñíìîïóòôõúùûøæœÉÈÀÁÅÇÑÓØÆąćęłńśźżčďěňřšťůžőűăâîșț")


def _is_common_han(letter: str) -> bool:
    """Whether it is in the first half of the Chinese or Japanese standard, that of daily use."""
    return any(
        first <= (letter.encode(codec, "replace") + b"\0")[0] <= last
        for codec, first, last in (("gb2312", 0xB0, 0xD7), ("big5", 0xA4, 0xC6))
    )


# ── CSV and its cousins: the delimiter is detected, quotes are read strictly, bytes are kept ──────


_NAMES: Final = {**{name: sign for sign, name in DELIMITERS.items()}, "\\t": "\t"}
_SNIFFED: Final = 1 << 16
_SHORT: Final = 32
"""Cells no longer than this are kept once, however often they occur."""
_NEVER_CLOSED: Final = "a cell that begins here opens a quote and never closes it"
_GOES_ON: Final = "a cell here continues after its closing quote; double the quotes inside a cell"


def csv_tables(source: Source, loading: Loading) -> list[Table]:
    """The file's one table; none, with a problem noted, where it cannot be read."""
    text = decoded(source, loading)
    if text is None:
        return []
    if _is_list(source, text, loading):
        return _listed(source, text, loading)
    asked = loading.options.delimiter
    if asked is not None and (len(_NAMES.get(asked, asked)) != 1 or asked in '"\r\n'):
        loading.noted.problem(source.place, f"--delimiter {quoted(asked)} is not one character")
        return []
    delimiter, skipped = _announced(text)
    delimiter = _NAMES.get(asked, asked) if asked else delimiter or _detected(text)
    loading.about["delimiter"] = DELIMITERS.get(delimiter, delimiter)
    body = text[skipped:]
    plain = _without_blanks(body, delimiter)
    if plain != body:
        words = "spaces between a quote and the next delimiter are left out"
        loading.noted.receipt(source.place, words)
    table = _table(source, loading, plain, delimiter, first_line=2 if skipped else 1)
    return [table] if table else []


def _announced(text: str) -> tuple[str | None, int]:
    """Excel's first line ``sep=;``: the delimiter, and how much of the text says so."""
    end = text.find("\n") + 1
    line = text[:end].strip("\r\n").strip('"')
    is_announcement = len(line) == 5 and line[:4].casefold() == "sep="
    return (line[4], end) if is_announcement else (None, 0)


def _detected(text: str) -> str:
    """The delimiter under which most headings are ones we know, then most cells line up."""
    sample = text[:_SNIFFED]
    return max((",", ";", "\t"), key=lambda sign: _likelihood(sample, sign))


def _likelihood(sample: str, delimiter: str) -> tuple[int, int]:
    records = _lenient(sample, delimiter)
    header = next((record for record in records if any(cell.strip() for cell in record)), [])
    known = max((sum(1 for cell in row if field_of(cell)) for row in records[:10]), default=0)
    alike = sum(len(record) == len(header) for record in records) if len(header) > 1 else 0
    return known, alike


def _lenient(sample: str, delimiter: str) -> list[list[str]]:
    records: list[list[str]] = []
    with suppress(csv.Error):
        for record in islice(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter), 50):
            records.append(record)
    return records


def _without_blanks(text: str, delimiter: str) -> str:
    """The text without blanks around quoted cells: ``1, "A cat" , 5`` is no strict CSV."""
    blanks, sign = " " if delimiter == "\t" else " \t", re.escape(delimiter)
    if not re.search(rf'[{sign}\r\n][{blanks}]+"|"[{blanks}]+(?:[{sign}\r\n]|\Z)', text):
        return text
    cell = rf'(\A|[{sign}\r\n])[{blanks}]*("(?:[^"]|"")*+")[{blanks}]*(?=[{sign}\r\n]|\Z)'
    return re.sub(cell, r"\1\2", text)


def _table(
    source: Source, loading: Loading, text: str, delimiter: str, first_line: int
) -> Table | None:
    # The module's limit guards programs that read forever; a cell may hold a whole data URI.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    is_over = False

    def given() -> Iterator[str]:
        nonlocal is_over
        yield from io.StringIO(text, newline="")
        is_over = True

    reader = csv.reader(given(), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    line = first_line
    try:
        for record in _sharing(reader):
            if any(record) and not all(is_blank(cell) for cell in record):
                rows.append(record)
                lines.append(line)
            line = first_line + reader.line_num
    except csv.Error:
        loading.noted.problem(Place(source.file, line=line), _NEVER_CLOSED if is_over else _GOES_ON)
        return None
    if not rows:
        loading.noted.problem(source.place, "is empty")
        return None
    top = heading_index(rows, loading.options.column_map)
    body: list[Sequence[Value]] = list(rows[top + 1 :])
    table = Table(source.file, rows[top], body, lines[top + 1 :], lines[top], is_csv=True)
    if top:
        loading.noted.receipt(table.heading_place(), HEADINGS_BELOW)
    _check_widths(table, loading)
    return table


def _sharing(records: Iterable[list[str]]) -> Iterator[list[str]]:
    """The records, with short cells that repeat kept in memory once."""
    known: dict[str, str] = {}
    share = known.setdefault
    for record in records:
        yield [share(cell, cell) if len(cell) <= _SHORT else cell for cell in record]


def _check_widths(table: Table, loading: Loading) -> None:
    """A row that is wider than the headings has lost its columns, mostly to a comma."""
    width = len(table.headings)
    there = f"there {'is' if width == 1 else 'are'} {some(width, 'heading')}"
    for index, row in enumerate(table.rows):
        if len(row) > width:
            if any(row[width:]):
                loading.noted.problem(
                    table.place(index),
                    f"has {len(row)} cells, but {there}; a cell that contains "
                    "the delimiter needs quotes around it",
                )
            table.rows[index] = row[:width]


# ── A text file with one prompt a line ────────────────────────────────────────────────────────────

_BARS: Final = "\t;|"
"""What divides the cells of a table; a comma is too common in prompts to tell one."""
_LINE_END: Final = re.compile(r"\r\n?|\n")
_MARK: Final = re.compile(r"\s*(?:[-*•–]|[0-9]{1,4}[.)])\s+")


def _is_list(source: Source, text: str, loading: Loading) -> bool:
    """Whether a text is a list of prompts, and no table that was saved as ``.txt``."""
    if not source.file.casefold().endswith(LIST_ENDING) or loading.options.delimiter:
        return False
    lines = [line for line in text[:_SNIFFED].splitlines() if line.strip()]
    if _is_heading(lines[0]):
        return True
    if loading.options.column_map or _announced(text)[0]:
        return False
    return not any(_is_table(lines, sign) for sign in (*_BARS, ","))


def _is_table(lines: Sequence[str], sign: str) -> bool:
    """Whether a sign divides lines into cells: under known headings, or the same in each line."""
    if any(sign in line and any(map(field_of, line.split(sign))) for line in lines[:10]):
        return True
    counts = {line.count(sign) for line in lines}
    return sign in _BARS and len(lines) > 1 and len(counts) == 1 and 0 not in counts


def _is_heading(line: str) -> bool:
    return field_of(line.strip().strip('"')) == "prompt"


def _listed(source: Source, text: str, loading: Loading) -> list[Table]:
    loading.about["format"] = "a list of prompts, one per line"
    lines = [(n, line) for n, line in enumerate(_LINE_END.split(text), 1) if line.strip()]
    if lines and _is_heading(lines[0][1]):
        lines = lines[1:]
    told = [(n, line) for n, line in lines if not line.lstrip().startswith("#")]
    for number in sorted({n for n, _ in lines} - {n for n, _ in told}):
        words = "begins with # and is left out as a comment"
        loading.noted.warning(Place(source.file, line=number), words)
    _warn_of_wrapped(source, told, loading)
    marked = len(told) > 1 and all(_MARK.match(line) for _, line in told)
    if marked:
        words = "the list mark or number at the start of each line is left out"
        loading.noted.receipt(source.place, words)
    rows = [[_MARK.sub("", line, count=1) if marked else line] for _, line in told]
    return [Table(source.file, ["prompt"], list(rows), [n for n, _ in told], is_csv=True)]


def _warn_of_wrapped(source: Source, lines: Sequence[tuple[int, str]], loading: Loading) -> None:
    """A sentence that was broken over several lines would be bought as several prompts."""
    if all(line.lstrip()[:1].islower() for _, line in lines):
        return
    for (_, before), (number, line) in pairwise(lines):
        if line.lstrip()[:1].islower() and not before.rstrip().endswith((".", "!", "?", "…")):
            words = "seems to continue the line above, but is a prompt of its own"
            loading.noted.warning(Place(source.file, line=number), words)
