"""Which clip a task gets, as a value, and its files, made when they are first asked for."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import Any, Final

import anyio

from seedance_batch.sandbox import given_media
from seedance_batch.sandbox.config import OutputFault, SandboxConfig
from seedance_batch.sandbox.engine import Engine
from seedance_batch.sandbox.faults import invalid
from seedance_batch.sandbox.store import StoredTask
from seedance_batch.sandbox.views import output_fault

# ── Which clip a task gets, as a value: size, length, sound and everything drawn on it ────────────


FPS: Final = 24

_SIZES: Final = {
    "480p": {"16:9": (864, 496), "4:3": (752, 560), "1:1": (640, 640), "21:9": (992, 432)},
    "720p": {"16:9": (1280, 720), "4:3": (1112, 834), "1:1": (960, 960), "21:9": (1470, 630)},
}
_UPRIGHT: Final = {"9:16": "16:9", "3:4": "4:3"}
_SCALES: Final = {"480p": 1.0, "720p": 1.0, "1080p": 1.5, "4k": 3.0}
"""1080p and 4k scale the sizes of 720p."""


class Form(StrEnum):
    """How a clip is put into a file."""

    PLAIN = "plain"
    FRAGMENTED = "fragmented"
    ROTATED = "rotated"
    """Its picture is stored on its side; ``width`` and ``height`` are those that are stored."""
    WEBM = "webm"


_FORMS: Final = {
    OutputFault.FRAGMENTED: Form.FRAGMENTED,
    OutputFault.ROTATED: Form.ROTATED,
    OutputFault.WEBM: Form.WEBM,
}


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Everything that decides a clip's bytes."""

    width: int
    height: int
    frames: int
    audio: bool
    drawn: Drawn | None = None
    """None: a plain clip, equal for every task of its size and length."""
    form: Form = Form.PLAIN


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a full clip shows."""

    content: str
    """Seeds colours, movement and tone."""
    prompt: str
    caption: str
    first_frame: str | None
    last_frame: str | None
    references: tuple[str, ...]
    """Images; other references are only named."""
    others: tuple[tuple[str, int], ...]
    """Kind and number."""


def clip_of(task: StoredTask, config: SandboxConfig, adaptive: float | None = None) -> ClipSpec:
    """The task's clip; ``adaptive`` is its first frame's ratio, where one is known."""
    fields, odd = task.input, output_fault(config, task)
    ratio = fields.get("aspect_ratio", "16:9")
    width, height = frame_size(_resolution(fields, odd), ratio, adaptive)
    seconds = fields.get("duration", 5) + (2 if odd is OutputFault.OTHER_LENGTH else 0)
    audio = fields.get("generate_audio", True) ^ (odd is OutputFault.OTHER_AUDIO)
    drawn = _drawn(task, fields) if config.clips == "full" else None
    form = _FORMS.get(odd, Form.PLAIN) if odd else Form.PLAIN
    if form is Form.ROTATED:
        width, height = height, width
    return ClipSpec(width, height, FPS * seconds + 1, audio, drawn, form)


def _resolution(fields: dict[str, Any], odd: OutputFault | None) -> str:
    asked: str = fields.get("resolution", "720p")
    if odd is OutputFault.OTHER_SIZE:
        return "480p" if asked != "480p" else "720p"
    return asked


def frame_size(resolution: str, ratio: str, adaptive: float | None = None) -> tuple[int, int]:
    """Width and height: a resolution fixes the area, not a side.

    HiAPI names no sizes; these were measured on clips of the same model from other resellers.
    """
    sizes = _SIZES.get(resolution, _SIZES["720p"])
    scale = _SCALES[resolution]
    if ratio == "adaptive" and adaptive is not None:
        width, height = _by_area(sizes["1:1"], min(max(adaptive, 0.4), 2.5))
    elif ratio in _UPRIGHT:
        height, width = sizes[_UPRIGHT[ratio]]
    else:
        width, height = sizes.get(ratio, sizes["16:9"])
    return _even(width * scale), _even(height * scale)


def _by_area(square: tuple[int, int], ratio: float) -> tuple[int, int]:
    side = square[0]
    return round(side * math.sqrt(ratio)), round(side / math.sqrt(ratio))


def _even(side: float) -> int:
    return int(side) // 2 * 2


def _drawn(task: StoredTask, fields: dict[str, Any]) -> Drawn:
    seed = fields.get("seed")
    facts = (
        task.model,
        fields.get("resolution", "720p"),
        fields.get("aspect_ratio", "16:9"),
        f"{fields.get('duration', 5)} s",
        "no seed" if seed is None else f"seed {seed}",
    )
    return Drawn(
        task.content,
        fields["prompt"],
        " · ".join(facts),
        fields.get("first_frame_url"),
        fields.get("last_frame_url"),
        tuple(fields.get("reference_image_urls", ())),
        (*_numbered("video", fields), *_numbered("audio", fields)),
    )


def _numbered(kind: str, fields: dict[str, Any]) -> list[tuple[str, int]]:
    count = len(fields.get(f"reference_{kind}_urls", ()))
    return [(kind, number + 1) for number in range(count)]


# ── Makes output files when they are first asked for, once each, beside the event loop ────────────


Offload = Callable[[Callable[[], Any]], Awaitable[Any]]

_SHORTEST: Final = 2.0 - 0.05
_LONGEST: Final = 15.0 + 0.05
"""Seconds of a reference, with a frame's tolerance."""
_NOMINAL: Final = Decimal(5)
"""Billed for a reference video whose length is not known, because it is not ours to fetch."""
_SHELF: Final = 256 * 2**20
"""Bytes of finished files kept; what is dropped is rendered again, to the same bytes."""


