"""Draws a clip's frames with all that is given for them or written on them; makes its files."""

from __future__ import annotations

import colorsys
import io
import math
import re
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from seedance_batch.sandbox.answers import unit
from seedance_batch.sandbox.encode import Overlay, Picture, Planes, encode, fade, tone
from seedance_batch.sandbox.validation import content_at
from seedance_batch.sandbox.views import FPS, LAST_FRAME, THUMBNAIL, ClipSpec, Drawn, even

# ── Composes a clip's frames: backdrop, first and last frame, and everything written on them ──────


class Scene:
    """The frames of one clip, each for itself."""

    def __init__(self, clip: ClipSpec) -> None:
        self._clip = clip
        content = clip.drawn.content if clip.drawn else ""
        self._backdrop = Backdrop(content, clip.width, clip.height)
        self._first = self._given("first_frame")
        self._last = self._given("last_frame")
        self._lettering = Lettering(clip) if clip.drawn else None

    def _given(self, name: str) -> Picture | None:
        url: str | None = getattr(self._clip.drawn, name, None)
        size = self._clip.width, self._clip.height
        return Picture.of(covering(url, size, name.replace("_", " "))) if url else None

    def planes(self, number: int) -> Planes:
        """A frame by its number, from 0; a plain clip shows one picture all the time."""
        if self._lettering is None:
            return self._still
        time = number / max(self._clip.frames - 1, 1)
        picture = self._picture(number / FPS, time).copy()
        self._lettering.lay_on(picture, number)
        return picture.packed()

    @cached_property
    def _still(self) -> Planes:
        return self._picture(0.0, 0.0).packed()

    def _picture(self, seconds: float, time: float) -> Picture:
        """``time`` runs from 0 to 1: the first frame gives way, the last one takes over."""
        if self._first and self._last:
            return fade(self._first, self._last, _smooth(time, 0.15, 0.85))
        backdrop = self._backdrop.at(seconds)
        if self._first:
            return fade(self._first, backdrop, 0.8 * _smooth(time, 0.3, 1.0))
        return backdrop


def _smooth(time: float, start: float, end: float) -> float:
    share = min(max((time - start) / (end - start), 0.0), 1.0)
    return share * share * (3 - 2 * share)


# ── The moving background of a clip: soft colours of its own, drifting ────────────────────────────


_MARGIN: Final = 160
_GRAIN: Final = 8
"""The colours are made this much smaller and scaled up: they are soft."""
_BLOBS: Final = 6


