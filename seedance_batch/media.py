"""What a video file really is: opens it, decodes all of it, and compares it with what was asked.

Knows files and PyAV, nothing of where they came from. Blocking: call it from a worker thread.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from seedance_batch.model import AspectRatio, Resolution
from seedance_batch.state import Intent

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from PIL.Image import Image

FPS: Final = 24.0
FPS_TOLERANCE: Final = 0.1
"""Lets 23.976 pass, which is the same rate to a viewer."""
LENGTH_TOLERANCE: Final = 0.1
"""Seconds, around the asked duration and one frame (measured upstream)."""
AREA_TOLERANCE: Final = 0.15
RATIO_TOLERANCE: Final = 0.06

MOST_PIXELS: Final = 64_000_000
MOST_FRAMES: Final = 20_000
"""Past any clip the service makes; a file that claims more is not decoded to its end."""

T = TypeVar("T")
_POSTER_MOMENTS: Final = (0.1, 0.4, 0.7)


class MediaUnreadable(Exception):
    """The file is no whole, decodable video; ``reason`` says what is wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured in a video: seconds, pixels, frames a second."""

    seconds: float
    width: int
    height: int
    fps: float
    has_audio: bool
    frames: int


def probe(path: Path) -> Probe:
    """Decode every frame and sample of an MP4 file.

    Raises `MediaUnreadable` where the container is incomplete, a frame is missing or cannot be
    decoded, or there is no video; ``OSError`` where the file itself cannot be read.
    """
    from av import VideoFrame

    check_boxes(path)
    with _opened(path) as container:
        video = container.streams.video[0]
        tally = _Tally()
        for packet in container.demux(video, *container.streams.audio[:1]):
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    tally.add(frame)
                else:
                    tally.sounds += 1
        return tally.probe(video.frames, float(video.time_base or 0))


def judge(probe: Probe, intent: Intent) -> str | None:
    """None where the clip is what ``intent`` asks for, else the first reason why it is not."""
    return (
        _judge_length(probe, intent.duration)
        or _judge_picture(probe, Resolution(intent.resolution), AspectRatio(intent.aspect_ratio))
        or _judge_sound(probe, intent.generate_audio)
    )


def _judge_length(probe: Probe, asked: int) -> str | None:
    if abs(probe.seconds - (asked + 1 / FPS)) > LENGTH_TOLERANCE:
        return f"lasts {probe.seconds:.1f} s where {asked} s were asked for"
    if abs(probe.fps - FPS) > FPS_TOLERANCE:
        return f"has {probe.fps:.2f} frames a second where {FPS:.0f} are promised"
    return None


def _judge_picture(probe: Probe, resolution: Resolution, ratio: AspectRatio) -> str | None:
    size = f"is {probe.width}×{probe.height}"
    if abs(probe.width * probe.height / resolution.area - 1) > AREA_TOLERANCE:
        return f"{size}, which is not {resolution}"
    quotient = ratio.quotient
    if quotient and abs(probe.width / probe.height / quotient - 1) > RATIO_TOLERANCE:
        return f"{size}, which is not {ratio}"
    return None


def _judge_sound(probe: Probe, asked: bool) -> str | None:
    if probe.has_audio == asked:
        return None
    return "has no sound where sound was asked for" if asked else "has sound where none was asked"


def poster(path: Path, *, width: int = 480) -> bytes:
    """A JPEG of a telling frame, ``width`` pixels wide. Raises `MediaUnreadable`."""
    with _opened(path) as container:
        pictures = [_jpeg(frame, width) for frame in _moments(container)]
    if not pictures:
        raise MediaUnreadable("holds no frame")
    # Of a few moments the one with most in it: a fade or a blank frame compresses to little.
    return max(pictures, key=len)


# ── decoding ────────────────────────────────────────────────────────────────────────────────────


class _Tally:
    """What the frames add up to while they pass."""

    def __init__(self) -> None:
        self.frames = 0
        self.sounds = 0
        self.width = self.height = 0
        self.start: int | None = None
        self.end = 0

    def add(self, frame: VideoFrame) -> None:
        moment = frame.pts or 0
        self.start = moment if self.start is None else self.start
        self.end = moment + (frame.duration or 0)
        self.width, self.height = frame.width, frame.height
        self.frames += 1
        if self.frames > MOST_FRAMES:
            raise MediaUnreadable(f"has more than {MOST_FRAMES} frames")

    def probe(self, declared: int, tick: float) -> Probe:
        """``tick``: the seconds in which the stream counts its times."""
        if self.frames == 0 or self.start is None:
            raise MediaUnreadable("holds no frame")
        if self.frames < declared:
            raise MediaUnreadable(f"holds {self.frames} of {declared} frames")
        seconds = (self.end - self.start) * tick
        if seconds <= 0:
            raise MediaUnreadable("its frames have no times")
        return Probe(
            seconds=seconds,
            width=self.width,
            height=self.height,
            fps=self.frames / seconds,
            has_audio=self.sounds > 0,
            frames=self.frames,
        )


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """The file as a container with a picture; FFmpeg's errors become `MediaUnreadable`."""
    import av

    try:
        # The format is fixed: FFmpeg would else follow playlists to other files and to the network.
        with av.open(
            f"file:{path}", mode="r", format="mp4", metadata_errors="replace"
        ) as container:
            if not container.streams.video:
                raise MediaUnreadable("holds no video")
            for sound in container.streams.audio[:1]:
                _known(sound.codec_context, "sound")
            codec = _known(container.streams.video[0].codec_context, "video")
            if codec.width * codec.height > MOST_PIXELS:
                raise MediaUnreadable(f"claims {codec.width}×{codec.height} pixels")
            # Several clips are decoded at once; to share one among threads costs a quarter more.
            codec.thread_count = 1
            yield container
    except av.FFmpegError as error:
        raise MediaUnreadable(f"cannot be decoded ({error.strerror})") from error


