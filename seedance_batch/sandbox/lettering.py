"""What is written on a clip: the prompt, its facts, the references, a running timecode."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from seedance_batch.sandbox.clips import FPS, Clip, Drawn
from seedance_batch.sandbox.pictures import covering
from seedance_batch.sandbox.typeset import face, fit
from seedance_batch.sandbox.yuv import Overlay, Picture

_INK: Final = (250, 250, 248, 255)
_SOFT: Final = (226, 230, 236, 255)
_CLEAR: Final = (0, 0, 0, 0)
_SHADE: Final = 168
"""How dark the ground below the prompt is, of 255."""


class Lettering:
    """Everything that stands still is drawn once; the timecode is drawn for each frame."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        unit = min(clip.width, clip.height)
        self._edge = _even(unit * 0.045)
        self._small = max(round(unit * 0.030), 12)
        drawn = clip.drawn
        if drawn is None:
            raise ValueError("a plain clip has no lettering")
        self._clock_width = _even(face(self._small).width("00:00:00 / 00:00:00") + 4)
        self._still = [self._header(drawn), *self._prompt(drawn, round(unit * 0.062))]

    def lay_on(self, picture: Picture, number: int) -> None:
        """Writes on the frame of that number."""
        for overlay in self._still:
            overlay.lay_on(picture)
        self._timecode(number).lay_on(picture)
        self._progress(picture, number)

    def _header(self, drawn: Drawn) -> Overlay:
        """One line at the top: this is a rehearsal, and of what."""
        height = _even(self._edge * 2 + self._small)
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
        height = min(_even(block.height + 3 * self._edge), self._clip.height)
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
        image = Image.new("RGBA", (_even(count * (side + gap)), _even(side + 1)), (0, 0, 0, 0))
        for number, card in enumerate(_cards(drawn, side)):
            image.paste(_framed(card), (number * (side + gap), 0))
        top = max(bottom - image.height + self._edge, self._edge * 2 + self._small)
        return Overlay.of(image, self._edge, _even(top))

    def _timecode(self, number: int) -> Overlay:
        text = f"{_timecode(number)} / {_timecode(self._clip.frames - 1)}"
        mask = Image.new("L", (self._clock_width, _even(self._small * 1.4)), 0)
        own, draw = face(self._small), ImageDraw.Draw(mask)
        own.draw(draw, mask.width - own.width(text), self._small, text, (255,))
        image = Image.new("RGBA", mask.size, _SOFT)
        image.putalpha(mask)
        return Overlay.of(image, _even(self._clip.width - self._edge - mask.width), self._edge)

    def _progress(self, picture: Picture, number: int) -> None:
        """A bright line along the bottom edge."""
        length = round(self._clip.width * (number + 1) / self._clip.frames)
        thick = _even(max(self._clip.height / 120, 2))
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


def _even(length: float) -> int:
    return int(length) // 2 * 2
