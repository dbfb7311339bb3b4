"""Sets a prompt legibly: fonts, line breaks for Latin and CJK, the largest size that fits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from io import BytesIO
from typing import Final

from PIL import ImageDraw, ImageFont

Ink = tuple[int, ...]

_LEADING: Final = 1.32
_LONGEST: Final = 1_600
"""Characters of a prompt that are looked at; no frame shows more."""
_NO_LINE_START: Final = frozenset("、。，．：；？！）」』】》〉”’…—～·,.:;?!)]}%")
_PIECES: Final = re.compile(r"\s+|[^\s\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+|.")
_LATIN: Final = re.compile(
    "([ -~\xa0-\u024f\u0370-\u03e1\u03f0-\u052f\u1e00-\u1eff\u2010-\u2027\u2030-\u203a€™]+)"
)
"""What the Latin font has; the wide one is asked for all else and draws a box if it lacks it."""


class Face:
    """The sandbox's two fonts at a size, as one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._fonts = (_font("SandboxSansWide.otf", size), _font("SandboxSansLatin.ttf", size))

    def width(self, text: str) -> float:
        """Pixels from the text's start to its end."""
        return sum(font.getlength(run) for run, font in self._runs(text))

    def draw(
        self, draw: ImageDraw.ImageDraw, left: float, baseline: int, text: str, ink: Ink
    ) -> None:
        """Writes the text from a point on its baseline."""
        for run, font in self._runs(text):
            draw.text((left, baseline), run, ink, font, anchor="ls")
            left += font.getlength(run)

    def _runs(self, text: str) -> Iterator[tuple[str, ImageFont.FreeTypeFont]]:
        """``split`` puts what matches at odd places."""
        for number, run in enumerate(_LATIN.split(text)):
            if run:
                yield run, self._fonts[number % 2]


@lru_cache(maxsize=64)
def face(size: int) -> Face:
    """The fonts at a size, opened once."""
    return Face(size)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    content = BytesIO(resources.files(__package__).joinpath(f"fonts/{name}").read_bytes())
    return ImageFont.truetype(content, size, layout_engine=ImageFont.Layout.BASIC)


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of text at a size."""

    lines: tuple[str, ...]
    size: int

    @property
    def leading(self) -> int:
        """From one line to the next, in pixels."""
        return round(self.size * _LEADING)

    @property
    def height(self) -> int:
        """All lines together, in pixels."""
        return self.leading * len(self.lines)

    def draw(
        self, draw: ImageDraw.ImageDraw, left: int, top: int, ink: Ink, *, centred: bool = False
    ) -> None:
        """Writes the lines from the block's upper left, or around a middle."""
        own = face(self.size)
        for number, line in enumerate(self.lines):
            start = left - own.width(line) / 2 if centred else left
            own.draw(draw, start, top + number * self.leading + self.size, line, ink)


def fit(text: str, width: int, height: int, largest: int, smallest: int) -> Block:
    """The text at the largest size at which it fits; at the smallest, cut with an ellipsis."""
    text = _shown(text)
    size = largest
    while True:
        block = Block(tuple(wrap(text, face(size), width)), size)
        if block.height <= height:
            return block
        if size <= smallest:
            return _cut(block, width, height)
        size = max(smallest, round(size * 0.9))


def _shown(text: str) -> str:
    """Without what has no picture: joiners, variation selectors, controls."""
    kept = text[:_LONGEST].replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    shown = "".join(c for c in kept if c == "\n" or unicodedata.category(c)[0] != "C")
    shown = "".join(c for c in shown if not "\ufe00" <= c <= "\ufe0f")
    return shown + ("…" if len(text) > _LONGEST else "")


def _cut(block: Block, width: int, height: int) -> Block:
    room = max(height // block.leading, 1)
    last = block.lines[room - 1].rstrip()
    while last and face(block.size).width(last + " …") > width:
        last = last[:-1]
    return Block((*block.lines[: room - 1], f"{last} …"), block.size)


def wrap(text: str, face: Face, width: int) -> Iterator[str]:
    """Lines no wider than ``width`` pixels; the text's own line breaks are kept."""
    for paragraph in text.split("\n"):
        yield from _wrap_paragraph(paragraph, face, width)


def _wrap_paragraph(text: str, face: Face, width: int) -> Iterator[str]:
    line, used = "", 0.0
    for piece in _PIECES.findall(text):
        wide = face.width(piece)
        hangs = piece in _NO_LINE_START and line
        if hangs or piece.isspace() or used + wide <= width:
            line, used = line + piece, used + wide
            continue
        if line.strip():
            yield line.rstrip()
        *whole, line = _chop(piece, face, width)
        used = face.width(line)
        yield from whole
    yield line.rstrip()


def _chop(word: str, face: Face, width: int) -> list[str]:
    """A word wider than the line, in parts that are not."""
    parts = [""]
    for character in word:
        if parts[-1] and face.width(parts[-1] + character) > width:
            parts.append("")
        parts[-1] += character
    return parts
