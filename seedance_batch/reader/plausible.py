"""How odd a text looks: ranks the readings of bytes whose encoding nobody named."""

from __future__ import annotations

import re
from typing import Final

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
