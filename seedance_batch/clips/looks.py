"""How a clip looks and sounds, in numbers, by decoding it: to choose by among many thousands.

Blocking: call it from a worker thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from seedance_batch.clips.media import MOST_FRAMES, MediaUnreadable, opened_video

if TYPE_CHECKING:
    from numpy.typing import NDArray

Picture: TypeAlias = "NDArray[Any]"
"""Grey values from 0 to 255, line by line."""
_SIDE: Final = 64
"""Pixels of the small grey picture that each frame is measured by."""
_DARK: Final = 32
"""Of 255: a darker pixel is black, as for FFmpeg's blackframe."""
_MOST_DARK: Final = 0.98
"""The share of black pixels of which a frame is black."""
_STILL: Final = 0.001
"""The mean change, of 1, up to which a frame is as the one before: -60 dB, as for freezedetect."""
_MOMENTS: Final = (0.25, 0.5, 0.75)
SILENCE: Final = -70.0
"""LUFS of what cannot be heard, by EBU R 128."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """What was measured in a clip."""

    black: float
    """The share of its frames that are black."""
    frozen: float
    """The share of its frames that are as the one before."""
    motion: float
    """How much changes from frame to frame: 0 nothing, 1 from black to white."""
    loudness: float | None
    """LUFS over the whole clip; `SILENCE` where there is no sound."""
    phash: str
    """Perceptual hashes of three moments, 64 bits each, as 48 hexadecimal digits."""


def appearance_of(path: Path) -> Appearance:
    """Decode a clip and measure it. Raises `MediaUnreadable`, and ``OSError``."""
    with opened_video(path) as container:
        decoded = islice(container.decode(container.streams.video[0]), MOST_FRAMES)
        small = [_small(frame) for frame in decoded]
    if not small:
        raise MediaUnreadable("has no frame that can be decoded")
    changes = [_change(before, after) for before, after in pairwise(small)]
    black = sum(float((picture < _DARK).mean()) >= _MOST_DARK for picture in small)
    return Appearance(
        black=round(black / len(small), 4),
        frozen=round(sum(change <= _STILL for change in changes) / max(len(changes), 1), 4),
        motion=round(sum(changes) / max(len(changes), 1), 5),
        loudness=_loudness(path),
        phash="".join(_phash(small[int(at * len(small))]) for at in _MOMENTS),
    )


def _small(frame: Any) -> Picture:
    picture = frame.reformat(width=_SIDE, height=_SIDE, format="gray", interpolation="AREA")
    found: Picture = picture.to_ndarray()
    return found


def _change(before: Picture, after: Picture) -> float:
    return float(abs(after.astype("int16") - before).mean()) / 255


def _phash(picture: Picture) -> str:
    """pHash: of 32 × 32 pixels the 8 × 8 lowest frequencies of the discrete cosine transform (type
    II), each above or below the middle of them."""
    import numpy as np

    half = _SIDE // 2
    means = picture.reshape(half, 2, half, 2).mean(axis=(1, 3))
    turns = np.pi * (2 * np.arange(half) + 1) / (2 * half)
    cosines = np.array([np.cos(k * turns) for k in range(8)])
    low = (cosines @ means @ cosines.T).ravel().round(3)
    bits = low > np.median(low[1:])  # the first is the brightness alone
    return np.packbits(bits).tobytes().hex()


# ── loudness ────────────────────────────────────────────────────────────────────────────────────


def _loudness(path: Path) -> float | None:
    """By FFmpeg's ebur128; None where this PyAV (before 18.1) does not hand on what it finds."""
    from av import AudioFrame

    if not hasattr(AudioFrame, "metadata"):
        return None
    with opened_video(path) as container:
        sounds = container.streams.audio
        if not sounds:
            return SILENCE
        told = [dict(frame.metadata).get(_TOLD) for frame in _measured(container, sounds[0])]
    found = float(next(filter(None, reversed(told)), SILENCE))
    return round(found, 2) if found > SILENCE else SILENCE


_TOLD: Final = "lavfi.r128.I"
"""The loudness so far, in each tenth of a second but a last part of one."""


def _measured(container: Any, sound: Any) -> Iterator[Any]:
    """The sound's frames behind the filter: each tells the loudness up to its end."""
    import av
    from av.filter import Graph

    graph = Graph()
    source = graph.add_abuffer(template=sound)
    meter = graph.add("ebur128", "metadata=1:framelog=quiet")
    end = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(end)
    graph.configure()
    for frame in (*container.decode(sound), None):
        source.push(frame)
        with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                yield end.pull()
