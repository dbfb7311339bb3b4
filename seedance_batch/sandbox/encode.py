"""Frames and a tone into an MP4: H.264 and, where asked, AAC; on demand into another container."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from seedance_batch.sandbox.clips import FPS, Form

Planes = NDArray[np.uint8]
"""One frame as PyAV takes yuv420p: (height · 3/2, width), Y above U above V."""

RATE: Final = 44_100
_BLOCK: Final = 1024
_SPEED: Final = {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"}


@dataclass(frozen=True, slots=True)
class _Way:
    """A container and its codecs."""

    format: str = "mp4"
    video: str = "libx264"
    audio: str = "aac"
    rate: int = RATE
    speed: Mapping[str, str] = field(default_factory=lambda: _SPEED)
    options: Mapping[str, str] = field(default_factory=dict)


_WAYS: Final = {
    Form.PLAIN: _Way(),
    Form.ROTATED: _Way(),
    Form.FRAGMENTED: _Way(options={"movflags": "frag_keyframe+empty_moov"}),
    Form.WEBM: _Way(
        "webm", "libvpx-vp9", "libopus", 48_000, {"deadline": "realtime", "cpu-used": "8"}
    ),
}


def encode(
    size: tuple[int, int],
    frames: Iterable[Planes],
    sound: NDArray[np.float32] | None,
    form: Form = Form.PLAIN,
) -> bytes:
    """The file; ``sound`` is (2, samples) between -1 and 1, or None for a silent one."""
    way = _WAYS[form]
    buffer = io.BytesIO()
    options = {"fflags": "+bitexact", **way.options}
    with av.open(buffer, "w", format=way.format, options=options) as container:
        video: Any = container.add_stream(way.video, rate=FPS, options=dict(way.speed))
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.codec_context.flags |= av.codec.context.Flags.bitexact
        packets = iter(())
        if sound is not None:
            audio: Any = container.add_stream(way.audio, rate=way.rate, layout="stereo")
            audio.codec_context.flags |= av.codec.context.Flags.bitexact
            packets = iter(list(_audio_packets(audio, sound)))
        container.start_encoding()
        for packet in _interleaved(_video_packets(video, frames), packets):
            container.mux(packet)
    content = buffer.getvalue()
    return turned(content) if form is Form.ROTATED else content


def turned(mp4: bytes) -> bytes:
    """The same file, whose picture a player turns by a quarter (ISO/IEC 14496-12, 8.3.2)."""
    at = mp4.index(b"tkhd") + 4 + 40  # the first track's matrix; the picture is the first
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    return mp4[:at] + quarter + mp4[at + len(quarter) :]


def _video_packets(stream: Any, frames: Iterable[Planes]) -> Iterator[Any]:
    for number, planes in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        frame.time_base = Fraction(1, FPS)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _audio_packets(stream: Any, sound: NDArray[np.float32]) -> Iterator[Any]:
    for start in range(0, sound.shape[1], _BLOCK):
        block = np.ascontiguousarray(sound[:, start : start + _BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate = RATE
        frame.pts = start
        frame.time_base = Fraction(1, RATE)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _interleaved(video: Iterator[Any], audio: Iterator[Any]) -> Iterator[Any]:
    """By time, as players like it and as the muxer would otherwise have to buffer."""
    waiting = next(audio, None)
    for packet in video:
        while waiting is not None and _time(waiting) <= _time(packet):
            yield waiting
            waiting = next(audio, None)
        yield packet
    while waiting is not None:
        yield waiting
        waiting = next(audio, None)


def _time(packet: Any) -> float:
    return float((packet.pts or 0) * packet.time_base)
