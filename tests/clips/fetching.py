"""What most tests of downloads do: fetch one clip, and look at what it left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import ClipToFetch, Limits, Result
from tests.clips.clips import intent

FILE = "videos/a.mp4"
PATIENT = Limits(answer=120.0, stall=120.0, min_speed=0, tries=3, backoff=0.0)
"""The production rules without pauses; only a host that hangs reaches these waits."""
QUICK = Limits(answer=0.4, stall=0.3, min_speed=2048, tries=3, backoff=0.0)
"""The same with short waits, for hosts that are slow on purpose."""


async def fetch(
    downloader: Downloader,
    url: str,
    *,
    file: str = FILE,
    last_frame_url: str | None = None,
    **asked: Any,
) -> Result:
    """Fetch the clip of a row that asks for 4 s of 480p, or for what ``asked`` changes."""
    return await downloader.fetch(ClipToFetch(url, file, intent(**asked), last_frame_url))


def leftovers(folder: Path) -> list[str]:
    """Every file in the run folder, relative to it."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    )
