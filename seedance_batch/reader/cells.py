"""What every format becomes: a table of cells that know their places; and what a cell means.

A value is typed, repaired with a receipt, or refused, as its input field wants it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

from seedance_batch.core.manifest import Place
from seedance_batch.core.model import (
    DEFAULT_MODEL,
    LIST_FIELDS,
    LONGEST_CLIP,
    MODEL_SPELLINGS,
    SHORTEST_CLIP,
    AspectRatio,
    Resolution,
)
from seedance_batch.core.text import shown

# ── A table: headings, rows of values, places ─────────────────────────────────────────────────────


Scalar = str | int | float | bool | date | time | timedelta | None
"""A cell as its format gave it; ``datetime`` is a ``date``."""
Value = Scalar | tuple[Scalar, ...]

Origin = int | Place | None
"""Where a cell stands: another line of the same file, or elsewhere; None for its row's line."""

HEADINGS_BELOW: Final = "the headings are here; everything above them is left out"


@dataclass(slots=True)
class Table:
    """A rectangle of cells; short rows lack their last cells."""

    file: str
    headings: list[str]
    """As written: may be empty or repeat."""
    rows: list[Sequence[Value]]
    lines: Sequence[int]
    """Where each row begins, 1-based; as many as rows."""
    heading_line: int = 1
    sheet: str | None = None
    first_letter: int = 0
    """In a workbook, how many columns lie left of the first one."""
    origins: list[Sequence[Origin]] | None = None
    """Where each cell stands, for formats that write a row over many lines or places."""
    flaws: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """(row, column) → what is wrong with a cell, where its value does not tell."""
    is_repeated: bool = False
    """Whether its rows were multiplied by ``variants``: a line's equals are meant."""
    hidden: frozenset[int] = frozenset()
    """The rows that a workbook hides, as long as none was left out or repeated."""
    hidden_columns: frozenset[int] = frozenset()
    is_csv: bool = False
    """Our own CSV sheets guard their cells against being taken for formulas; others do not."""

    def place(self, row: int, position: int | None = None, heading: str | None = None) -> Place:
        """Where a row stands, or the cell of it at that column."""
        origin = None
        if position is not None and self.origins is not None:
            origin = self.origins[row][position]
        if isinstance(origin, Place):
            return origin
        return self._place(origin or self.lines[row], position, heading)

    def heading_place(self, position: int | None = None, heading: str | None = None) -> Place:
        """Where the headings stand, or one of them."""
        return self._place(self.heading_line, position, heading)

    def _place(self, line: int, position: int | None, heading: str | None) -> Place:
        if position is None:
            return Place(self.file, self.sheet, line)
        letter = None if self.sheet is None else column_letter(self.first_letter + position)
        return Place(self.file, self.sheet, line, heading or self.headings[position], letter)


