"""Frames and a tone into an MP4: H.264 and, where asked, AAC."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from seedance_batch.sandbox.clips import FPS

Planes = NDArray[np.uint8]
"""One frame as PyAV takes yuv420p: (height · 3/2, width), Y above U above V."""

RATE: Final = 44_100
_BLOCK: Final = 1024
_SPEED: Final = {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"}


def encode(
    size: tuple[int, int], frames: Iterable[Planes], sound: NDArray[np.float32] | None
) -> bytes:
    """The MP4; ``sound`` is (2, samples) between -1 and 1, or None for a silent file."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=FPS, options=_SPEED)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.codec_context.flags |= av.codec.context.Flags.bitexact
        packets = iter(())
        if sound is not None:
            audio = container.add_stream("aac", rate=RATE, layout="stereo")
            audio.codec_context.flags |= av.codec.context.Flags.bitexact
            packets = iter(list(_audio_packets(audio, sound)))
        container.start_encoding()
        for packet in _interleaved(_video_packets(video, frames), packets):
            container.mux(packet)
    return buffer.getvalue()


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
