"""Looks at a clip without keeping it: what it is, for those who have to tell one from another."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import anyio

from seedance_batch import media, names
from seedance_batch.download.answers import Known
from seedance_batch.download.client import file_client
from seedance_batch.download.downloader import in_threads
from seedance_batch.download.partial import Partial
from seedance_batch.download.results import DEFAULT_LIMITS
from seedance_batch.download.transfer import Transfer
from seedance_batch.media import MediaUnreadable, Probe

_PATIENCE: Final = 90.0
"""Seconds for the whole look."""


async def look_at(folder: Path, url: str, *, allow_private: bool) -> Probe | None:
    """What a clip is; None where it cannot be had or read. Nothing of it stays in ``folder``."""
    partial, offload = Partial(folder, names.CLIP_ENDING), in_threads()
    try:
        with anyio.move_on_after(_PATIENCE):
            async with file_client(allow_private=allow_private, lanes=1) as http:
                transfer = Transfer(http, allow_private, DEFAULT_LIMITS, offload, lambda _: None)
                arrived = await transfer.pull(url, partial, DEFAULT_LIMITS.max_bytes)
                if isinstance(arrived, Known):
                    return await offload(_probe, partial)
        return None
    finally:
        partial.discard()


def _probe(partial: Partial) -> Probe | None:
    try:
        return media.probe(partial.write())
    except MediaUnreadable:
        return None
