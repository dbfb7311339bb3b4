"""How a fetch ends, and the limits it keeps to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from seedance_batch.state import Clip


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file host may take: bytes, seconds, bytes a second, tries."""

    max_bytes: int = 1 << 30
    max_frame_bytes: int = 64 << 20
    """For a returned last frame."""
    answer: float = 30.0
    """Until the head of an answer is there, from the wait for a connection on."""
    stall: float = 60.0
    """Without a byte; also the span over which `min_speed` is measured."""
    min_speed: float = 2048.0
    redirects: int = 5
    tries: int = 5
    """Answers in a row that bring nothing new, before a broken download is given up."""
    backoff: float = 0.5
    """Before the second try; doubles with each one after it."""


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Fetched:
    """The clip is published, checked and synced; ``note`` tells what could not be had with it."""

    clip: Clip
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """The file host refuses the URL: the file is not there yet, or no longer."""

    message: str


@dataclass(frozen=True, slots=True)
class NoFrame:
    """The clip is published, checked and synced; the host refuses the URL of its last frame."""

    clip: Clip
    message: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """A complete file that is not what was asked for; ``kept`` says where it lies."""

    sha256: str
    reason: str
    kept: Clip


@dataclass(frozen=True, slots=True)
class Failed:
    """The file host could not deliver this time; ``retry_after`` is its wish in seconds."""

    message: str
    retry_after: float | None = None
    ours: bool = False
    """A rule of our own refuses the file: the host may have it, so its clip is not gone."""


Result = Fetched | NoFrame | Gone | Wrong | Failed
