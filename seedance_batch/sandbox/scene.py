"""Composes a clip's frames: backdrop, first and last frame, and everything written on them."""

from __future__ import annotations

from seedance_batch.sandbox.backdrop import Backdrop
from seedance_batch.sandbox.clips import FPS, Clip
from seedance_batch.sandbox.encode import Planes
from seedance_batch.sandbox.lettering import Lettering
from seedance_batch.sandbox.pictures import covering
from seedance_batch.sandbox.yuv import Picture, fade


class Scene:
    """The frames of one clip, each for itself."""

    def __init__(self, clip: Clip) -> None:
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
        """A frame by its number, from 0."""
        time = number / max(self._clip.frames - 1, 1)
        picture = self._picture(number / FPS, time).copy()
        if self._lettering:
            self._lettering.lay_on(picture, number)
        return picture.packed()

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
