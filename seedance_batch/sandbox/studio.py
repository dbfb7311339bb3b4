"""Makes output files when they are first asked for, once each, beside the event loop."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final

import anyio

from seedance_batch.sandbox import media
from seedance_batch.sandbox.clips import Clip, clip_of
from seedance_batch.sandbox.engine import Engine
from seedance_batch.sandbox.refusals import invalid
from seedance_batch.sandbox.store import StoredTask

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
        self._shelf: OrderedDict[tuple[Clip, str], bytes] = OrderedDict()
        self._making: dict[tuple[Clip, str], anyio.Event] = {}
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

    async def _make(self, clip: Clip, name: str) -> None:
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
        ratio: float | None = await self._offload(lambda: media.ratio(url))
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
        known = [await self._offload(partial(media.seconds, url)) for url in urls]
        measured = [length for length in known if length is not None]
        if any(not _SHORTEST <= length <= _LONGEST for length in measured):
            raise invalid(f"input.{name}: each lasts 2 to 15 s")
        if sum(measured) > _LONGEST:
            raise invalid(f"input.{name}: together they last at most 15 s")
        return known


def _render(clip: Clip, name: str, stop: threading.Event) -> bytes:
    from seedance_batch.sandbox.render import render

    return render(clip, name, stop)
