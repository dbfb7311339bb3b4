"""Renders a clip's files: the MP4, its last frame as PNG, a thumbnail as JPEG."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import lru_cache

import av
from PIL import Image

from seedance_batch.sandbox.clip import FPS, ClipSpec
from seedance_batch.sandbox.drawing import Scene
from seedance_batch.sandbox.encode import Planes, encode, tone
from seedance_batch.sandbox.views import LAST_FRAME, THUMBNAIL


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