class Backdrop:
    """A larger picture over which the frame wanders in a slow loop."""

    def __init__(self, content: str, width: int, height: int) -> None:
        self._content = content
        self._size = width, height
        whole = (width + 2 * _MARGIN, height + 2 * _MARGIN)
        small = (whole[0] // _GRAIN + 1, whole[1] // _GRAIN + 1)
        image = Image.fromarray(_colours(content, *small))
        self._picture = Picture.of(image.resize(whole, Image.Resampling.BICUBIC))

    def at(self, seconds: float) -> Picture:
        """The background at a time."""
        turn = 2 * math.pi * (unit(self._content, "turn") + seconds / 9.0)
        left = _MARGIN * (1 + math.sin(turn))
        top = _MARGIN * (1 + math.cos(turn * 0.7))
        return self._picture.crop(int(left) // 2 * 2, int(top) // 2 * 2, *self._size)


def _colours(content: str, width: int, height: int) -> NDArray[np.uint8]:
    """Blobs of neighbouring hues on a dark ground."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    hue = unit(content, "hue")
    mixed = np.ones((height, width, 3), np.float32) * _rgb(hue, 0.75, 0.30)
    for number in range(_BLOBS):
        where = [unit(content, "blob", number, axis) for axis in range(4)]
        reach = (0.16 + 0.22 * where[2]) * max(width, height)
        distance = ((x - where[0] * width) ** 2 + (y - where[1] * height) ** 2) / reach**2
        weight = np.exp(-distance)[..., None] * 0.85
        colour = _rgb(hue + 0.30 * (where[3] - 0.5), 0.6, 0.45 + 0.4 * where[2])
        mixed = mixed * (1 - weight) + colour * weight
    colours: NDArray[np.uint8] = np.clip(mixed * 255, 0, 255).astype(np.uint8)
    return colours


def _rgb(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), dtype=np.float32)


# ── What is written on a clip: the prompt, its facts, the references, a running timecode ──────────


_INK: Final = (250, 250, 248, 255)
_SOFT: Final = (226, 230, 236, 255)
_CLEAR: Final = (0, 0, 0, 0)
_SHADE: Final = 168
"""How dark the ground below the prompt is, of 255."""


class Lettering:
    """Everything that stands still is drawn once; the timecode is drawn for each frame."""

    def __init__(self, clip: ClipSpec) -> None:
        self._clip = clip
        unit = min(clip.width, clip.height)
        self._edge = even(unit * 0.045)
        self._small = max(round(unit * 0.030), 12)
        drawn = clip.drawn
        if drawn is None:
            raise ValueError("a plain clip has no lettering")
        self._clock_width = even(face(self._small).width("00:00:00 / 00:00:00") + 4)
        self._still = [self._header(drawn), *self._prompt(drawn, round(unit * 0.062))]

    def lay_on(self, picture: Picture, number: int) -> None:
        """Writes on the frame of that number."""
        for overlay in self._still:
            overlay.lay_on(picture)
        self._timecode(number).lay_on(picture)
        self._progress(picture, number)

    def _header(self, drawn: Drawn) -> Overlay:
        """One line at the top: this is a rehearsal, and of what."""
        height = even(self._edge * 2 + self._small)
        own = face(self._small)
        room = self._clip.width - 3 * self._edge - self._clock_width
        caption = f"SANDBOX · {drawn.caption}"
        while own.width(caption) > room and " · " in caption:
            caption = caption.rpartition(" · ")[0]
        text = Image.new("RGBA", (self._clip.width, height), _CLEAR)
        own.draw(ImageDraw.Draw(text), self._edge, self._edge + self._small, caption, _SOFT)
        return Overlay.of(Image.alpha_composite(_shade(text.size, 185, 0), text))

    def _prompt(self, drawn: Drawn, largest: int) -> list[Overlay]:
        """The prompt on a darkened ground at the bottom, the references above it."""
        width = self._clip.width - 2 * self._edge
        smallest = max(round(self._small * 0.8), 11)
        block = fit(drawn.prompt, width, self._clip.height * 9 // 20, largest, smallest)
        height = min(even(block.height + 3 * self._edge), self._clip.height)
        top = self._clip.height - height
        text = Image.new("RGBA", (self._clip.width, height), _CLEAR)
        block.draw(ImageDraw.Draw(text), self._edge, 2 * self._edge, _INK)
        ground = _shade(text.size, 0, _SHADE, steep=3)
        strip = self._strip(drawn, top)
        return [
            Overlay.of(Image.alpha_composite(ground, text), 0, top),
            *([strip] if strip else []),
        ]

    def _strip(self, drawn: Drawn, bottom: int) -> Overlay | None:
        """References side by side; what is no image is named."""
        count = len(drawn.references) + len(drawn.others)
        if not count:
            return None
        gap = max(self._edge // 3, 4)
        room = self._clip.width - 2 * self._edge
        side = min(self._clip.height // 5, (room - gap * (count - 1)) // count)
        if side < 16:
            return None
        image = Image.new("RGBA", (even(count * (side + gap)), even(side + 1)), (0, 0, 0, 0))
        for number, card in enumerate(_cards(drawn, side)):
            image.paste(_framed(card), (number * (side + gap), 0))
        top = max(bottom - image.height + self._edge, self._edge * 2 + self._small)
        return Overlay.of(image, self._edge, even(top))

    def _timecode(self, number: int) -> Overlay:
        text = f"{_timecode(number)} / {_timecode(self._clip.frames - 1)}"
        mask = Image.new("L", (self._clock_width, even(self._small * 1.4)), 0)
        own, draw = face(self._small), ImageDraw.Draw(mask)
        own.draw(draw, mask.width - own.width(text), self._small, text, (255,))
        image = Image.new("RGBA", mask.size, _SOFT)
        image.putalpha(mask)
        return Overlay.of(image, even(self._clip.width - self._edge - mask.width), self._edge)

    def _progress(self, picture: Picture, number: int) -> None:
        """A bright line along the bottom edge."""
        length = round(self._clip.width * (number + 1) / self._clip.frames)
        thick = even(max(self._clip.height / 120, 2))
        picture.y[-thick:, :length] = 220
        picture.u[-thick // 2 :, : length // 2] = 128
        picture.v[-thick // 2 :, : length // 2] = 128


def _timecode(number: int) -> str:
    seconds, frame = divmod(number, FPS)
    return f"{seconds // 60:02d}:{seconds % 60:02d}:{frame:02d}"


def _cards(drawn: Drawn, side: int) -> list[Image.Image]:
    size = (side, side)
    images = [
        covering(url, size, _label("image", number + 1, side))
        for number, url in enumerate(drawn.references)
    ]
    return images + [covering("", size, _label(*other, side)) for other in drawn.others]


def _label(kind: str, number: int, side: int) -> str:
    return f"{kind} {number}" if side >= 56 else f"{kind[0].upper()}{number}"


def _framed(card: Image.Image) -> Image.Image:
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, 0, card.width - 1, card.height - 1), None, (240, 240, 240), 2)
    return card


def _shade(size: tuple[int, int], top: int, bottom: int, steep: float = 1) -> Image.Image:
    """Black that is ``top`` opaque above and ``bottom`` opaque below, sooner where ``steep``."""
    width, height = size
    share = np.minimum(np.linspace(0, steep, height, dtype=np.float32), 1)
    column = (top + (bottom - top) * share).astype(np.uint8)
    image = Image.new("RGBA", size, (0, 0, 0, 255))
    image.putalpha(Image.fromarray(np.repeat(column[:, None], width, axis=1)))
    return image


# ── Given images, brought to a size; a placeholder where one is not ours to fetch ─────────────────


def covering(url: str, size: tuple[int, int], name: str) -> Image.Image:
    """The image at an address, filling the size (cut at the longer side)."""
    image = _opened(url)
    if image is None:
        return _placeholder(size, name, url)
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def _opened(url: str) -> Image.Image | None:
    content = content_at(url)
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def _placeholder(size: tuple[int, int], name: str, url: str) -> Image.Image:
    """A quiet card that says what would be here."""
    width, height = size
    image = Image.new("RGB", size, (52, 56, 66))
    draw = ImageDraw.Draw(image)
    step = max(min(size) // 8, 8)
    for offset in range(-height, width, step):
        draw.line((offset, height, offset + height, 0), (60, 65, 76), max(step // 4, 1))
    edge = max(min(size) // 60, 2)
    draw.rectangle((edge, edge, width - edge - 1, height - edge - 1), None, (120, 128, 145), 1)
    shown = url if len(url) <= 60 else f"{url[:44]}…{url[-14:]}"
    text = f"{name}\n{shown}" if min(size) > 160 else name
    block = fit(text, width * 4 // 5, height // 2, max(min(size) // 18, 11), 9)
    top = (height - block.height) // 2 if min(size) <= 160 else height // 3 - block.height // 2
    block.draw(draw, width // 2, top, (205, 211, 222), centred=True)
    return image


# ── Sets a prompt legibly: fonts, line breaks for Latin and CJK, the largest size that fits ───────


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
    content = io.BytesIO(resources.files(__package__).joinpath(f"fonts/{name}").read_bytes())
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


# ── A clip's files: the MP4, its last frame as PNG, a thumbnail as JPEG ───────────────────────────


class Abandoned(Exception):
    """Nobody waits for this file any more."""


def render(clip: ClipSpec, name: str, stop: threading.Event | None = None) -> bytes:
    """The bytes of the named output file, the same for the same clip; ``stop`` gives up."""
    return _render(clip, name, stop) if clip.drawn else _plain(clip, name)


@lru_cache(maxsize=64)
def _plain(clip: ClipSpec, name: str) -> bytes:
    return _render(clip, name, None)


def _render(clip: ClipSpec, name: str, stop: threading.Event | None) -> bytes:
    scene = Scene(clip)
    if name == LAST_FRAME:
        return _picture(scene.planes(clip.frames - 1), "PNG")
    if name == THUMBNAIL:
        return _picture(scene.planes(clip.frames // 2), "JPEG", longest=320)
    content = clip.drawn.content if clip.drawn else ""
    sound = tone(content, clip.frames / FPS) if clip.audio else None
    return encode((clip.width, clip.height), _frames(scene, clip.frames, stop), sound, clip.form)


def _frames(scene: Scene, count: int, stop: threading.Event | None) -> Iterator[Planes]:
    for number in range(count):
        if stop is not None and stop.is_set():
            raise Abandoned
        yield scene.planes(number)


def _picture(planes: Planes, kind: str, longest: int | None = None) -> bytes:
    rgb = av.VideoFrame.from_ndarray(planes, format="yuv420p").to_ndarray(format="rgb24")
    image = Image.fromarray(rgb)
    if longest:
        image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
