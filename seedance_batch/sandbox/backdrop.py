"""The moving background of a clip: soft colours of its own, drifting."""

from __future__ import annotations

import colorsys
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedance_batch.sandbox.faults import unit
from seedance_batch.sandbox.yuv import Picture

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
