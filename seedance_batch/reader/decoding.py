"""Bytes of a text manifest into text: UTF-8 and UTF-16 are recognised, others must be named."""

from __future__ import annotations

import codecs
import re
from typing import Final

from seedance_batch.core.manifest import Place
from seedance_batch.reader.cells import quoted
from seedance_batch.reader.source import Loading, Source

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
_DELIMITERS: Final = re.compile(rb"[\r\n\t,;\"]")


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
    before = [match.end() for match in _DELIMITERS.finditer(data, max(0, position - 60), position)]
    start = before[-1] if before else max(0, position - 60)
    after = _DELIMITERS.search(data, position)
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

_STRANGE: Final = re.compile(
    rf"(?<=[A-Za-z])[{_EAST}]|[{_EAST}](?=[A-Za-z])"  # 鋎 among the letters of a German word
    r"|(?<=[\u4e00-\u9fff]) [\u4e00-\u9fff]"  # Chinese has no spaces between words
    rf"|(?<=[A-Za-z{_LATIN}])[{_CYRILLIC}]|[{_CYRILLIC}](?=[A-Za-z{_LATIN}])"
    rf"|(?<![{_CYRILLIC}])[{_CYRILLIC}](?![{_CYRILLIC}])"  # seldom a word of its own
    rf"|(?<=[{_LATIN}])[{_LATIN}]"  # Latin words have one letter with a mark, seldom two in a row
    rf"|(?<=[a-zß-öø-ÿ])[À-ÖØ-Þ]"  # a capital inside a word
    rf"|(?<=[а-яё])[А-ЯЁ]"
)


def oddity(text: str) -> float:
    """0 for a text that somebody may have written, higher the odder: per letter beyond ASCII."""
    foreign = [letter for letter in text if letter > "\x7f"]
    if not foreign:
        return 0.0
    strange = sum(1 for _ in _STRANGE.finditer(text))
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