class Studio:
    """Renders clips and keeps the latest."""

    def __init__(self, engine: Engine, offload: Offload) -> None:
        self._engine = engine
        self._offload = offload
        self._shelf: OrderedDict[tuple[ClipSpec, str], bytes] = OrderedDict()
        self._making: dict[tuple[ClipSpec, str], anyio.Event] = {}
        self._benches = anyio.Semaphore(max(os.cpu_count() or 1, 2))
        self.closed = threading.Event()

    def close(self) -> None:
        """Gives up what is being rendered, so that the process can end at once."""
        self.closed.set()

    async def contents(self, task: StoredTask, name: str) -> bytes:
        """The bytes of a task's output file."""
        wanted = (clip_of(task, self._engine.config, await self._adaptive(task)), name)
        while wanted not in self._shelf:
            if wanted in self._making:
                await self._making[wanted].wait()
            else:
                await self._make(*wanted)
        self._shelf.move_to_end(wanted)
        return self._shelf[wanted]

    async def _make(self, clip: ClipSpec, name: str) -> None:
        done = self._making[clip, name] = anyio.Event()
        try:
            async with self._benches:
                made = await self._offload(lambda: _render(clip, name, self.closed))
        finally:
            del self._making[clip, name]
            done.set()
        self._shelf[clip, name] = made
        while sum(map(len, self._shelf.values())) > _SHELF and len(self._shelf) > 1:
            self._shelf.popitem(last=False)

    async def _adaptive(self, task: StoredTask) -> float | None:
        """The ratio that an adaptive clip takes from its first frame."""
        fields = task.input
        url = fields.get("first_frame_url")
        if fields.get("aspect_ratio") != "adaptive" or url is None:
            return None
        ratio: float | None = await self._offload(lambda: given_media.ratio(url))
        return ratio

    async def reference_seconds(self, fields: Mapping[str, Any]) -> Decimal:
        """Seconds of reference video, which are billed; 400 where the limits are passed."""
        if not fields.keys() & {"reference_video_urls", "reference_audio_urls"}:
            return Decimal(0)
        await self._lengths(fields, "reference_audio_urls")
        videos = await self._lengths(fields, "reference_video_urls")
        return sum((_NOMINAL if s is None else Decimal(f"{s:.3f}") for s in videos), Decimal(0))

    async def _lengths(self, fields: Mapping[str, Any], name: str) -> list[float | None]:
        urls = fields.get(name, ())
        known = [await self._offload(partial(given_media.seconds, url)) for url in urls]
        measured = [length for length in known if length is not None]
        if any(not _SHORTEST <= length <= _LONGEST for length in measured):
            raise invalid(f"input.{name}: each lasts 2 to 15 s")
        if sum(measured) > _LONGEST:
            raise invalid(f"input.{name}: together they last at most 15 s")
        return known


def _render(clip: ClipSpec, name: str, stop: threading.Event) -> bytes:
    from seedance_batch.sandbox.render import render

    return render(clip, name, stop)