def column_letter(index: int) -> str:
    """``A`` for 0, ``AA`` for 26."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def text_of(value: Value) -> str:
    """A cell as a person sees it: 5 and not 5.0, dates as ISO, list items on lines."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "\n".join(text_of(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        is_midnight = value.time() == time() and value.tzinfo is None
        return value.date().isoformat() if is_midnight else value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def is_blank(value: Value) -> bool:
    """Whether nothing was written here; white space is nothing."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value == ()


# ── A cell's value as its input field wants it: typed, repaired with a receipt, or refused ────────
# Knows what spreadsheets do to ``16:9``, ``5``, ``true`` and URLs. Prompts never come here: they
# are sent as they stand. Ranges and combinations are `TaskInput`'s to judge.


class Cell(NamedTuple):
    """What became of a cell: ``value`` is None where nothing usable stands there."""

    value: Any = None
    receipt: str | None = None
    problem: str | None = None


def quoted(text: str, longest: int = 60) -> str:
    """A value as it is shown in messages: one line, in quotes, cut, and without secrets."""
    return f"‘{shown(text, longest)}’"


def parser(field: str) -> Callable[[Value], Cell]:
    """What reads a cell of that input field (or of ``id`` and ``model``)."""
    parse: Callable[[Value], Cell] = _PARSERS.get(field, _single_address)
    if field in LIST_FIELDS:
        parse = _list
    if field == "id":
        return parse
    nothing = _DASHES if parse is _truth else NOTHING

    def read(value: Value) -> Cell:
        if isinstance(value, str) and value.strip().casefold() in nothing:
            return Cell(receipt=f"{quoted(value.strip())} is read as nothing")
        return parse(value)

    return read


# ── what stands in a cell in place of a value ───────────────────────────────────────────────────

_ERROR: Final = re.compile(
    r"#[¡¿]?[A-ZÀ-Þ][A-ZÀ-Þ0-9/_]*[!?]|#N/?[ADV]|#N/?DISP|#GETTING_DATA|#+"
    r"|(?:Err|Fehler|Erreur|Error):[0-9]{3}"
)
"""Of Excel, Google Sheets and LibreOffice, in the languages that name them otherwise too."""
_UNFINISHED: Final = frozenset(
    "loading...|loading…|wird geladen...|chargement...|nan|<na>|nat|none|null|undefined|nil|n/a"
    "|tbd|tba|tbc|todo|[object object]".split("|")
)
"""What programs and people write where a text is not there, or not yet."""


def _error_value(text: str) -> str | None:
    return f"is {text}, a spreadsheet error value" if _ERROR.fullmatch(text) else None


def placeholder(text: str) -> str | None:
    """Why a text is none that a person wrote; None for any other."""
    plain = text.strip()
    if why := _error_value(plain):
        return why
    if plain.casefold() in _UNFINISHED:
        return f"is {quoted(plain)}, a placeholder for missing text"
    if _RULE.fullmatch(plain):
        return f"is {quoted(plain)}, which has no word in it"
    return None


_RULE: Final = re.compile(r"[\s\-–—−=_.…*/\\|:+~?!,;'\"()\[\]<>]+")
"""A line between rows, or three dots for a text to come."""


_DASHES: Final = frozenset("- – — − -- / n/a".split())
NOTHING: Final = _DASHES | {"none", "null", "nan", "<na>"}
"""What stands in a cell that is to stay empty. ``none`` is not taken so under *audio*, where it may
mean no sound."""


# ── numbers and truth ───────────────────────────────────────────────────────────────────────────

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_POINT_ZERO: Final = re.compile(r"([+-]?[0-9]{1,18})[.,]0+")
_SECONDS: Final = re.compile(
    r"([0-9]{1,18})(?:[.,]0+)?[ \u00a0\u202f-]?"
    r"(?:s|secs?|seconds?|se[ck]s?\.|秒|秒钟|초|″|\"|''|’’|”"
    r"|sek|sekunden?|segundos?|secondes?|secondi|seconden|segs?\.?)\.?",
    re.IGNORECASE,
)
_TIME: Final = re.compile(r"(?:00?:)?00?:([0-9]{1,2})(?:[.,]0+|:00)?")
"""Seconds as clocks show them: ``0:05``, ``00:00:05``, a time code without frames. ``00:05:00`` is
what a spreadsheet makes of ``0:05``; no clip lasts minutes."""
_RANGE: Final = re.compile(
    r"[0-9.,]+ ?[a-z]*\.? ?(?:[-–—/~]|to|bis|or|oder|à|a) ?[0-9.,]+.*", re.IGNORECASE
)


_THOUSANDS: Final = re.compile(r"([+-]?[1-9][0-9]{0,2})[.,]000")


def whole_number(value: Value) -> Cell:
    """A number without a part after its point; ``1,000`` and ``1.000`` may be one or a thousand."""
    text = value.strip() if isinstance(value, str) else ""
    if match := _THOUSANDS.fullmatch(text):
        words = f"may be {match[1]} or {match[1]}000; write only its digits"
        return Cell(problem=f"{quoted(text)} {words}")
    return _whole_number(value)


def _whole_number(value: Value) -> Cell:
    if isinstance(value, int) and not isinstance(value, bool):
        return Cell(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return Cell(int(value))
    text = text_of(value).strip()
    if isinstance(value, str):
        if _WHOLE.fullmatch(text):
            return Cell(int(text))
        if match := _POINT_ZERO.fullmatch(text):
            return _repaired(int(match[1]), text)
    return Cell(problem=f"{quoted(text)} is not a whole number")


def _duration(value: Value) -> Cell:
    cell = _whole_number(value)
    if not cell.problem:
        return cell
    text = text_of(value).strip()
    if match := _SECONDS.fullmatch(text) or _TIME.fullmatch(text):
        return _repaired(int(match[1]), text)
    lengths = f"{SHORTEST_CLIP} to {LONGEST_CLIP}"
    if _RANGE.fullmatch(text):
        return Cell(problem=f"{quoted(text)} is a range; choose one whole number, {lengths}")
    return Cell(problem=f"{quoted(text)} is not a whole number of seconds, {lengths}")


TRUE_WORDS: Final = frozenset(
    "true yes y on 1 1.0 wahr ja vrai oui verdadero sí vero 是 真 ✓ ✔".split()
)
FALSE_WORDS: Final = frozenset("false no n off 0 0.0 falsch nein faux non falso 否 假 ✗ ✘".split())


def _truth(value: Value) -> Cell:
    if isinstance(value, bool):
        return Cell(value)
    text = text_of(value).strip()
    word = text.casefold()
    if word in TRUE_WORDS or word in FALSE_WORDS:
        is_true = word in TRUE_WORDS
        plain = word in {"true", "false"} or not isinstance(value, str)
        return Cell(is_true) if plain else _repaired(is_true, text)
    return Cell(problem=f"{quoted(text)} is neither true nor false; write yes or no")


def _repaired(value: str | int, text: str) -> Cell:
    return Cell(value, receipt=f"{quoted(text)} is read as {text_of(value)}")


# ── closed sets ─────────────────────────────────────────────────────────────────────────────────

_RESOLUTIONS: Final = {
    **{name.value: name for name in Resolution},
    **{name.value.removesuffix("p"): name for name in Resolution},
    **dict.fromkeys(("sd", "sd480", "sd480p", "854x480", "848x480", "640x480"), Resolution.P480),
    **dict.fromkeys(("hd", "hd720", "hd720p", "hdready", "1280x720"), Resolution.P720),
    **dict.fromkeys(("fullhd", "fhd", "hd1080", "hd1080p", "1920x1080"), Resolution.P1080),
    **dict.fromkeys(("uhd", "ultrahd", "2160p", "2160", "4kuhd", "3840x2160"), Resolution.K4),
}
"""``hd`` is 720p for those who name the sizes; a receipt says so."""
_BETWEEN: Final = re.compile(r"[\s\-_()]+")
_HD: Final = re.compile("fullhd|ultrahd|[fu]?hd")
_PIXELS: Final = re.compile(r"([0-9]{3,4})[x×*]([0-9]{3,4})")


def _resolution(value: Value) -> Cell:
    text = text_of(value)
    plain = _BETWEEN.sub("", text.casefold())
    if match := _PIXELS.fullmatch(plain):
        plain = "x".join(sorted(match.groups(), key=int, reverse=True))
    found = _RESOLUTIONS.get(plain) or _RESOLUTIONS.get(_HD.sub("", plain))
    if found is None:
        names = ", ".join(name.value for name in Resolution if name is not Resolution.K4)
        return Cell(problem=f"{quoted(text)} is not one of {names}")
    return Cell(found.value) if text == found.value else _repaired(found.value, text)


_RATIO_NAMES: Final = {ratio.value: ratio for ratio in AspectRatio}
_RATIO_SIGNS: Final = re.compile(r"\s*[:：∶/x×\-–_]\s*|\s+(?:by|to|zu)\s+", re.IGNORECASE)
_RATIO_WORDS: Final = {
    **dict.fromkeys(("landscape", "horizontal", "querformat", "paysage", "横屏"), "16:9"),
    **dict.fromkeys(("portrait", "vertical", "hochformat", "竖屏"), "9:16"),
    **dict.fromkeys(("widescreen", "breitbild", "宽屏"), "16:9"),
    **dict.fromkeys(("square", "quadratisch", "carré", "cuadrado", "方形"), "1:1"),
}


def _ratio_among_words(text: str) -> AspectRatio | None:
    """The one ratio in ``16:9 (YouTube)`` or ``vertical 9:16``."""
    words = [_RATIO_SIGNS.sub(":", word) for word in _ASIDE.split(text) if word]
    named = {_RATIO_NAMES.get(_RATIO_WORDS.get(word) or word) for word in words} - {None}
    digits = any(word not in _RATIO_NAMES and re.search(r"[0-9]", word) for word in words)
    return named.pop() if len(named) == 1 and not digits else None


_ASIDE: Final = re.compile(r"[\s(),;]+")


def _ratio_of_pixels(text: str) -> AspectRatio | None:
    match = re.fullmatch(r"([0-9]{3,4}):([0-9]{3,4})", text)
    if match is None or not int(match[2]):
        return None
    quotient = int(match[1]) / int(match[2])
    near = (ratio for ratio in AspectRatio if abs(quotient / (ratio.quotient or 9) - 1) < 0.01)
    return next(near, None)


def _ratio(value: Value) -> Cell:
    if isinstance(value, str):
        if value in _RATIO_NAMES:
            return Cell(value)
        word = value.strip().casefold()
        plain = _RATIO_WORDS.get(word) or _RATIO_SIGNS.sub(":", word)
        named = _RATIO_NAMES.get(plain) or _ratio_among_words(word) or _ratio_of_pixels(plain)
        if named is not None:
            return _repaired(named.value, value)
    minutes = _minutes_of_day(value)
    text = text_of(value)
    clock = "" if minutes is None else f"{minutes // 60}:{minutes % 60}"
    if minutes is None or (clock not in _RATIO_NAMES and clock == text.strip()):
        return Cell(problem=_no_ratio(value, text))
    if clock in _RATIO_NAMES:
        return Cell(
            clock, receipt=f"{quoted(text)}, a time made by a spreadsheet, is read as {clock}"
        )
    return Cell(
        problem=f"{quoted(text)} is the time {minutes // 60}:{minutes % 60:02}, not a ratio; "
        f"{_AS_TEXT}"
    )


_AS_TEXT: Final = "format the column as text and type it again"
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*|[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4}"
)
_NUMBER: Final = re.compile(r"[0-9]+(?:[.,][0-9]+)?\s?%?")


def _no_ratio(value: Value, text: str) -> str:
    """Why a cell is none, and what to do where a spreadsheet made something else of it."""
    names = ", ".join(_RATIO_NAMES)
    if isinstance(value, date) or _DATE.fullmatch(text.strip()):
        return f"{quoted(text)} is a date, not one of {names}; {_AS_TEXT}"
    if isinstance(value, int | float) or _NUMBER.fullmatch(text.strip()):
        return f"{quoted(text)} is a number, not one of {names}; {_AS_TEXT}"
    return f"{quoted(text)} is not one of {names}"


_CLOCK: Final = re.compile(
    r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}(?:[.,][0-9]+)?))?(?:\s*([ap])\.?m\.?)?", re.IGNORECASE
)
_DAY_FRACTION: Final = re.compile(r"0?[.,][0-9]{3,}")


def _minutes_of_day(value: Value) -> int | None:
    """The time that a spreadsheet made of a ratio, to the nearest minute."""
    seconds: float | None = None
    if isinstance(value, time):
        seconds = value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    elif isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, float) and 0 < value < 1:
        seconds = value * 86_400
    elif isinstance(value, str):
        seconds = _seconds_of_text(value.strip())
    if seconds is None or not 0 <= seconds < 86_400:
        return None
    # A day's fraction has lost some digits; a time with odd seconds never was a ratio.
    minutes = round(seconds / 60)
    return minutes if abs(seconds - minutes * 60) < 1 else None


def _seconds_of_text(text: str) -> float | None:
    if _DAY_FRACTION.fullmatch(text):
        return float(text.replace(",", ".")) * 86_400
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    hours, minutes = int(match[1]), int(match[2])
    if match[4]:
        hours = hours % 12 + (12 if match[4] in "pP" else 0)
    return hours * 3600 + minutes * 60 + float((match[3] or "0").replace(",", "."))


# ── addresses ───────────────────────────────────────────────────────────────────────────────────

_WRAPPING: Final = " \t\r\n\u00a0\u200b\u200e\u200f\u2060\ufeff\"'“”„‟‘’‚‛«»‹›"
_STRAY: Final = re.compile(r"[\s\x00-\x20\x7f\u200b-\u200f\u202a-\u202e\u2060\ufeff“”„‟‘’«»]")
"""What word processors put into addresses, and no address holds."""
_JOINED: Final = re.compile(r"://[^\s,;]+[\s,;][\s,;\"']*(?:https?|asset)://", re.IGNORECASE)
"""Two addresses in one; a comma inside of one is its own."""
SEVERAL: Final = re.compile(r"[|\r\n]+")


def _single_address(value: Value) -> Cell:
    if isinstance(value, tuple):
        if len(value) != 1:
            return Cell(problem=f"takes one file or URL, not {len(value)}")
        value = value[0]
    if not isinstance(value, str):
        return Cell(problem=f"{quoted(text_of(value))} is neither a file nor a URL")
    if _JOINED.search(value):
        return Cell(problem=f"{quoted(value.strip())} holds several addresses; one is taken here")
    return _addresses([value]) if value.strip() else Cell()


def _list(value: Value) -> Cell:
    """Texts; one cell is split on ``|`` and line breaks, a list is taken as it is."""
    items = list(value) if isinstance(value, tuple) else [value]
    wrong = next((item for item in items if not isinstance(item, str)), None)
    if wrong is not None:
        return Cell(problem=f"{quoted(text_of(wrong))} is neither a file nor a URL")
    texts = [item for item in items if isinstance(item, str)]
    if not isinstance(value, tuple):
        texts = SEVERAL.split(texts[0])
        if joined := next(filter(_JOINED.search, texts), None):
            words = "holds several addresses; put | or a line break between them"
            return Cell(problem=f"{quoted(joined.strip())} {words}")
    elif any(not item.strip() for item in texts):
        return Cell(problem="has an empty item")
    return _addresses([text for text in texts if text.strip()])


def _addresses(texts: list[str]) -> Cell:
    clean = [text.strip(_WRAPPING) for text in texts]
    if not all(clean):
        return Cell(problem=f"{quoted(' | '.join(texts))} is neither a file nor a URL")
    for text in clean:
        if not text.startswith("data:") and "://" in text and (stray := _STRAY.search(text)):
            name = unicodedata.name(stray[0], "a control character").lower()
            return Cell(problem=f"{quoted(text)} contains a stray character ({name})")
    changed = [text for text, kept in zip(texts, clean, strict=True) if text.strip(" \t") != kept]
    if not changed:
        return Cell(clean or None)
    return Cell(clean, receipt=f"quotes or spaces around {quoted(changed[0])} are left out")


# ── id and model ────────────────────────────────────────────────────────────────────────────────

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
LONGEST_ID: Final = 200


def _id(value: Value) -> Cell:
    if isinstance(value, date | time | timedelta):
        text = text_of(value)
        return Cell(text, receipt=f"an id that a spreadsheet turned into a date is read as {text}")
    text = text_of(value).strip()
    if _CONTROL.search(text):
        return Cell(problem=f"{quoted(text)} contains a line break or a control character")
    if len(text) > LONGEST_ID:
        return Cell(problem=f"an id has at most {LONGEST_ID} characters, not {len(text):,}")
    if why := _error_value(text):
        return Cell(problem=why)
    if _MADE_BY_SPREADSHEET.fullmatch(text):
        words = f"{quoted(text)} looks like a date or a number made by a spreadsheet; it is kept"
        return Cell(text, receipt=words)
    return Cell(text)


_MADE_BY_SPREADSHEET: Final = re.compile(
    r"[0-9]{1,2}[-. ][A-Z][a-zé]{2,3}\.?([- ][0-9]{2,4})?|[A-Z][a-z]{2}[- ][0-9]{2,4}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2} 00:00(:00)?|[0-9]([.,][0-9]+)?E\+[0-9]+"
)
"""What becomes of ``3-5``, ``MAR5`` and ``123456789012345678`` on their way through a CSV."""


_SEEDANCE_2: Final = re.compile(
    r"(?:bytedance|doubao|hiapi)?[/ -]*seedance[ _-]?v?2(?:[._-]0)?(?:[ _-](fast|mini))?",
    re.IGNORECASE,
)


def _model(value: Value) -> Cell:
    text = text_of(value).strip()
    if text not in MODEL_SPELLINGS and (match := _SEEDANCE_2.fullmatch(text)):
        smaller = f"seedance-2.0-{match[1].casefold()}" if match[1] else ""
        return _repaired(smaller or DEFAULT_MODEL, text)
    if _CONTROL.search(text) or len(text) > LONGEST_ID or _error_value(text):
        return Cell(problem=f"{quoted(text)} is not a model name")
    return Cell(text)


_PARSERS: Final[dict[str, Callable[[Value], Cell]]] = {
    "aspect_ratio": _ratio,
    "resolution": _resolution,
    "duration": _duration,
    "seed": whole_number,
    "return_last_frame": _truth,
    "generate_audio": _truth,
    "web_search": _truth,
    "nsfw_checker": _truth,
    "id": _id,
    "model": _model,
}