def _known(codec: T | None, what: str) -> T:
    # PyAV's annotation leaves out that a stream of an unknown codec has none; to decode such a
    # stream ends the process in releases before 18.1.
    if codec is None:
        raise MediaUnreadable(f"holds {what} of an unknown kind")
    return codec


def _moments(container: InputContainer) -> Iterator[VideoFrame]:
    """The first frame at or after each moment, in one pass.

    Not by seeking: that leads to key frames, and a short clip has but one, its first frame.
    """
    stream = container.streams.video[0]
    first, length = stream.start_time or 0, stream.duration or 0
    moments = [first + round(length * moment) for moment in _POSTER_MOMENTS]
    frame, shown = None, 0
    for frame in islice(container.decode(stream), MOST_FRAMES):
        if (frame.pts or 0) >= moments[shown]:
            yield frame
            shown += 1
        if shown == len(moments):
            return
    if frame is not None and not shown:  # its times lead nowhere
        yield frame


def _jpeg(frame: VideoFrame, width: int) -> bytes:
    height = max(1, round(frame.height * width / frame.width))
    out = io.BytesIO()
    picture: Image = frame.to_image(width=width, height=height)  # type: ignore[no-untyped-call]
    picture.save(out, "JPEG", quality=82)
    return out.getvalue()


# ── the container ───────────────────────────────────────────────────────────────────────────────


def check_boxes(path: Path) -> None:
    """Raise `MediaUnreadable` unless the file is whole boxes to its last byte, all needed there.

    FFmpeg decodes what is left of a cut file without a word; the boxes tell (ISO/IEC 14496-12).
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        kinds = list(_boxes(file, size))
    for needed, name in ((b"ftyp", "type"), (b"moov", "index (moov)"), (b"mdat", "media data")):
        if needed not in kinds:
            raise MediaUnreadable(f"is no whole MP4: it has no {name}")


def _boxes(file: BinaryIO, size: int) -> Iterator[bytes]:
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            raise MediaUnreadable("is no whole MP4: it ends inside a box")
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
        elif length == 0:  # the last box may run to the end of the file
            length = size - position
        if length < 8 or position + length > size:
            raise MediaUnreadable("is no whole MP4: it ends inside a box")
        yield kind
        position += length
