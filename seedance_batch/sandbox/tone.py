"""The sound of a clip: a soft chord that belongs to its content."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from seedance_batch.sandbox.encode import RATE
from seedance_batch.sandbox.faults import unit

_PENTATONIC: Final = (0, 2, 4, 7, 9)
_LOUDNESS: Final = 0.11
_FADE: Final = 0.25
_EAR_DELAY: Final = 0.35
"""Phase between the two ears, in radians."""


def tone(content: str, seconds: float) -> NDArray[np.float32]:
    """(2, samples): three voices of a pentatonic chord that breathe, faded in and out."""
    time = np.arange(round(seconds * RATE), dtype=np.float32) / np.float32(RATE)
    mixed = np.zeros((2, time.size), np.float32)
    for voice, pitch in enumerate(_pitches(content)):
        breath = 0.6 + 0.4 * np.sin(2 * np.pi * (0.11 + 0.07 * voice) * time + 2 * voice)
        for ear in (0, 1):
            swing = np.sin(2 * np.pi * pitch * time + ear * _EAR_DELAY)
            mixed[ear] += (_LOUDNESS / (voice + 1) * breath * swing).astype(np.float32)
    edge = np.minimum(time, time[::-1]) / np.float32(_FADE)
    mixed *= np.minimum(edge, np.float32(1))
    return mixed


def _pitches(content: str) -> tuple[float, float, float]:
    root = 110 * 2 ** (int(unit(content, "root") * 12) / 12)
    third = _PENTATONIC[1 + int(unit(content, "third") * 2)]
    fifth = _PENTATONIC[3 + int(unit(content, "fifth") * 2)]
    return root, root * 2 ** (third / 12), root * 2 ** ((fifth + 12) / 12)
